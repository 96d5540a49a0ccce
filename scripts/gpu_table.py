"""The one table of scripts/gpu.sh, in Markdown: python scripts/gpu_table.py RECORDS."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from tabulate import tabulate

HEADINGS = (
    *("part", "gradient", "library", "forward ms", "backward ms", "first ms", "NFE f", "NFE b"),
    *("overhead f %", "overhead b %", "gradient error", "test error %", "step ms", "epoch s", "peak MiB"),
)
OF_A_RACE = {
    **{"gradient": "gradient", "library": "library", "forward ms": "time_forward_ms"},
    **{"backward ms": "time_backward_ms", "first ms": "time_first_ms"},
    **{"NFE f": "nfe_forward", "NFE b": "nfe_backward", "gradient error": "error_gradient"},
    **{"overhead f %": "overhead_forward_percent", "overhead b %": "overhead_backward_percent"},
    "peak MiB": "memory_peak_mib",
}
OF_A_RUN = {
    **{"forward ms": "time_forward_ms", "backward ms": "time_backward_ms", "test error %": "error_test"},
    **{"NFE f": "nfe_forward", "NFE b": "nfe_backward", "step ms": "time_step_ms", "epoch s": "time_epoch_s"},
    "peak MiB": "memory_peak_mib",
}


def races(records: Path) -> list[dict[str, str]]:
    """A row for each contestant, once `race.csv` is there."""
    file = records / "race.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [
            {"part": f"{row['workload']}, {row['execution']}", **_told(row, OF_A_RACE)}
            for row in csv.DictReader(lines)
        ]


def runs(records: Path) -> list[dict[str, str]]:
    """A row for each epoch that came to an end."""
    return [
        {
            "part": f"epoch, {path.relative_to(records).parts[0]}",
            **_told(json.loads(path.read_text()), OF_A_RUN),
        }
        for path in sorted(records.glob("*/**/summary.json"))
    ]


def parts(records: Path) -> list[list[str]]:
    """Each part that was begun, its seconds and what came of it."""
    return [line.split("\t") for line in (records / "parts.tsv").read_text().splitlines()]


def _told(row: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    return {heading: _short(row.get(name)) for heading, name in names.items()}


def _short(value: object) -> str:
    try:
        return f"{float(value):.3g}" if value not in (None, "") else ""  # type: ignore[arg-type]
    except ValueError:
        return str(value)


def main() -> None:
    records = Path(sys.argv[1])
    found = [*runs(records), *races(records)]
    rows = [[row.get(heading, "") for heading in HEADINGS] for row in found]
    print((records / "machine.txt").read_text())
    print(
        tabulate(rows, HEADINGS, tablefmt="pipe", disable_numparse=True) if rows else "Nothing was measured."
    )
    print()
    print(tabulate(parts(records), ("part", "s", "outcome"), tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
