"""scripts/gpu.sh as far as it goes without a GPU: what it would run, what it refuses, and the table it ends with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"


def gpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["bash", str(SCRIPTS / "gpu.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_dry_run_lists_every_part_with_its_limit_and_writes_nothing(tmp_path: Path) -> None:
    for device in ("cuda", "cpu"):
        told = gpu("--device", device, "--dry-run", str(tmp_path / "out"))
        assert told.returncode == 0, told.stderr
        parts = dict(re.findall(r"^(\w+), at most \d+ s: (.*)$", told.stdout, re.MULTILINE))
        executions = [
            f"{w}_{e}" for w in ("odenet", "cnf", "latent") for e in ("eager", "compiled", "graphs")
        ]
        assert list(parts) == ["tests", "epoch_float32", "epoch_bf16", *executions]
        assert "-m gpu" in parts["tests"]
        assert "tests/training/test_memory.py" in parts["tests"]
        assert f"device={device}" in parts["epoch_bf16"]
        assert ("--quick" in parts["cnf_graphs"]) == (device == "cpu")
    assert not (tmp_path / "out").exists()


def test_another_device_or_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    for arguments in (["--device", "tpu", str(tmp_path / "out")], ["--device"], []):
        told = gpu(*arguments)
        assert told.returncode == 2
        assert told.stderr.startswith("usage: scripts/gpu.sh")
    assert not (tmp_path / "out").exists()


def test_parts_that_fail_are_told_in_the_table_beside_what_the_others_found(tmp_path: Path) -> None:
    """With a `python` whose every part fails at once; the table itself is made by the real one."""
    stub = tmp_path / "python"
    stub.write_text(
        f'#!/bin/sh\n[ "$1" = scripts/gpu_table.py ] && exec {sys.executable} "$@"\n'
        '[ "$1" != -c ] || exec echo "On a stub."\n[ "$1 $2" != "-m nodebench" ] || exit 0\n'
        'echo "no such kernel" >&2\nexit 3\n'
    )
    stub.chmod(0o755)
    environment = os.environ | {"PYTHON": str(stub)}
    command = ["bash", str(SCRIPTS / "gpu.sh"), "--device", "cpu", str(tmp_path / "out")]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("On a stub.\n")
    assert re.search(r"\| tests +\| \d+ +\| failed \(3\): no such kernel", told.stdout)
    assert re.search(r"\| epoch_bf16 +\| \d+ +\| done", told.stdout)
    assert re.search(r"\| latent_graphs +\| \d+ +\| failed \(3\)", told.stdout)
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {"table.md", "parts.tsv", "records.tar.gz"}
    assert (tmp_path / "out" / "table.md").read_text() in told.stdout


def test_the_table_has_a_row_for_each_epoch_and_each_contestant(tmp_path: Path) -> None:
    run = tmp_path / "bf16" / "classification" / "run" / "seed0"
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps({"time_step_ms": 12.345, "error_test": 1.5}))
    (tmp_path / "machine.txt").write_text("On a machine.\n")
    (tmp_path / "parts.tsv").write_text("tests\t4\tdone\n")
    (tmp_path / "race.csv").write_text(
        "workload,execution,gradient,time_forward_ms\ncnf,compiled,direct,7.891\n"
    )
    command = [sys.executable, str(SCRIPTS / "gpu_table.py"), str(tmp_path)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (epoch,) = (line.split() for line in table.splitlines() if "epoch, bf16" in line)
    assert {"12.3", "1.5"} <= set(epoch)
    (raced,) = (line.split() for line in table.splitlines() if "cnf, compiled" in line)
    assert {"direct", "7.89"} <= set(raced)
