"""`--jobs N`: members side by side, a process each; one that is killed is a row, and a signal lets all save first.

The processes here are small Pythons that leave what `nodebench train` would; one slow test trains.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from nodebench import cli
from nodebench.commands import jobs, share
from nodebench.commands.members import Member
from nodebench.commands.pace import PaceOfJobs
from nodebench.config.identity import run_folder
from nodebench.config.saved import config_text
from nodebench.records.jobs import JOBS
from nodebench.training import environment

PLAYED = """
import json, os, pathlib, signal, sys, time

folder, config, behaviour = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]


def end(status, reason=None):
    code = {"version": "0.1.0", "git_commit": None, "git_dirty": None}
    (folder / "summary.json").write_text(json.dumps({"status": status, "reason": reason, **code}))


def begin():
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config)
    print("the plan", flush=True)


def stop(number, frame):
    end("interrupted", f"{signal.Signals(number).name} at step 3 of 9")
    sys.exit(128 + number)


def heed(number, frame):
    if pathlib.Path("heeded").exists():
        sys.exit(130)
    pathlib.Path("heeded").touch()


if behaviour == "refuse":
    print("nodebench: no data")
    sys.exit(2)
begin()
if behaviour == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if behaviour == "abort":
    os._exit(255)
if behaviour == "fail":
    end("failed", "not finite")
    sys.exit(1)
if behaviour == "wait":
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    pathlib.Path(folder.name).touch()
    time.sleep(60)
if behaviour == "hang":
    signal.signal(signal.SIGINT, heed)
    pathlib.Path(folder.name).touch()
    while True:
        time.sleep(60)
(folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
end("finished")
"""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """played("finish", "die") lets the process of seed 0 finish, and that of seed 1 die of SIGKILL."""

    def play(*behaviours: str) -> None:
        def command_of(member: Member, config_dir: object = None) -> list[str]:
            config = member.composed.config
            arguments = [str(run_folder(config)), config_text(config), behaviours[config["seed"]]]
            return [sys.executable, "-S", "-c", PLAYED, *arguments]

        monkeypatch.setattr(jobs, "command_of", command_of)

    return play


def sweep_of(smoke: tuple[str, ...], number: int, *more: str) -> int:
    seeds = ",".join(map(str, range(number)))
    return cli.main(["train", "-m", *smoke, "model=odenet", f"seed={seeds}", *more])


def wait_for(*files: str) -> None:
    """Until the processes have left these files."""
    deadline = time.monotonic() + 60
    while not all(Path(file).exists() for file in files) and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_member_that_is_killed_is_a_row_and_the_others_finish(
    smoke: tuple[str, ...], played: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    played("finish", "die", "refuse", "fail", "finish", "finish", "finish", "finish")
    assert sweep_of(smoke, 8, "--jobs", "2") == 1
    printed = capsys.readouterr().out
    assert printed.count("\nstarted   seed=") == printed.count(" of 8 done") == 8
    assert re.search(
        r"^failed    seed=1 in 00:\d\d: killed by SIGKILL, by hand or because memory ran", printed, re.M
    )
    assert re.search(r"^failed    seed=2 in 00:\d\d: no data; \d of 8 done", printed, re.M)
    assert re.search(r"^failed    outputs/.*/seed3: not finite$", printed, re.M)
    assert "5 finished, 3 failed" in printed  # the row of the table
    summaries = {
        path.parent.name: json.loads(path.read_text()) for path in Path("outputs").rglob("summary.json")
    }
    assert len(summaries) == 8
    assert summaries["seed1"]["reason"].endswith("the same command continues from its last checkpoint")

    played("", "finish", "finish", "finish")
    assert sweep_of(smoke, 8, "--jobs", "2") == 0
    printed = capsys.readouterr().out
    assert "done      5 of them are finished; training.force=true trains anew\n" in printed
    assert "3 of 3 done\n" in printed
    assert "started   seed=0" not in printed


def test_a_member_that_a_library_ends_with_any_code_is_a_row_too(
    smoke: tuple[str, ...], played: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    played("abort", "finish")
    assert sweep_of(smoke, 2, "--jobs", "2") == 1
    printed = capsys.readouterr().out
    assert "its process ended with code 255; the last that it printed: the plan" in printed


def test_what_a_member_prints_is_in_its_log_alone(
    smoke: tuple[str, ...], played: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    played("finish", "refuse")
    sweep_of(smoke, 2, "--jobs", "2")
    assert "the plan" not in capsys.readouterr().out
    first, second = (next(Path("outputs").rglob(f"seed{seed}")) / "log.txt" for seed in (0, 1))
    assert first.read_text().endswith(" the plan\n")
    assert second.read_text().endswith(" nodebench: no data\n")  # its folder was made for the row


def test_a_share_of_the_cores_goes_to_each_unless_the_environment_gives_another(
    smoke: tuple[str, ...], played: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(share, "cores", lambda: 7)
    played("finish", "finish")
    assert sweep_of(smoke, 2, "hydra/launcher=joblib", "hydra.launcher.n_jobs=9") == 0
    assert [path.read_text() for path in Path("outputs").rglob("threads")] == ["3", "3"]
    next(Path("outputs").rglob("seed1/summary.json")).unlink()
    next(Path("outputs").rglob("seed1/threads")).unlink()
    assert sweep_of(smoke, 2, "--jobs", "2") == 0  # one is left, at the threads that it began with
    assert [path.read_text() for path in Path("outputs").rglob("threads")] == ["3", "3"]
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert share.threads_each(2) == 2
    assert "OMP_NUM_THREADS" not in share.share(0, 2, "cpu")


def test_runs_whose_device_is_left_open_are_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def gpus(device: str) -> list[str | None]:
        return [share.share(slot, 4, device).get("CUDA_VISIBLE_DEVICES") for slot in range(4)]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert gpus("auto") == gpus("cuda") == ["0", "1", "2", "0"]
    assert gpus("cpu") == gpus("cuda:1") == [None] * 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7a")
    assert gpus("auto") == ["5", "GPU-7a", "5", "GPU-7a"]


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_all_save_and_starts_no_other(
    smoke: tuple[str, ...],
    played: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    def send_when_both_run() -> None:
        wait_for("seed0", "seed1")
        os.kill(os.getpid(), number)

    played("wait", "wait", "finish")
    sender = threading.Thread(target=send_when_both_run)
    sender.start()
    if number == signal.SIGINT:
        assert sweep_of(smoke, 3, "--jobs", "2") == code
    else:
        with pytest.raises(SystemExit) as ended:
            sweep_of(smoke, 3, "--jobs", "2")
        assert ended.value.code == code
    sender.join()
    printed = capsys.readouterr().out
    assert printed.count(f": {number.name} at step 3 of 9; ") == 2
    assert "seed=2" not in printed
    assert len(list(Path("outputs").rglob("summary.json"))) == 2


@pytest.mark.usefixtures("signals_arrive")
def test_a_second_ctrl_c_is_handed_on_too(
    smoke: tuple[str, ...], played: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def send_twice() -> None:
        for file in ("seed0", "heeded"):
            wait_for(file)
            os.kill(os.getpid(), signal.SIGINT)

    played("hang", "finish")
    sender = threading.Thread(target=send_twice)
    sender.start()
    assert sweep_of(smoke, 2, "--jobs", "2") == 130
    sender.join()
    assert re.search(
        r"^interrupted seed=0 in \d\d:\d\d: SIGINT, nothing saved; ", capsys.readouterr().out, re.M
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["hydra.launcher.verbose=3"], "takes hydra.launcher.n_jobs alone, and not `hydra.launcher.verbose`"),
        (["hydra.launcher.n_jobs=0"], "n_jobs=0 is not possible; it must be a whole number, 1 or above"),
        (["hydra.launcher.n_jobs=true"], "n_jobs=true is not possible; it must be a whole number"),
        (["hydra.launcher.n_jobs=1,2"], "n_jobs=1,2 is not possible; it must be a whole number"),
        (["--jobs", "2"], "--jobs 2 runs the members here; drop it, or drop hydra/launcher=joblib"),
    ],
)
def test_what_joblib_cannot_be_asked_for_is_a_sentence(
    smoke: tuple[str, ...], settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep_of(smoke, 2, "hydra/launcher=joblib", *settings) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_joblibs_numbers_of_jobs_mean_what_they_mean_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "cores", lambda: 8)
    assert jobs.jobs_of(["hydra/launcher=basic"]) is None
    asked = {3: 3, -1: 8, -2: 7, -20: 1}
    for number, meant in asked.items():
        assert jobs.jobs_of(["hydra/launcher=joblib", f"hydra.launcher.n_jobs={number}"]) == meant
    assert jobs.jobs_of(["hydra/launcher=joblib"]) == 8


def test_jobs_without_a_sweep_are_refused(smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", *smoke, "--jobs", "2"]) == 2
    assert "--jobs is for the runs of a sweep; add -m" in capsys.readouterr().err


def test_the_time_left_is_that_of_all_slots() -> None:
    now = 0.0
    pace = PaceOfJobs(5, 2, lambda: now)
    pace.begin(0)
    pace.begin(1)
    now = 100.0
    assert pace.end(0, is_finished=True) == (
        "01:40",
        "1 of 5 done, about 02:30 left",
    )  # three of 100 s, two slots
    pace.begin(0)
    now = 110.0
    assert pace.end(1, is_finished=False) == (
        "01:50",
        "2 of 5 done, about 02:25 left",
    )  # 90 s here, 200 s to come
    pace.begin(1)
    now = 300.0
    pace.end(0, is_finished=False)
    assert pace.end(1, is_finished=False)[1] == "4 of 5 done, about 00:50 left"


def test_a_run_that_shared_its_machine_says_so_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    alone = environment.describe_environment(torch.device("cpu"))
    assert "jobs" not in alone
    monkeypatch.setenv(JOBS, "3")
    shared = environment.describe_environment(torch.device("cpu"))
    assert shared["jobs"] == 3
    monkeypatch.setenv(JOBS, "1")
    assert "jobs" not in environment.describe_environment(torch.device("cpu"))
    assert environment.differences(alone, shared) == []
    assert environment.marked_as_shared(alone, shared)["jobs"] == 3
    assert environment.marked_as_shared(shared, alone)["jobs"] == 3
    assert environment.marked_as_shared(alone, alone) == alone


@pytest.mark.slow
def test_eight_runs_on_two_workers_of_which_one_is_killed(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []

    def kill_seed3() -> None:
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            for lock in Path("outputs").rglob("seed3/lock"):
                with suppress(ValueError):  # where it is not written yet
                    killed.append(json.loads(lock.read_text())["process"])
                    os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.005)

    killer = threading.Thread(target=kill_seed3)
    killer.start()
    assert sweep_of(smoke, 8, "--jobs", "2") == 1
    killer.join()
    printed = capsys.readouterr().out
    assert len(killed) == 1
    assert "7 finished, 1 failed" in printed
    assert "seed3: killed by SIGKILL" in printed
    assert sweep_of(smoke, 8, "--jobs", "2") == 0
    assert "1 of 1 done" in capsys.readouterr().out
    marks = [json.loads(path.read_text()).get("jobs") for path in Path("outputs").rglob("environment.json")]
    assert marks.count(2) >= 7  # seed 3 may have been killed before it had written its own
