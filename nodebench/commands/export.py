"""`nodebench export`: a trained classifier as a file that runs without nodebench, checked before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nodebench.commands.arguments import Parser, place
from nodebench.commands.destinations import check_file, writing_to
from nodebench.commands.evaluate import evaluated_as
from nodebench.config.files import CONFIG_DIR_HELP
from nodebench.config.saved import read_config

SUFFIXES = {"torchscript": ".pt", "pt2": ".pt2", "onnx": ".onnx"}
EPILOG = """examples:
  nodebench export outputs/classification/RUN/seed0 --format torchscript
  nodebench export outputs/.../seed0 --format onnx solver=rk4 solver.dt=0.1

A solver that chooses its steps by the input cannot be written down. An ODE-Net is exported with equal steps: those of
solver.dt, or of its own method, as many as it takes on the first test images."""


def run(argv: Sequence[str]) -> int:
    """Export a run; returns 0. Raises ConfigError for what cannot be exported, FailedError where the file is wrong."""
    parser = Parser(
        prog="nodebench export",
        description="Write a trained classifier as a file that runs without nodebench.",
        epilog=EPILOG,
    )
    parser.add_argument("run", metavar="RUN", type=place, help="a run folder: .../seed<k>")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="another solver or setting")
    parser.add_argument("--format", choices=SUFFIXES, required=True, help="what kind of file")
    parser.add_argument("--out", type=place, metavar="FILE", help="default: the run's name, in this folder")
    parser.add_argument(
        "--checkpoint", choices=("last", "best"), default="last", help="which weights; default: last"
    )
    parser.add_argument("--config-dir", help=CONFIG_DIR_HELP)
    args = parser.parse_intermixed_args(argv)
    config = evaluated_as(read_config(args.run), args.overrides, args.config_dir)
    name = "-".join(args.run.absolute().parts[-2:])
    out: Path = args.out or Path(f"{name}{SUFFIXES[args.format]}")
    with writing_to(out):
        check_file(out)

    from nodebench.commands.export_formats import check_can_write
    from nodebench.commands.exported import export_to
    from nodebench.commands.session import load_trained

    check_can_write(args.format)
    trained = load_trained(
        args.run, {**config, "device": "cpu", "compile": False}, args.config_dir, args.checkpoint
    )
    print(f"run       {args.run}, step {trained.step:,}")
    export_to(out, args.format, trained)
    return 0
