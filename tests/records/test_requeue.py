"""Which job a process belongs to, and whether a run was begun by an earlier start of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodebench.records.requeue import Job, marked, this_job, was_begun_by_this_job

BATCH = (
    "SLURM_JOB_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_CLUSTER_NAME",
    "SUBMITIT_LOCAL_JOB_ID",
    "SUBMITIT_FOLDER",
)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Sets variables of a batch system; none of the machine that tests run on are there."""
    for name in BATCH:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "17"}, Job("slurm 17", 0)),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "2"}, Job("slurm 17", 2)),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "x"}, Job("slurm 17", 0)),
        ({"SLURM_JOB_ID": "17", "SLURM_CLUSTER_NAME": "big"}, Job("slurm big 17", 0)),
        ({"SLURM_JOB_ID": "17", "SUBMITIT_LOCAL_JOB_ID": "9"}, Job("slurm 17", 0)),
    ],
)
def test_a_job_is_known_by_what_its_batch_system_says(
    variables: dict[str, str], expected: Job | None
) -> None:
    assert this_job(variables) == expected


def test_submitits_job_is_that_of_one_sweep_and_names_no_path() -> None:
    jobs = [
        this_job({"SUBMITIT_LOCAL_JOB_ID": "9", "SUBMITIT_FOLDER": folder})
        for folder in ("/home/me/a", "/home/me/b")
    ]
    assert jobs[0] != jobs[1]
    assert all(job is not None and "/" not in job.name for job in jobs)


@pytest.mark.parametrize(
    ("began", "now", "is_its_own"),
    [
        ({"SLURM_JOB_ID": "17"}, {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "1"}, True),
        (
            {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "1"},
            {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "3"},
            True,
        ),
        ({"SLURM_JOB_ID": "17"}, {"SLURM_JOB_ID": "17"}, False),  # a second command of its script
        ({"SLURM_JOB_ID": "17"}, {"SLURM_JOB_ID": "18", "SLURM_RESTART_COUNT": "1"}, False),
        ({"SUBMITIT_LOCAL_JOB_ID": "9"}, {"SUBMITIT_LOCAL_JOB_ID": "9"}, True),
        ({"SUBMITIT_LOCAL_JOB_ID": "9"}, {"SUBMITIT_LOCAL_JOB_ID": "8"}, False),
        ({"SLURM_JOB_ID": "17"}, {}, False),
        ({}, {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "1"}, False),
    ],
)
def test_a_run_is_its_own_where_an_earlier_start_began_it(
    job: pytest.MonkeyPatch,
    tmp_path: Path,
    began: dict[str, str],
    now: dict[str, str],
    is_its_own: bool,
) -> None:
    with job.context() as first:
        for name, value in began.items():
            first.setenv(name, value)
        (tmp_path / "environment.json").write_text(json.dumps(marked({"version": "0.1.0"})))
    for name, value in now.items():
        job.setenv(name, value)
    assert was_begun_by_this_job(tmp_path) is is_its_own


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"forced_in": 3}', '{"forced_in": {"name": "slurm 17"}}'])
def test_a_folder_that_does_not_say_was_not(job: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    job.setenv("SLURM_JOB_ID", "17")
    job.setenv("SLURM_RESTART_COUNT", "1")
    assert not was_begun_by_this_job(tmp_path)
    (tmp_path / "environment.json").write_text(text)
    assert not was_begun_by_this_job(tmp_path)
