"""`nodebench evaluate`: a trained net's test error and evaluations with another solver or tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nodebench.commands.arguments import Parser, count, place
from nodebench.commands.destinations import check_file, writing_to
from nodebench.config.check import check_device, check_solver
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.files import CONFIG_DIR_HELP
from nodebench.config.overrides import parse
from nodebench.config.ranges import check_ranges
from nodebench.config.saved import read_config
from nodebench.ode.methods.traits import needs_tolerance
from nodebench.ode.settings import tolerances
from nodebench.records import COLUMNS
from nodebench.terminal import tell

if TYPE_CHECKING:
    from nodebench.commands.session import Session

EPILOG = """examples:
  nodebench evaluate outputs/classification/RUN/seed0 solver=rk4 solver.dt=0.25
  nodebench evaluate outputs/classification/RUN/seed0 --swap
  nodebench evaluate outputs/classification/RUN/seed0 --checkpoint best
  nodebench evaluate outputs/classification/RUN/seed0 --predictions test.csv

Settings are solver, solver.*, device, and of the data where they are (data.root, data.path) and how many points of a
series are observed (data.num_observed); all others are the run's own."""
OF_THE_DATA = ("root", "path", "num_observed")
KEYS = ("solver=", "solver.", "device=", *(f"data.{key}=" for key in OF_THE_DATA))  # as they are completed
TOLERANCES = {"tol", "rtol", "atol"}


def run(argv: Sequence[str]) -> int:
    """Evaluate a run on the test set, print the result and append it to the run's evaluations.jsonl.

    Returns 0. Raises ConfigError for what cannot be evaluated, FailedError if the solve failed or
    gave NaN, or if the record could not be written.
    """
    args = _parser().parse_intermixed_args(argv)
    config = evaluated_as(read_config(args.run), args.overrides, args.config_dir)
    if args.limit is not None and not args.swap:
        raise ConfigError(f"--limit {args.limit} goes with --swap alone; drop it")
    if args.predictions is not None:
        if args.swap:
            raise ConfigError(
                "--swap evaluates with many solvers, and --predictions are of one; drop one of them"
            )
        with writing_to(args.predictions, "choose another place with --predictions"):
            check_file(args.predictions)
    if args.swap:
        if args.checkpoint != "last":
            raise ConfigError("--swap is about the weights that training ended with; drop --checkpoint")
        if config.get("solver") != read_config(args.run).get("solver"):
            raise ConfigError("--swap chooses the solvers itself; drop what was said about the solver")
        from nodebench.commands.swap import swap

        return swap(args.run, config, args.config_dir, args.limit)

    from nodebench.commands.plan import describe_solver
    from nodebench.commands.predictions import check_has_predictions, write_predictions
    from nodebench.commands.session import load_trained
    from nodebench.commands.trained import append_evaluation, evaluation_record, say_if_not_recorded

    say_if_not_recorded(args.run)
    trained = load_trained(args.run, config, args.config_dir, args.checkpoint)
    if args.predictions is not None:
        check_has_predictions(trained)
    scores = evaluate(trained)
    best = ", the best on the validation split" if args.checkpoint == "best" else ""
    print(f"run         {args.run}, step {trained.step:,}{best}")
    if "solver" in config:
        print(f"solver      {describe_solver(config['solver'])}")
    tell(f"data        {config['data']['name']}: {trained.data.describe()}", 12)
    columns = COLUMNS.and_own(getattr(trained.task, "columns", ()))
    width = max(11, *map(len, scores))
    for name, value in columns.ordered(scores).items():
        print(f"{name:<{width}} {columns[name].on_screen(value)}")
    if units := [unit for unit in dict.fromkeys(columns[name].unit for name in scores) if unit]:
        tell(f"units       {', '.join(units)}", 12)
    solver = _solver_record(config.get("solver"))
    if args.predictions is not None:
        write_predictions(trained, args.predictions)
    append_evaluation(args.run, evaluation_record(trained, "evaluation", scores, solver))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="nodebench evaluate",
        description="Measure a trained net on the test set, with its own solver or another one.",
        epilog=EPILOG,
    )
    parser.add_argument("run", metavar="RUN", type=place, help="a run folder: .../seed<k>")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", words=KEYS, help="another solver or setting"
    )
    parser.add_argument(
        "--swap", action="store_true", help="evaluate a classifier with many solvers: is it a flow?"
    )
    parser.add_argument(
        "--limit", type=count, metavar="N", help="with --swap: the first N test images; recorded nowhere"
    )
    parser.add_argument(
        "--predictions",
        type=place,
        metavar="FILE.csv",
        help="write what the net says of each image, point, series or sequence of the test set",
    )
    parser.add_argument(
        "--checkpoint",
        choices=("last", "best"),
        default="last",
        help="the weights that training ended with (default), or those that did best on the validation split",
    )
    parser.add_argument("--config-dir", help=CONFIG_DIR_HELP)
    return parser


def evaluated_as(
    config: dict[str, Any], overrides: Sequence[str], config_dir: str | None = None
) -> dict[str, Any]:
    """As `with_changes`, for a net that solves forwards alone.

    Raises ConfigError also for a solver that cannot be, and for a device that is not there.
    """
    changed = with_changes(config, overrides, config_dir)
    if "solver" in changed:
        check_solver(changed["solver"], gradient=None)
    check_device(changed["device"])
    return changed


def with_changes(
    config: dict[str, Any], overrides: Sequence[str], config_dir: str | None = None
) -> dict[str, Any]:
    """The run's config with another solver or device, with data from elsewhere or of which more or less is observed.

    Raises ConfigError for every other key, and for a solver where the net has no ODE.
    """
    solver = config.get("solver")
    places = {f"data.{key}": key for key in OF_THE_DATA if key in config["data"]}
    allowed = {"solver", "device", *places}
    parsed = parse(overrides)
    given = {override.key_or_group for override in parsed}
    for key in sorted(given):
        if key.split(".")[0] == "solver" and solver is None:
            raise ConfigError(f"`{key}`: {config['model'].get('name')} has no ODE to solve; drop it")
        if key not in allowed and not key.startswith("solver."):
            raise ConfigError(
                f"`{key}` is the run's own and cannot be changed here.{did_you_mean(key, allowed)}"
            )
    elsewhere = {places[o.key_or_group]: o.value() for o in parsed if o.key_or_group in places}
    others = [o.input_line for o in parsed if o.key_or_group not in places and o.input_line is not None]
    fresh = compose(others, config_dir).config
    changed = {**config, "device": fresh["device"] if "device" in given else config["device"]}
    changed["data"] = {**config["data"], **elsewhere}
    if solver is not None:
        changed["solver"] = _merge_solver(solver, fresh["solver"], given)
    check_ranges(changed)
    return changed


def _merge_solver(own: dict[str, Any], fresh: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """The run's `own` solver with what was `given`. Another method keeps the run's tolerance if it needs one."""
    kept = {key for key in own if f"solver.{key}" not in given}
    if "solver" in given:
        has_tolerance = any(own[key] is not None for key in TOLERANCES)
        kept &= TOLERANCES if has_tolerance and needs_tolerance(fresh["method"], fresh["dt"]) else set()
    if given & {"solver.dt", "solver.tol"}:
        kept -= TOLERANCES
    if given & {f"solver.{key}" for key in TOLERANCES}:
        kept -= {"dt"}
    merged = {**fresh, **{key: own[key] for key in kept}}
    if "adjoint" in kept:
        changed = {key for key in own["adjoint"] if f"solver.adjoint.{key}" in given}
        merged["adjoint"] = {**own["adjoint"], **{key: fresh["adjoint"][key] for key in changed}}
    return merged


def evaluate(trained: Session) -> dict[str, float]:
    """Columns of the test set. Raises FailedError if the solve fails or the net gives NaN."""
    from nodebench.commands.trained import failures_told
    from nodebench.training.progress import shown

    with failures_told(), shown("evaluating") as progress:
        return trained.task.evaluate(trained.model, "test", progress)


def _solver_record(solver: dict[str, Any] | None) -> dict[str, Any] | None:
    if solver is None:
        return None
    rtol, atol = tolerances(solver)
    return {"method": solver["method"], "rtol": rtol, "atol": atol, "dt": solver["dt"]}
