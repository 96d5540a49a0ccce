"""What torchrun may start, and what it is told that it may not; nothing is launched here."""

from __future__ import annotations

import pytest
import torch

from nodebench.cli import main
from nodebench.commands.processes import check_device_together, check_solver_together
from nodebench.config.check import check
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.ranks import Place

PLACE = Place(rank=0, local_rank=0, number=4)


@pytest.fixture
def as_rank(monkeypatch):
    def become(rank: int) -> None:
        told = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": 4,
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": 1,
        }
        for name, value in told.items():
            monkeypatch.setenv(name, str(value))

    return become


@pytest.mark.parametrize(
    "arguments", [["table"], ["reproduce", "fig4"], ["evaluate", "run"], ["train", "-m"]]
)
def test_what_is_for_one_process_is_refused_in_a_sentence_by_the_first_alone(as_rank, capsys, arguments):
    as_rank(0)
    assert main(arguments) == 2
    assert "leave out torchrun" in capsys.readouterr().err.replace("\n", " ")
    as_rank(1)
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", "")


def test_a_slip_is_told_once(as_rank, capsys):
    for rank, told in ((0, True), (3, False)):
        as_rank(rank)
        assert main(["train", "data=mnits"]) == 2
        assert bool(capsys.readouterr().err) is told


@pytest.mark.parametrize("device", ["mps", "cuda:1"])
def test_one_device_is_not_for_several_processes(device):
    with pytest.raises(ConfigError, match="is one device"):
        check_device_together(device, PLACE)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device_together("cuda", Place(1, 1, 4))
    check_device_together("cpu", Place(3, 3, 4))
    with pytest.raises(ConfigError, match="--nproc-per-node 2"):
        check_device_together("auto", Place(2, 2, 4))


def test_a_gpu_has_a_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check(compose(["device=cuda:1"]).config)
    with pytest.raises(ConfigError, match="torch sees 2 GPUs"):
        check(compose(["device=cuda:2"]).config)
    with pytest.raises(ConfigError, match="a GPU by its number"):
        check(compose(["device=cuda:x"]).config)


@pytest.mark.parametrize("solver", ["kvaerno5", "lsoda"])
def test_solvers_that_decide_by_more_than_an_error_are_for_processes_that_do_not_share_steps(solver):
    with pytest.raises(ConfigError, match=r"solver\.sync=false"):
        check_solver_together(compose([f"solver={solver}"]).config)
    check_solver_together(compose([f"solver={solver}", "solver.sync=false"]).config)
    check_solver_together(compose(["model=mlp"]).config)
    check_solver_together(compose(["solver=dopri5"]).config)
