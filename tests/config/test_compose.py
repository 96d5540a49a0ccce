"""Composing a command line: defaults, recommendations, and the errors for what does not exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from nodebench.config.check import check
from nodebench.config.compose import Composed, Composer, compose, finish
from nodebench.config.errors import ConfigError
from nodebench.config.files import GROUPS, NODES, config_folders, load, options
from nodebench.config.identity import run_folder

SHIPPED = config_folders()
EVERY_OPTION = [f"{group}={name}" for group in GROUPS for name in options(group, SHIPPED)]


COMPANIONS: tuple[dict[str, str], ...] = (  # an option may need a task, data and a net of its kind beside it
    {},
    {"task": "density_matching", "data": "u1", "model": "cnf"},
    {"task": "density", "data": "two_circles", "model": "cnf"},
    {"task": "time_series", "data": "spirals", "model": "latent_ode"},
    {"task": "point_process", "data": "event_toy", "model": "latent_rate"},
)
SETTINGS = {  # or a setting
    "solver=lsoda": ["model.gradient=adjoint"],
    **{f"data={name}": ["data.path=own.csv"] for name in ("points", "series", "events")},
}


@pytest.mark.parametrize("choice", EVERY_OPTION)
def test_every_option_of_every_group_composes_and_is_possible_with_its_companions(choice: str) -> None:
    group, name = choice.split("=")
    errors = []
    for companions in COMPANIONS:
        overrides = [f"{key}={value}" for key, value in {**companions, group: name}.items()]
        try:
            check(compose([*overrides, *SETTINGS.get(choice, [])]).config)
        except ConfigError as error:
            errors.append(str(error))
    assert len(errors) < len(COMPANIONS), "\n".join(errors)


def test_the_default_is_the_odenet_on_mnist_with_dopri5_at_the_papers_tolerance() -> None:
    config = compose().config
    names = {group: config[group]["name"] for group in NODES}
    assert names == {
        "task": "classification",
        "data": "mnist",
        "model": "odenet",
        "solver": "dopri5",
        "optimizer": "adamw",
        "training": "default",
    }
    assert config["solver"]["tol"] == 1e-3
    assert config["model"]["gradient"] == "adjoint"
    assert config["solver"]["adjoint"]["norm"] == "state"


def test_the_default_recipe_is_the_one_of_the_design() -> None:
    config = compose().config
    training, optimizer = config["training"], config["optimizer"]
    assert (training["epochs"], training["schedule"]) == (8, "one_cycle")
    assert (training["ema_decay"], training["label_smoothing"]) == (0.998, 0.05)
    assert (optimizer["lr"], config["data"]["augment"]) == (4e-3, "affine")


def test_the_papers_recipe_brings_its_own_optimizer_and_augmentation() -> None:
    config = compose(["training=paper"]).config
    training, optimizer = config["training"], config["optimizer"]
    assert (training["epochs"], training["schedule"], training["gamma"]) == (160, "multistep", 0.1)
    assert training["milestones"] == [60, 100, 140]
    assert (training["ema_decay"], training["label_smoothing"]) == (None, 0.0)
    assert (optimizer["name"], optimizer["lr"], optimizer["momentum"]) == ("sgd", 0.1, 0.9)
    assert config["data"]["augment"] == "shift"


def test_the_users_own_choice_wins_over_every_recommendation() -> None:
    config = compose(["training=paper", "optimizer=adam", "data.augment=none", "solver.tol=1e-5"]).config
    assert config["optimizer"]["name"] == "adam"
    assert config["data"]["augment"] == "none"
    assert config["solver"]["tol"] == 1e-5


def test_the_command_line_wins_over_an_experiment() -> None:
    config = compose(["experiment=table1_rknet", "model=odenet", "data.val_size=100"]).config
    assert config["model"]["name"] == "odenet"
    assert config["data"]["val_size"] == 100


def test_numbers_in_scientific_notation_are_floats() -> None:
    assert compose(["solver.tol=1e-1"]).config["solver"]["tol"] == pytest.approx(0.1)
    assert isinstance(compose(["optimizer=adamw"]).config["optimizer"]["eps"], float)


def test_fixed_step_solvers_have_a_step_and_no_tolerance() -> None:
    solver = compose(["solver=rk4"]).config["solver"]
    assert (solver["dt"], solver["tol"]) == (0.1, None)


def test_an_adaptive_method_at_a_fixed_step_gets_no_tolerance() -> None:
    assert compose(["solver.dt=0.1"]).config["solver"]["tol"] is None


def test_implicit_adams_gets_a_tolerance_for_its_corrector() -> None:
    assert compose(["solver=implicit_adams"]).config["solver"]["tol"] == 1e-3


def test_a_net_without_an_ode_drops_the_solver() -> None:
    composed = compose(["model=resnet"])
    assert "solver" not in composed.config
    assert composed.notes == ()


def test_dropping_a_solver_that_was_asked_for_is_said() -> None:
    assert compose(["model=resnet", "solver=rk4"]).notes == (
        "resnet has no ODE, so what was said about the solver is dropped",
    )


@pytest.mark.parametrize("data", ["mnist", "kmnist", "fashion_mnist", "digits"])
def test_the_smoke_preset_limits_what_images_it_is_evaluated_on(data: str) -> None:
    limited = compose([f"data={data}", "training=smoke"]).config["data"]
    assert (limited["limit_val"], limited["limit_test"]) == (100, 100)


def test_a_limit_that_is_given_wins_over_the_smoke_presets() -> None:
    data = compose(["training=smoke", "data.limit_val=null", "data.limit_test=7"]).config["data"]
    assert (data["limit_val"], data["limit_test"]) == (None, 7)


@pytest.mark.parametrize(("task", "data"), [("density", "two_moons"), ("density_matching", "u1")])
@pytest.mark.parametrize("training", ["smoke", "flow"])
def test_a_preset_leaves_data_without_such_limits_alone(task: str, data: str, training: str) -> None:
    config = compose([f"task={task}", f"data={data}", "model=cnf", f"training={training}"]).config
    assert not any(key.startswith("limit") for key in config["data"])


def test_other_presets_limit_nothing() -> None:
    assert compose(["training=default"]).config["data"]["limit_test"] is None


def test_steps_of_the_smoke_preset_win_over_an_experiments_epochs() -> None:
    training = compose(["experiment=digits", "training=smoke"]).config["training"]
    assert (training["epochs"], training["num_steps"]) == (None, 2)


def test_epochs_on_the_command_line_win_over_a_presets_steps() -> None:
    training = compose(["training=smoke", "training.epochs=3"]).config["training"]
    assert (training["epochs"], training["num_steps"]) == (3, None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=odnet"], "unknown model `odnet`. Did you mean `odenet`?"),
        (["solver=dopri"], "unknown solver `dopri`. Did you mean `dopri"),
        (["experiment=table1_odnet"], "Did you mean `table1_odenet`?"),
        (["modle=odenet"], "unknown key `modle`. Did you mean `model`?"),
        (["solver.tolerance=1e-3"], "unknown key `solver.tolerance`. Did you mean `solver.tol`?"),
        (["+solver.tolerance=1e-3"], "unknown key `solver.tolerance`. Did you mean `solver.tol`?"),
        (["++solver.tolerance=1e-3"], "unknown key `solver.tolerance`. Did you mean `solver.tol`?"),
        (["+tolerance=1"], "unknown key `tolerance`. Did you mean `solver.tol`?"),
        (["lr=0.1"], "Did you mean `optimizer.lr`?"),
        (["epochs=3"], "Did you mean `training.epochs`?"),
        (["sweep=null"], "unknown key `sweep`; to sweep, give several values, key=a,b, and -m"),
        (["+sweep.seed=[0,1]"], "unknown key `sweep.seed`; to sweep"),
        (["+zzz=3"], "unknown key `zzz`. The keys are in configs/train.yaml"),
        (["+solver.tol=1e-3"], "set it without `+`"),
        (["+model=odenet"], "without `+`"),
        (["model.stem=res", "model=mlp"], "unknown key `model.stem`"),
        (
            ["data=digits", "data.root=here"],
            "unknown key `data.root`. data=digits does not have it; data=fash",
        ),
        (["data=fashion_mnist", "data.deskew=true"], "does not have it; data=digits, kmnist, mnist do."),
        (["optimizer.nesterov=true"], "optimizer=adamw does not have it; optimizer=sgd does."),
        (["model=resnet", "model.gradient=adjoint"], "resnet has no ODE to take a gradient of"),
        (["model._target_=os.system"], "unknown key `model._target_`"),
        (["~solver.tol"], "nothing can be deleted"),
        (["solver.adjoint=null"], "holds several keys"),
        (["solver=null"], "solver takes one name"),
        (["solver@other=rk4"], "groups are chosen by name alone"),
        (["seed=0,1"], "names several values; give one, or run all of them with nodebench train -m"),
        (
            ["model=odenet,rknet"],
            "names several values; give one, or run all of them with nodebench train -m",
        ),
        (["hydra.run.dir=x"], "are for nodebench train -m"),
        (["odenet"], "`odenet` is not of the form key=value"),
        (["output_dir=a(b"], "cannot read `output_dir=a(b`"),
        (["data.root=${oc.env:NODEBENCH_NO_SUCH_VARIABLE}"], "the config cannot be resolved"),
        (["training.epochs=2", "training.num_steps=3"], "both given"),
    ],
)
def test_what_does_not_exist_is_named_in_one_sentence(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_overrides_of_a_composed_run_make_the_same_run_with_nothing_left_to_recommend() -> None:
    composed = compose(["training=paper", "solver.tol=1e-2"])
    assert composed.overrides == ("optimizer=sgd", "training=paper", "solver.tol=1e-2")
    assert compose(composed.overrides).config == composed.config


def test_experiments_say_what_they_reproduce_from_where_and_at_what_cost() -> None:
    for name, path in options("experiment", SHIPPED).items():
        about = set(load(path)["about"]) - {"minutes_a_run"}
        assert about == {"reproduces", "source", "expected", "cost"}, name


class TestAFolderOfOnesOwn:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        own = tmp_path / "it's mine"
        (own / "experiment").mkdir(parents=True)
        (own / "solver").mkdir()
        (own / "solver" / "coarse.yaml").write_text("# Coarse\nmethod: dopri5\ntol: 0.1\n")
        return own

    def write(self, folder: Path, text: str) -> None:
        (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")

    def test_its_options_can_be_chosen(self, folder: Path) -> None:
        self.write(folder, "defaults: [override /solver: coarse]\ntraining: {epochs: 2}\n")
        config = compose(["experiment=mine"], folder).config
        assert (config["solver"]["name"], config["solver"]["tol"]) == ("coarse", 0.1)
        assert config["training"]["epochs"] == 2

    def test_its_unknown_keys_are_named(self, folder: Path) -> None:
        self.write(folder, "training: {epohcs: 2}\n")
        with pytest.raises(
            ConfigError, match=r"unknown key `training\.epohcs` in experiment `mine`.*training\.ep"
        ):
            compose(["experiment=mine"], folder)

    def test_its_unknown_choices_are_named_without_a_traceback(self, folder: Path) -> None:
        self.write(folder, "defaults: [override /solver: none_such]\n")
        with pytest.raises(ConfigError, match="none_such"):
            compose(["experiment=mine"], folder)

    def test_a_solver_without_a_method_is_an_error(self, folder: Path) -> None:
        (folder / "solver" / "empty.yaml").write_text("tol: 0.1\n")
        with pytest.raises(ConfigError, match=r"solver\.method"):
            compose(["solver=empty"], folder)

    @pytest.mark.parametrize(
        "name", ["model/mlp", "solver/dopri5", "training/default", "experiment/digits", "train"]
    )
    def test_a_shipped_name_has_one_meaning(self, folder: Path, name: str) -> None:
        own = folder / f"{name}.yaml"
        own.parent.mkdir(exist_ok=True)
        shipped = (SHIPPED[0] / f"{name}.yaml").read_text()
        own.write_text(shipped)
        assert compose([], folder).config == compose().config  # a copy says the same
        own.write_text(f"{shipped}\nseed: 3\n")
        with pytest.raises(ConfigError, match=r"rename it|put your own values into an experiment") as caught:
            compose([], folder)
        assert str(own) in str(caught.value)

    def test_a_file_that_is_not_read_for_its_ending_is_an_error(self, folder: Path) -> None:
        (folder / "solver" / "dopri5.yml").write_text("method: euler\ndt: 0.5\n")
        with pytest.raises(ConfigError, match=r"dopri5\.yml is not read, since its name .* rename it"):
            compose([], folder)

    @pytest.mark.parametrize(("name", "group"), [("mdoel", "model"), ("experiments", "experiment")])
    def test_a_folder_whose_name_is_misspelt_is_an_error_and_other_folders_are_not(
        self, folder: Path, name: str, group: str
    ) -> None:
        for other in (name, "notes", "training_of_last_year"):
            (folder / other).mkdir()
        (folder / "notes" / "mine.yaml").touch()
        compose([], folder)
        (folder / name / "mine.yaml").touch()
        with pytest.raises(ConfigError, match=rf"{name} is not read: the group's folder is called `{group}`"):
            compose([], folder)

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"\xff\xfe", "no text in UTF-8"), (b"[" * 2000, "nest"), (b"- 1", "a config is a mapping")],
    )
    def test_a_file_that_cannot_be_read_is_named(self, folder: Path, content: bytes, words: str) -> None:
        (folder / "solver" / "damaged.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=words) as caught:
            compose(["solver=damaged"], folder)
        assert "damaged.yaml" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "text", "words"),
        [
            ("model/mine", "width: 3\n", "has no `_target_`, which every model needs"),
            ("model/mine", "_target_: {a: b}\n", "has no `_target_`"),
            ("model/mine", "_target_: [a, b]\n", "it must be one name, such as package.module.Class"),
            ("data/mine", "batch_size: 3\n", "has no `_target_`, which every data needs"),
            ("optimizer/mine", "_target_: torch.optim.Adam\n", "has no `lr`, which every optimizer needs"),
            ("task/mine", "_target_: mine.Task\n", "has no `recommended.training`, which every task needs"),
            ("experiment/mine", "training: {epochs: 2}\n", "needs the line `# @package _global_` at its top"),
            ("training/mine", "training: {epochs: 2}\n", "needs the line `# @package _global_` at its top"),
        ],
    )
    def test_what_a_file_lacks_is_named_with_the_file(
        self, folder: Path, name: str, text: str, words: str
    ) -> None:
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            compose([name.replace("/", "=")], folder)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)

    def test_a_folder_that_does_not_exist_is_an_error(self, folder: Path) -> None:
        for name in (folder / "nowhere", "~nobody-of-this-name/configs"):
            with pytest.raises(ConfigError, match="is not a folder"):
                compose([], name)

    def test_its_own_sweep_leaves_the_config_and_its_hash_as_they_are(self, folder: Path) -> None:
        text = "model: {gradient: direct}\n"
        self.write(folder, text)
        without = compose(["experiment=mine"], folder)
        self.write(
            folder, f"{text}sweep: {{data: [mnist, digits], model.gradient: [direct, adjoint], seed: [0]}}"
        )
        composed = compose(["experiment=mine"], folder)
        assert composed.config == without.config
        assert run_folder(composed.config) == run_folder(without.config)
        assert composed.sweep == {
            "data": ["mnist", "digits"],
            "model.gradient": ["direct", "adjoint"],
            "seed": [0],
        }
        note = "this experiment sweeps over data, model.gradient, seed: add -m to run all 4"
        assert (without.notes, composed.notes) == ((), (note,))

    def test_a_key_on_the_command_line_replaces_its_list(self, folder: Path) -> None:
        self.write(folder, "sweep: {data: [mnist, digits], seed: [0, 1, 2]}")
        composed = compose(["experiment=mine", "data=digits"], folder)
        assert composed.sweep == {"seed": [0, 1, 2]}
        assert composed.notes == ("this experiment sweeps over seed: add -m to run all 3",)
        assert compose(["experiment=mine", "data=digits", "seed=1"], folder).notes == ()

    def test_a_sweep_may_refer_to_other_keys_and_be_referred_to(self, folder: Path) -> None:
        self.write(folder, "seed: ${sweep.seed.1}\nsweep: {seed: [1, 2], training.epochs: ['${seed}', 3]}")
        composed = compose(["experiment=mine"], folder)
        assert composed.config["seed"] == 2
        assert composed.sweep == {"seed": [1, 2], "training.epochs": [2, 3]}

    def test_a_sweep_may_take_keys_that_only_another_choice_has(self, folder: Path) -> None:
        self.write(
            folder, "defaults: [override /model: mlp]\nsweep: {model: [odenet], model.stem: [conv, res]}"
        )
        assert set(compose(["experiment=mine"], folder).sweep) == {"model", "model.stem"}

    @pytest.mark.parametrize(
        ("sweep", "message"),
        [
            ("{sead: [0, 1]}", "unknown key `sead` in the sweep of experiment `mine`. Did you mean `seed`?"),
            ("{model.wdith: [2]}", "Did you mean `model.width`?"),
            ("{experiment: [digits]}", "unknown key `experiment`"),
            ("{data._target_: [x]}", "unknown key `data._target_`"),
            ("{sweep: [1]}", "unknown key `sweep`"),
            ("{1: [1]}", "unknown key `1`"),
            ("{seed: 3}", "sweep: {seed: 3} in experiment `mine` is no list of values"),
            ("{seed: []}", "sweep: {seed: []} in experiment `mine` is no list of values"),
            ("{seed: '0,1'}", "is no list of values"),
            ("{model: {width: [2, 4]}}", "write one list a key, with dots: {model.width: [2, 4]}"),
            ("{seed: [{a: 1}]}", "is no list of values"),
            ("{seed: '???'}", "sweep.seed has no value"),
            ("[seed]", "sweep=['seed'] in experiment `mine`; it must be lists by key"),
            ("3", "sweep=3 in experiment `mine`"),
            ("{seed: ['${nowhere}']}", "the config cannot be resolved"),
            ("{seed: [0, 1}", "is not YAML that can be read: while parsing a flow sequence"),
        ],
    )
    def test_a_sweep_that_cannot_be_is_named(self, folder: Path, sweep: str, message: str) -> None:
        self.write(folder, f"sweep: {sweep}\n")
        with pytest.raises(ConfigError) as caught:
            compose(["experiment=mine"], folder)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_key_of_an_experiment_that_the_chosen_data_lacks_is_named_with_the_data_that_have_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ndata: {deskew: true}\n")
    with pytest.raises(
        ConfigError,
        match=r"`data\.deskew` in experiment `mine`\. data=fashion_mnist does not have it; data=digits",
    ):
        compose(["experiment=mine", "data=fashion_mnist"], tmp_path)


@pytest.mark.parametrize(
    ("overrides", "cure"),
    [
        (
            ["data=u1"],
            "choose a task for it: task=density, density_matching, point_process, time_series; `nodebench list tasks`",
        ),
        (
            ["task=density", "data=two_circles", "training=default"],
            "choose training=flow, which is for task=density",
        ),
    ],
)
def test_a_preset_that_is_not_for_the_data_is_named_with_what_would_do(
    overrides: list[str], cure: str
) -> None:
    with pytest.raises(ConfigError, match=cure):
        compose([*overrides, "model=cnf"])


def test_the_hash_of_a_users_file_cannot_be_given() -> None:
    with pytest.raises(ConfigError, match=r"unknown key `data\.content`"):
        compose(["task=density", "data=points", "data.path=x.csv", "data.content=1", "model=cnf"])


@pytest.mark.parametrize(
    "overrides", [["seed=1", "seed=2"], ["seed=1", "++seed=1"], ["model=odenet", "model=rknet"]]
)
def test_a_key_given_twice_is_named_with_both_values(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match="give one key twice") as caught:
        compose(overrides)
    assert all(f"`{override}`" in str(caught.value) for override in overrides)


MEMBERS = [
    ["experiment=digits"],
    [
        "experiment=digits",
        "seed=3",
        "optimizer.betas=[0.8,0.9]",
        "training.clip_norm=null",
        "solver.max_step=.inf",
    ],
    ["experiment=digits", "data.batch_size=${seed}", "seed=5", "output_dir='a b'"],
    [
        "task=density",
        "data=two_moons",
        "model=cnf",
        "model.width=7",
        "training.num_steps=30",
        "optimizer.lr=1e-3",
    ],
    ["experiment=fig4_cnf", "data=u1", "model.width=4"],
    ["data.root=elsewhere", "training.schedule=multistep", "training.milestones=[1,2]", "training.epochs=3"],
]
WRONG = [
    *(["model=odent"], ["solver.tl=1"], ["seed=0,1"], ["seed"], ["~seed"], ["+seed=1"], ["data={a:1}"]),
    *(["training.clip_norm={a:1}"], ["data.root=${nothing}"], ["output_dir=???"], ["seed=${oc.env:}"]),
]


def as_hydra_composes(composed: Composed, given: list[str]) -> dict[str, Any]:
    """The config of the same overrides, every file and value merged and resolved by Hydra itself."""
    with initialize_config_dir(str(SHIPPED[0]), version_base="1.3"):
        config = hydra_compose("train", list(composed.overrides), return_hydra_config=True)
    choices = {group: config.hydra.runtime.choices.get(group) for group in GROUPS}
    plain: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]), resolve=True
    )
    del plain["sweep"]
    finish(plain, choices, {text.partition("=")[0] for text in given})
    return dict(plain)


@pytest.mark.parametrize("given", MEMBERS, ids=" ".join)
def test_values_are_set_as_hydra_sets_them(given: list[str]) -> None:
    composed = compose(given)
    assert repr(composed.config) == repr(as_hydra_composes(composed, given))  # the order and the types too


def told(compose: Callable[[Sequence[str]], Composed], overrides: list[str]) -> str:
    """What is composed, or the sentence that says why nothing is."""
    try:
        return repr(compose(overrides))
    except ConfigError as error:
        return f"refused: {error}"


def test_the_members_of_a_sweep_are_what_each_would_be_alone() -> None:
    composer = Composer()
    alone = [told(compose, overrides) for overrides in (*MEMBERS, *WRONG)]
    assert [text.startswith("refused") for text in alone] == [False] * len(MEMBERS) + [True] * len(WRONG)
    for _ in range(2):  # the second time, what they share is composed
        assert [told(composer.compose, overrides) for overrides in (*MEMBERS, *WRONG)] == alone


def test_what_one_member_is_given_stays_out_of_the_next() -> None:
    composer = Composer()
    first = composer.compose(["optimizer.betas=[0.8,0.9]", "seed=1"])
    first.config["optimizer"]["betas"].append(7)
    first.config["data"]["batch_size"] = 9
    assert composer.compose([]) == compose([])
