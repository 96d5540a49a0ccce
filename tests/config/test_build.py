"""Building: every model, data set and optimizer from its file, and nothing that the shipped files do not name."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nodebench.commands.plan import compile_words
from nodebench.config import build
from nodebench.config.build import (
    Builder,
    pick_device,
    solver_settings,
    training_settings,
    why_eager,
)
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, load, options, shipped_targets
from nodebench.data.protocol import kind_returned
from nodebench.data.spirals import spirals
from nodebench.models import recorded_solves
from nodebench.ode.methods.traits import known_methods

FLOW = ["task=density", "data=two_moons"]
CNF = [*FLOW, "model=cnf"]
SHIPPED = config_folders()
ALLOWED = shipped_targets(SHIPPED)


def target(group: str, name: str) -> Any:
    """What a shipped file names as its _target_."""
    module, _, last = load(options(group, SHIPPED)[name])["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), last)


TASKS = [target("task", name) for name in options("task", SHIPPED)]
FLOWS = ["cnf", "ffjord", "planar_nf"]
SEQUENCE_MODELS = ["latent_ode", "rnn", "rnn_dt"]
CLASSIFIERS = sorted(options("model", SHIPPED).keys() - {*FLOWS, *SEQUENCE_MODELS, "latent_rate"})
TARGETS_THAT_DO_HARM = [
    "torch.utils.collect_env.run",
    "torch.hub.load",
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "nodebench.cli.main",
]


def builder(*overrides: str) -> Builder:
    return Builder(compose(overrides).config, ALLOWED)


def tampered(node: str, key: str, value: object) -> Builder:
    """The builder of a default config with one key that came from elsewhere."""
    config = compose().config
    config[node][key] = value
    return Builder(config, ALLOWED)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("stem", ["conv", "res"])
def test_every_classifier_is_built_from_its_file(name: str, stem: str) -> None:
    overrides = [f"model={name}"] if name == "mlp" else [f"model={name}", f"model.stem={stem}"]
    model = builder(*overrides).model()
    with torch.no_grad():
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_is_built_from_its_file_for_points_of_any_dimension(name: str) -> None:
    flow: Any = builder("task=density", "data=two_circles", f"model={name}").model(dim=3)
    assert flow.log_prob(torch.zeros(2, 3)).shape == (2,)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_every_sequence_model_is_built_from_its_file_for_series_of_any_dimension(name: str) -> None:
    data = spirals(num_points=4, num_observed=4, horizon=2, num_train=1, num_test=1)
    series = replace(
        data.test, **{part: spread(getattr(data.test, part)) for part in ("values", "is_there", "observed")}
    )
    model: Any = builder("task=time_series", "data=spirals", f"model={name}").model(dim=3)
    assert model.predict(series, 0.0).shape == (1, 6, 3)


def spread(part: torch.Tensor) -> torch.Tensor:
    """(N, T, 2) as (N, T, 3)."""
    return part[..., [0, 1, 1]]


@pytest.mark.parametrize("name", options("optimizer", SHIPPED))
def test_every_optimizer_is_built_with_the_values_of_its_file(name: str) -> None:
    built = builder(f"optimizer={name}", "optimizer.lr=0.125")
    optimizer = built.make_optimizer()([torch.nn.Parameter(torch.zeros(2))])
    assert type(optimizer).__name__.lower() == name
    for key, value in built.config["optimizer"].items():
        if key not in ("name", "_target_"):
            found = optimizer.defaults[key]
            assert (list(found) if isinstance(found, tuple) else found) == value


@pytest.mark.parametrize("name", options("experiment", SHIPPED))
def test_every_experiment_builds_model_optimizer_and_settings(name: str) -> None:
    built = builder(f"experiment={name}")
    built.check_fit()
    built.make_optimizer()(built.model(dim=2 if name.startswith(("fig4", "fig5")) else None).parameters())
    settings = training_settings(built.config, 10, torch.device("cpu"))
    training = built.config["training"]
    assert settings.num_steps == (training["num_steps"] or 10 * training["epochs"])


WITH_JACOBIANS = {"lsoda", *(name for name, traits in known_methods().items() if traits.is_implicit)}


@pytest.mark.parametrize("name", sorted(options("solver", SHIPPED).keys() - WITH_JACOBIANS))
def test_a_net_solves_forwards_and_backwards_with_every_solver_file(name: str) -> None:
    model: Any = builder(f"solver={name}").model()
    with recorded_solves(model) as solves:
        model(torch.rand(2, 1, 28, 28)).sum().backward()
    (stats,) = solves
    assert stats.forward.nfe > 0
    assert stats.backward.nfe > 0


def test_data_and_task_are_built_from_their_files() -> None:
    built = builder("data=digits", "data.val_size=100", "data.batch_size=32")
    data = built.data()
    assert (data.name, len(data.val or []), data.batch_size) == ("digits", 100, 32)
    task = built.task(data, torch.device("cpu"))
    assert task.name == "classification"
    assert task.steps_per_epoch == len(data.train) // 32


def test_the_ode_block_gets_the_solver_with_tol_as_rtol_and_atol() -> None:
    model: Any = builder("solver.tol=1e-2", "solver.adjoint.rtol=1e-4", "solver.max_nfe=500").model()
    settings = model.ode_block.solver
    assert (settings.method, settings.rtol, settings.atol, settings.dt) == ("dopri5", 1e-2, 1e-2, None)
    assert (settings.adjoint.rtol, settings.adjoint.norm, settings.max_nfe) == (1e-4, "state", 500)
    assert model.ode_block.gradient == "adjoint"


class TestCompile:
    @pytest.fixture
    def missing(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What no compiler is there for; empty if there is one."""
        reasons: list[str] = []
        monkeypatch.setattr(build, "missing_compiler", lambda device: next(iter(reasons), None))
        return reasons

    @pytest.fixture
    def compiled(self, monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
        """The modules that were compiled as they are."""
        modules: list[nn.Module] = []
        monkeypatch.setattr(nn.Module, "compile", lambda module: modules.append(module))
        return modules

    @pytest.mark.parametrize(("solver", "whole_steps"), [("dopri5", True), ("vode_adams", False)])
    @pytest.mark.usefixtures("missing")
    def test_it_takes_whole_steps_of_runge_kutta_methods_and_the_field_of_others(
        self, solver: str, whole_steps: bool, compiled: list[nn.Module]
    ) -> None:
        block = builder("model=odenet", f"solver={solver}", "compile=true").model().ode_block
        assert block.solver.compile is whole_steps
        assert compiled == [block.vector_field] * (not whole_steps)

    @pytest.mark.usefixtures("missing")
    def test_it_takes_the_whole_of_a_classifier_without_an_ode(self, compiled: list[nn.Module]) -> None:
        builder("model=resnet").model()
        assert compiled == []
        assert compiled == [builder("model=resnet", "compile=true").model()]

    @pytest.mark.parametrize("choices", [["model=resnet"], ["model=odenet", "solver=vode_adams"]], ids=str)
    @pytest.mark.usefixtures("missing")
    def test_torchs_compiler_keeps_what_it_finds_in_its_own_code_to_itself(self, choices: list[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            builder(*choices, "compile=true").model()
            warnings.warn_explicit("its own", RuntimeWarning, "guards.py", 1, module="torch._dynamo.guards")
            with pytest.raises(RuntimeWarning, match="not its own"):
                warnings.warn_explicit("not its own", RuntimeWarning, "field.py", 1, module="field")

    @pytest.mark.usefixtures("missing")
    def test_a_flow_without_an_ode_stays_as_it_is(self, compiled: list[nn.Module]) -> None:
        built = builder("task=density", "data=two_moons", "model=planar_nf", "compile=true")
        model = built.model(2)
        assert compiled == []
        assert why_eager(model, torch.device("cpu")) == "this flow solves no ODE"

    @pytest.mark.parametrize(
        ("choices", "words", "end"),
        [
            (["model=resnet"], "the net", "before"),
            (["model=odenet", "solver=vode_adams"], "the vector field", "before"),
            (["model=odenet"], "the solver's steps", "; evaluation is eager"),
        ],
    )
    @pytest.mark.usefixtures("missing")
    def test_the_plan_says_what_is_compiled(self, choices: list[str], words: str, end: str) -> None:
        model = builder(*choices, "compile=true").model()
        said = compile_words(model, torch.device("cpu"))
        assert said.startswith(f"{words}, at the first step")
        assert said.endswith(end)

    @pytest.mark.parametrize("choices", [["model=resnet"], ["model=odenet", "solver=vode_adams"]], ids=str)
    def test_without_a_compiler_nothing_is_compiled(
        self, missing: list[str], compiled: list[nn.Module], choices: list[str]
    ) -> None:
        missing.append("no compiler")
        model = builder(*choices, "compile=true").model()
        assert compiled == []
        assert why_eager(model, torch.device("cpu")) == "no compiler"


def test_rtol_and_atol_win_over_tol() -> None:
    settings = solver_settings(compose(["solver.tol=1e-2", "solver.atol=1e-6"]).config["solver"])
    assert (settings.rtol, settings.atol) == (1e-2, 1e-6)


def test_steps_win_where_there_are_no_epochs() -> None:
    assert training_settings(compose(["training=smoke"]).config, 100, torch.device("cpu")).num_steps == 2


def test_auto_is_the_cpu_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")


class TestWhatMayBeBuilt:
    @pytest.mark.parametrize("target", TARGETS_THAT_DO_HARM)
    @pytest.mark.parametrize("node", ["task", "data", "model", "optimizer"])
    def test_a_target_that_no_shipped_file_names_is_refused(self, node: str, target: str) -> None:
        with pytest.raises(ConfigError, match="is refused"):
            tampered(node, "_target_", target)

    @pytest.mark.parametrize("target", TARGETS_THAT_DO_HARM)
    def test_a_target_anywhere_else_is_refused(self, target: str) -> None:
        with pytest.raises(ConfigError, match="is refused"):
            tampered("model", "stem", {"_target_": target})

    def test_an_allowed_target_is_refused_where_it_does_not_belong(self) -> None:
        with pytest.raises(ConfigError, match=r"torch\.optim\.SGD is no Module"):
            tampered("model", "_target_", "torch.optim.SGD").model()
        with pytest.raises(ConfigError, match=r"torch\.optim\.SGD is refused"):
            tampered("solver", "_target_", "torch.optim.SGD")

    @pytest.mark.parametrize("target", TARGETS_THAT_DO_HARM)
    def test_even_a_folder_of_ones_own_cannot_make_it_build_anything_else(
        self, tmp_path: Path, target: str
    ) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "mine.yaml").write_text(
            f"_target_: {target}\ncommand: echo\naugment: none\nbatch_size: 8\n"
        )
        allowed = shipped_targets(config_folders(tmp_path))
        config = compose(["data=mine"], tmp_path).config
        with pytest.raises(ConfigError, match="is no function with a return annotation"):
            Builder(config, allowed).data()

    def test_a_module_of_ones_own_is_built_when_the_folder_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "my_models.py").write_text(
            "from torch import nn\n\n\nclass Linear(nn.Module):\n"
            "    def __init__(self, width):\n        super().__init__()\n        self.width = width\n"
        )
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "linear.yaml").write_text("_target_: my_models.Linear\nwidth: 3\n")
        monkeypatch.syspath_prepend(tmp_path)
        config = compose(["model=linear", "model.width=4"], tmp_path).config
        model: Any = Builder(config, shipped_targets(config_folders(tmp_path))).model()
        assert model.width == 4
        with pytest.raises(ConfigError, match="is refused"):
            Builder(config, ALLOWED)

    @pytest.mark.parametrize("target", ["nodebench.no_such_module.Net", "nodebench.cli.NoSuchNet", "Net"])
    def test_a_target_that_does_not_exist_is_named(self, target: str) -> None:
        config = compose().config
        config["model"]["_target_"] = target
        with pytest.raises(ConfigError, match="does not exist"):
            Builder(config, ALLOWED | {target}).model()

    @pytest.mark.parametrize("target", [["os.system"], {"a": "os.system"}, None, 3])
    def test_a_target_that_is_no_name_is_refused(self, target: object) -> None:
        with pytest.raises(ConfigError, match=r"model\._target_.* is refused"):
            tampered("model", "_target_", target)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (None, r"Python finds no module `mine_of_the_test`; .* PYTHONPATH=FOLDER nodebench"),
            (
                "import nothing_of_this_name\n",
                "cannot be imported: ModuleNotFoundError: No module named 'nothing_of",
            ),
            ("from os import nothing_of_this_name\n", "cannot be imported: ImportError: cannot import name"),
            ("def (\n", r"cannot be imported: SyntaxError: invalid syntax \(mine_of_the_test\.py, line 1\)$"),
            (
                "\n1 / 0\n",
                r"imported: ZeroDivisionError: division by zero \(.*mine_of_the_test\.py, line 2\)$",
            ),
        ],
    )
    def test_a_module_that_cannot_be_imported_is_told_from_one_that_is_not_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, message: str
    ) -> None:
        if source is not None:
            (tmp_path / "mine_of_the_test.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        config = compose().config
        config["model"]["_target_"] = "mine_of_the_test.Net"
        with pytest.raises(ConfigError, match=rf"^model\._target_=mine_of_the_test\.Net .*{message}"):
            Builder(config, ALLOWED | {"mine_of_the_test.Net"}).model()

    def test_what_goes_wrong_in_making_a_net_of_ones_own_is_told_with_its_name_and_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "broken_net.py").write_text(
            "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        self.width = widht\n"
        )
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "mine.yaml").write_text("_target_: broken_net.Net\n")
        monkeypatch.syspath_prepend(tmp_path)
        config = compose(["model=mine"], tmp_path).config
        with pytest.raises(
            ConfigError, match=r"^model=mine \(Net\) cannot be made: NameError: .*net\.py, line 5\)$"
        ):
            Builder(config, shipped_targets(config_folders(tmp_path))).model()

    def test_keys_that_the_class_does_not_take_are_named(self) -> None:
        with pytest.raises(ConfigError, match=r"the keys under model do not fit ODENet: .*'depth'"):
            tampered("model", "depth", 3).model()
        with pytest.raises(ConfigError, match=r"the keys under optimizer do not fit AdamW: .*'beta'"):
            tampered("optimizer", "beta", 3).make_optimizer()


def test_a_torchvision_that_does_not_fit_torch_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    built = builder()
    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(ConfigError, match="install both from the same package index"):
        built.data()


class TestWhatFits:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (
                ["task=density", "data=u1", "model=cnf"],
                "task=density learns from samples .*, not from an energy, which data=u1 gives",
            ),
            (
                ["task=density_matching", "data=two_moons", "model=cnf"],
                "not from samples of a density, which data=two_moons gives",
            ),
            (
                ["task=density", "data=two_moons", "model=resnet"],
                "trains a flow, and model=resnet is no flow",
            ),
            (["model=cnf"], "task=classification trains a classifier, and model=cnf is a flow"),
            (
                ["task=density", "data=two_moons", "model=cnf", "training.epochs=3"],
                "training.epochs means nothing",
            ),
            (
                [*FLOW, "model=planar_nf", "compile=true"],
                "compile=true has no effect with model=planar_nf; .* a flow",
            ),
            (
                [
                    "task=density_matching",
                    "data=u1",
                    "model=cnf",
                    "training.num_steps=9",
                    "task.anneal_steps=10",
                ],
                "task.anneal_steps=10 is above training.num_steps=9, so the energy would never have its whole weight",
            ),
            (["solver=lsoda"], "lsoda stores a dense Jacobian and .* and a batch of images is larger"),
            (["solver=kvaerno5"], "kvaerno5 solves with the Jacobian .* a batch of images is too large"),
            (
                [*CNF, "solver=lsoda", "model.gradient=adjoint"],
                "and an evaluation's batch of 10,000 points is larger",
            ),
            (["solver.dt=7"], "solver.dt=7 is longer than the solve from 0 to 1; give at most 1"),
            (["solver.min_step=5"], "solver.min_step=5 is longer than the solve from 0 to 1"),
            (["solver.first_step=1.5"], "solver.first_step=1.5 is longer than the solve from 0 to 1"),
            (["solver.max_step=1"], "solver.max_step=1 has no effect on the solve from 0 to 1"),
            ([*CNF, "model.t1=0.5", "solver.dt=0.6"], "solver.dt=0.6 is longer than the solve from 0 to 0.5"),
        ],
    )
    def test_what_does_not_go_together_is_named(self, overrides: list[str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            builder(*overrides).check_fit()

    @pytest.mark.parametrize(
        "overrides",
        [
            ["compile=true", "model=resnet"],
            ["compile=true", *CNF],
            [
                "task=density_matching",
                "data=u1",
                "model=cnf",
                "training.num_steps=10",
                "task.anneal_steps=10",
            ],
            ["solver.dt=1"],
        ],
        ids=" ".join,
    )
    def test_what_goes_together_passes(self, overrides: list[str]) -> None:
        builder(*overrides).check_fit()

    def test_label_smoothing_of_a_flow_is_refused(self) -> None:
        built = builder("task=density", "data=two_moons", "model=cnf", "training.label_smoothing=0.1")
        with pytest.raises(ConfigError, match=r"label_smoothing=0\.1 has no effect on task=density"):
            built.task(built.data(), torch.device("cpu"))

    @pytest.mark.parametrize("name", options("data", SHIPPED))
    def test_every_data_file_is_of_the_kind_of_one_task(self, name: str) -> None:
        assert [task.data_type for task in TASKS].count(kind_returned(target("data", name))) == 1

    @pytest.mark.parametrize("task", TASKS)
    def test_the_example_of_a_kind_of_data_is_of_it(self, task: Any) -> None:
        assert kind_returned(target("data", task.data_type.example)) is task.data_type


def test_points_that_changed_since_the_run_began_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("1,2\n3,4\n5,6\n7,8\n")
    built = builder("task=density", "data=points", "model=cnf", f"data.path={file}")
    assert built.data().dim == 2
    file.write_text("1,2\n3,4\n5,6\n7,9\n")
    with pytest.raises(ConfigError, match="not the file that the run was made with"):
        built.data()
