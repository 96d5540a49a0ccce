"""table1, swap and gradients, made from run folders written by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodebench.reporting import find_runs
from nodebench.reporting.layout import NothingToTabulateError, Table
from nodebench.reporting.measures import NotMeasuredError
from nodebench.reporting.named_tables import named_table, table_names
from nodebench.reporting.recipes import Recipe, Recipes
from nodebench.reporting.rendering import STYLES, render

Write = Callable[..., Path]
NETS = ("mlp", "resnet", "rknet", "odenet", "noblock", "resnet1")
BLOCKS = {"resnet": 6, "resnet1": 1, "noblock": 0}
SLOPES = """model,gradient,axis,quantity,exponent,stderr
resnet,,depth,memory_saved_mib,0.93,0.02
odenet,adjoint,depth,memory_saved_mib,-0.004,0.001
odenet,adjoint,batch,memory_saved_mib,1.0,0.001
odenet,direct,depth,memory_saved_mib,0.98,
"""


@pytest.fixture
def write_net(write_run: Write) -> Write:
    """write_net("odenet", seed=1, stem="res", error_test=0.5) writes a run of one of Table 1's nets."""

    def write(
        net: str,
        seed: int = 0,
        *,
        data: str = "mnist",
        stem: str = "conv",
        hash8: str = "",
        epochs: int = 8,
        setting: dict[str, Any] | None = None,
        environment: dict[str, Any] | None = None,
        **summary: Any,
    ) -> Path:
        config: dict[str, Any] = {
            "data": {"name": data, "augment": "affine", "batch_size": 64},
            "model": {"name": net} if net == "mlp" else {"name": net, "stem": stem},
            "training": {"name": "default", "epochs": epochs},
            "optimizer": {"name": "adamw", "lr": 0.004},
        }
        if net in BLOCKS:
            config["model"]["num_blocks"] = BLOCKS[net]
        if net in ("odenet", "rknet"):
            config["model"]["gradient"] = "adjoint" if net == "odenet" else "direct"
            config["solver"] = {"method": "dopri5", "tol": 0.001}
        else:
            summary = {"nfe_forward": None, "nfe_backward": None, "recon_ok": None, **summary}
        for key, value in (setting or {}).items():
            *nodes, name = key.split(".")
            (config[nodes[0]] if nodes else config)[name] = value
        digest = hash8 or f"{NETS.index(net)}{'ab'[stem == 'res']}" * 4
        name = f"{data}-{net}-{digest}"
        return write_run(name, seed, config=config, environment=environment, **{"epoch": epochs, **summary})

    return write


def made(name: str, root: Path) -> Table:
    return named_table(name, find_runs(root), root)


def first_cells(table: Table) -> list[str]:
    return [line.cells[0] for line in table.lines]


def rows_of_csv(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(render(table, "csv").splitlines()))


def test_the_tables_are_the_modules_of_the_folder() -> None:
    assert table_names() == ["gradients", "per_image", "swap", "table1", "table2"]


class TestTable1:
    def test_rows_come_in_the_papers_order_with_its_numbers_beside_ours(
        self, tmp_path: Path, write_net: Write
    ) -> None:
        for net in NETS:
            for seed, error in enumerate((0.4, 0.5, 0.6)):
                write_net(net, seed, error_test=error)
        table = made("table1", tmp_path)
        names = ["MLP", "ResNet", "RK-Net", "ODE-Net", "no block (control)", "one block (control)"]
        assert first_cells(table) == names
        odenet = table.lines[3].cells
        assert odenet[1:6] == ["3", "0.50 ± 0.25", "0.42", "208,266", "0.22 M"]
        assert odenet[8:11] == ["20.0 / 14.0", "317.0", "yes"]
        assert [odenet[12], odenet[14]] == ["O(1)", "O(L~)"]
        assert [line.cells[3] for line in table.lines] == ["1.60", "0.41", "0.47", "0.42", "", ""]
        row = rows_of_csv(table)[3]
        assert (float(row["error_test"]), float(row["error_test_paper"])) == (pytest.approx(0.5), 0.42)

    def test_a_row_that_is_missing_names_the_command_that_trains_it(
        self, tmp_path: Path, write_net: Write
    ) -> None:
        write_net("odenet")
        table = made("table1", tmp_path)
        assert len(table.lines) == 6
        assert table.lines[0].notes == ["no run: nodebench train experiment=table1_mlp"]
        assert table.lines[0].cells[3] == "1.60"
        assert table.lines[3].notes[0] == "fewer than 3 seeds"

    def test_the_res_stem_has_rows_of_its_own_below(self, tmp_path: Path, write_net: Write) -> None:
        write_net("resnet")
        write_net("resnet", stem="res", num_params=601482)
        table = made("table1", tmp_path)
        assert first_cells(table)[6:] == ["ResNet (res stem)"]
        assert table.lines[6].cells[4:6] == ["601,482", "0.60 M"]

    def test_another_data_set_is_marked_and_has_no_numbers_of_the_paper(
        self, tmp_path: Path, write_net: Write
    ) -> None:
        write_net("odenet")
        write_net("odenet", data="fashion_mnist", hash8="ffffffff", error_test=7.0)
        table = made("table1", tmp_path)
        assert first_cells(table)[3] == "ODE-Net on mnist"
        assert first_cells(table)[6:] == ["ODE-Net on fashion_mnist"]
        assert table.lines[6].cells[2:4] == ["7.00", ""]

    def test_of_several_recipes_the_one_with_most_seeds_then_most_epochs_is_shown(
        self, tmp_path: Path, write_net: Write
    ) -> None:
        for seed in range(2):
            write_net("odenet", seed, hash8="aaaaaaaa", epochs=4, error_test=0.9)
        write_net("odenet", hash8="bbbbbbbb", epochs=160, error_test=0.1)
        write_net("rknet", hash8="cccccccc", epochs=4, error_test=0.9)
        write_net("rknet", hash8="dddddddd", epochs=8, error_test=0.1)
        _, _, rknet, odenet, *_ = made("table1", tmp_path).lines
        assert odenet.cells[2] == "0.90 ± 0.00"
        assert (
            "several recipes: shown is aaaaaaaa (2 seeds, 4 epochs), left out: bbbbbbbb (1 seed, 160 epochs)"
            in odenet.notes
        )
        assert rknet.cells[2] == "0.10"

    def test_the_recipe_of_the_table_comes_first_and_another_one_is_said(
        self, tmp_path: Path, write_net: Write
    ) -> None:
        asked = Recipe(
            write_net("odenet", hash8="bbbbbbbb", error_test=0.4).parent.name, {"model.name": "odenet"}
        )
        mlp = Recipe("mnist-mlp-aaaaaaaa", {"model.name": "mlp", "training.epochs": 8, "model.width": 300})
        for seed in range(2):
            write_net("odenet", seed, hash8="aaaaaaaa", error_test=0.9)
        write_net("mlp", hash8="cccccccc", epochs=1)
        recipes = Recipes("table1", (asked, mlp))
        table = named_table("table1", find_runs(tmp_path), tmp_path, recipes)
        assert table.lines[3].cells[2] == "0.40"
        assert not any("not the recipe" in note for note in table.lines[3].notes)
        (said,) = (note for note in table.lines[0].notes if "not the recipe" in note)
        assert "MLP has" in said
        assert "training.epochs=1 (8)" in said

    def test_a_net_is_what_it_is_and_not_what_it_is_called(self, tmp_path: Path, write_net: Write) -> None:
        write_net("odenet", setting={"model.gradient": "direct"}, error_test=0.7)
        write_net("resnet", setting={"model.num_blocks": 1}, error_test=0.8)
        write_net("resnet", hash8="eeeeeeee", setting={"model.num_blocks": 4}, error_test=0.9)
        shown = {line.cells[0]: line.cells[2] for line in made("table1", tmp_path).lines}
        assert (shown["RK-Net"], shown["ODE-Net"], shown["ResNet"]) == ("0.70", "", "")
        assert shown["one block (control)"] == "0.80"

    def test_what_limits_a_row_is_a_note(self, tmp_path: Path, write_net: Write) -> None:
        write_net("odenet", recon_ok=False)
        write_net("odenet", 1, status="diverged", reason="loss is NaN at step 12")
        write_net("mlp", environment={"version": "0.2.0"})
        notes = [line.notes for line in made("table1", tmp_path).lines]
        assert any("reconstruction check" in note for note in notes[3])
        assert any("seed1 is diverged: loss is NaN at step 12" in note for note in notes[3])
        assert "made by nodebench 0.1.0" in notes[3]
        assert "made by nodebench 0.2.0" in notes[0]
        assert any("images as they are (experiment=lecun_mlp" in note for note in notes[0])

    @pytest.mark.parametrize(
        ("deskew", "words"),
        [
            (True, "ours has deskewed images of 28x28 pixels, augmentation: affine"),
            (False, "ours has images as they are (experiment=lecun_mlp deskews them, by data.deskew=true), "),
        ],
    )
    def test_the_mlp_says_whether_its_images_were_deskewed(
        self, tmp_path: Path, write_net: Write, deskew: bool, words: str
    ) -> None:
        write_net("mlp", setting={"data.deskew": deskew})
        table = made("table1", tmp_path)
        assert any(words in note for note in table.lines[0].notes)
        assert any("deskewed images of 20x20 pixels" in note for note in table.lines[0].notes)
        assert any("deskewed images, augmentation affine" in line for line in table.legend) == deskew

    def test_a_recipe_of_all_rows_stands_once_and_different_ones_at_their_rows(
        self, tmp_path: Path, write_net: Write
    ) -> None:
        write_net("odenet")
        write_net("resnet")
        assert any(
            line.startswith("Recipe: training=default, 8 epochs") for line in made("table1", tmp_path).legend
        )
        write_net("rknet", epochs=160)
        table = made("table1", tmp_path)
        assert not any(line.startswith("Recipe") for line in table.legend)
        assert any(note.startswith("recipe: training=default, 160 epochs") for note in table.lines[2].notes)

    def test_thousands_of_a_recipe_have_a_comma(self, tmp_path: Path, write_net: Write) -> None:
        write_net("mlp", setting={"data.val_size": 5000, "training.epochs": None, "training.num_steps": 3000})
        (recipe,) = (line for line in made("table1", tmp_path).legend if line.startswith("Recipe"))
        assert ", 3,000 steps, " in recipe
        assert ", 5,000 training images held out" in recipe

    @pytest.mark.parametrize("place", ["runs/scaling", "scaling", "../scaling"])
    def test_growth_stands_beside_the_papers_orders(
        self, tmp_path: Path, write_net: Write, place: str
    ) -> None:
        write_net("odenet")
        root = tmp_path / "outputs" / "classification"
        slopes = root / ".." / place.replace("runs", "classification") / "slopes.csv"
        slopes.parent.resolve().mkdir(parents=True)
        slopes.write_text(SLOPES)
        table = made("table1", root)
        _, resnet, rknet, odenet, *_ = [line.cells[11:13] for line in table.lines]
        assert (resnet, rknet, odenet) == (["L^0.93", "O(L)"], ["L~^0.98", "O(L~)"], ["L~^0.00", "O(1)"])
        assert float(rows_of_csv(table)[3]["memory_exponent_stderr"]) == 0.001

    def test_damaged_slopes_are_named(self, tmp_path: Path, write_net: Write) -> None:
        write_net("odenet")
        (tmp_path / "scaling").mkdir()
        (tmp_path / "scaling" / "slopes.csv").write_text("model,exponent\nresnet,much\n")
        assert any("scaling/slopes.csv cannot be read" in line for line in made("table1", tmp_path).legend)
        (tmp_path / "scaling" / "slopes.csv").write_text("model,gradient,axis,quantity,exponent,stderr\n")
        assert any("scaling/slopes.csv has no exponents" in line for line in made("table1", tmp_path).legend)

    @pytest.mark.parametrize("style", STYLES)
    def test_every_style_is_the_same_every_time(self, tmp_path: Path, write_net: Write, style: str) -> None:
        for net in NETS:
            write_net(net)
        assert render(made("table1", tmp_path), style) == render(made("table1", tmp_path), style)
        assert "ODE-Net" in render(made("table1", tmp_path), style) or style == "csv"

    def test_runs_of_other_nets_are_nothing_to_tabulate(self, tmp_path: Path, write_run: Write) -> None:
        write_run("u1-cnf-0a1b2c3d", config={"data": {"name": "u1"}, "model": {"name": "cnf", "width": 2}})
        with pytest.raises(NothingToTabulateError, match="nodebench reproduce table1"):
            made("table1", tmp_path)


def test_table1_says_what_times_were_measured_on(tmp_path: Path, write_net: Write) -> None:
    cpu = {"device": "cpu", "device_name": "Some CPU"}
    write_net("mlp", environment={**cpu, "num_threads": 1})
    write_net("resnet", environment={**cpu, "num_threads": 2}, setting={"compile": True})
    write_net("odenet", environment={"device": "cuda", "device_name": "Some GPU", "num_threads": 8})
    mlp, resnet, _, odenet, *_ = made("table1", tmp_path).lines
    assert "measured on: Some CPU, 1 thread" in mlp.notes
    assert "measured on: Some CPU, 2 threads, compile=true" in resnet.notes
    assert "measured on: Some GPU" in odenet.notes


def test_table1_says_where_a_finished_run_has_no_test_error_and_reads_over_words(
    tmp_path: Path, write_net: Write
) -> None:
    write_net("mlp", seed=0, error_test=1.5)
    write_net("mlp", seed=1, error_test=None)
    write_net("resnet", epoch=None, status="interrupted", setting={"training.epochs": "eight"})
    mlp, resnet = made("table1", tmp_path).lines[:2]
    assert "1 of 2 seeds have a test error" in mlp.notes
    assert resnet.cells[1] == "0"


class TestSwap:
    def evaluate(self, run: Path, method: str, error: float | None, nfe: float, **solver: Any) -> None:
        record = {
            "kind": "swap",
            "solver": {"method": method, "rtol": None, "atol": None, "dt": None, **solver},
            **({} if error is None else {"error_test": error}),
            "nfe_eval": nfe,
        }
        with open(run / "evaluations.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def test_every_solver_is_a_row_with_its_change_against_training(
        self, tmp_path: Path, write_run: Write
    ) -> None:
        for seed, error in enumerate((0.4, 0.6)):
            run = write_run(seed=seed, error_test=error)
            self.evaluate(run, "euler", error + 2.0, 1, dt=1.0)
            self.evaluate(run, "rk4", error + 0.1, 64, dt=0.0625)
            self.evaluate(run, "dopri5", error, 26, rtol=0.001, atol=0.001)
        table = made("swap", tmp_path)
        assert [line.cells[1:] for line in table.lines] == [
            ["dopri5 (training)", "1e-3", "2", "0.50 ± 1.27", "+0.00", "26.0"],
            ["euler", "dt=1.0", "2", "2.50 ± 1.27", "+2.00", "1.0"],
            ["rk4", "dt=0.0625", "2", "0.60 ± 1.27", "+0.10", "64.0"],
        ]
        assert table.lines[0].notes == [
            "with at least training's 26 evaluations, the error changes by +0.10 to +0.10 points over 1 other solve: "
            "a discretisation"
        ]
        assert rows_of_csv(table)[1]["method"] == "euler"

    def test_the_verdict_rests_on_the_predictions_where_every_record_tells_them(
        self, tmp_path: Path, write_run: Write
    ) -> None:
        run = write_run(error_test=0.5)
        self.evaluate(run, "dopri5", 0.5, 26, rtol=0.001, atol=0.001)
        self.evaluate(run, "rk4", 0.5, 64, dt=0.0625)
        path = run / "evaluations.jsonl"
        own, rk4 = [json.loads(line) for line in path.read_text().splitlines()]
        flipped = {**rk4, "flips_test": 0.3, "num_images": 10_000}
        path.write_text("".join(json.dumps(record) + "\n" for record in (own, flipped, rk4)))
        table = made("swap", tmp_path)
        assert [line.cells[4:] for line in table.lines] == [
            ["0.50", "+0.00", "", "26.0"],
            ["0.50", "+0.00", "0.30", "64.0"],
        ]
        assert table.lines[0].notes == [
            "with at least training's 26 evaluations, 0.30 to 0.30 % of the predictions flip and the error changes by "
            "+0.00 to +0.00 points over 1 other solve: a discretisation"
        ]
        assert "Flips: the images that are called another class" in table.legend[0]
        assert rows_of_csv(table)[1]["flips_test"] == "0.3"

    def test_a_test_set_of_few_images_decides_nothing(self, tmp_path: Path, write_run: Write) -> None:
        run = write_run(error_test=10.0)
        self.evaluate(run, "dopri5", 10.0, 26, rtol=0.001, atol=0.001)
        self.evaluate(run, "rk4", 10.0, 64, dt=0.0625)
        path = run / "evaluations.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**record, "num_images": 50}) + "\n" for record in records))
        (note,) = made("swap", tmp_path).lines[0].notes
        assert (
            "solve: undecided (one of 50 test images is 2 points: the rule's 0.1 needs more than 1,000 images"
            in note
        )

    def test_the_latest_record_counts_and_damaged_lines_are_named(
        self, tmp_path: Path, write_run: Write
    ) -> None:
        run = write_run(error_test=0.5)
        self.evaluate(run, "rk4", 9.0, 16, dt=0.25)
        self.evaluate(run, "rk4", 0.5, 16, dt=0.25)
        with open(run / "evaluations.jsonl", "a") as file:
            file.write('{"kind": "sw')
        table = made("swap", tmp_path)
        assert [line.cells[4] for line in table.lines] == ["0.50"]
        assert any("the last line is cut off" in line for line in table.legend)

    def test_records_of_other_weights_are_left_out_and_named(self, tmp_path: Path, write_run: Write) -> None:
        run = write_run(error_test=0.5, step=7496)
        self.evaluate(run, "rk4", 0.6, 16, dt=0.25)
        last = json.loads((run / "evaluations.jsonl").read_text())
        for record in ({**last, "step": 7496}, {**last, "error_test": 9.9, "step": 500}):
            with open(run / "evaluations.jsonl", "a") as file:
                file.write(json.dumps(record) + "\n")
        table = made("swap", tmp_path)
        assert [line.cells[4] for line in table.lines] == ["0.60"]
        assert any("1 record is of other weights than the run's last" in line for line in table.legend)

    def test_a_solve_that_failed_is_a_marked_row(self, tmp_path: Path, write_run: Write) -> None:
        self.evaluate(write_run(), "euler", None, 1, dt=1.0)
        (line,) = made("swap", tmp_path).lines
        assert line.cells[3:5] == ["0", ""]
        assert any("has no test error here" in note for note in line.notes)

    def test_nets_that_were_not_evaluated_name_the_command(self, tmp_path: Path, write_run: Write) -> None:
        write_run()
        with pytest.raises(NothingToTabulateError, match="nodebench evaluate RUN --swap"):
            made("swap", tmp_path)


class TestGradients:
    def test_a_row_for_every_mode_and_tolerance(
        self, tmp_path: Path, write_run: Write, write_measures: Write
    ) -> None:
        write_measures(write_run(), batches=1, solvers=("dopri5", "tsit5"))
        table = made("gradients", tmp_path)
        assert len(table.lines) == 3 * 6
        assert table.lines[0].cells == [
            *("direct", "dopri5", "1e0", "14 / 0", "28.0", "56.0", "42.0", "2.0e-01", "1.0e-01", "", "")
        ]
        assert table.lines[-1].cells[0] == "adjoint"
        assert table.lines[-1].cells[2:4] == ["1e-5", "44 / 38"]
        assert table.lines[-1].cells[-2:] == ["1e-5", "state"]

    def test_without_measured_gradients_the_command_is_named(self, tmp_path: Path, write_run: Write) -> None:
        write_run()
        with pytest.raises(NotMeasuredError, match="nodebench measure"):
            made("gradients", tmp_path)
