"""What each tier of the tests takes: runs them one after another and writes the table of docs/13_tests.md.

Usage: make durations. On a machine that does nothing else, or the figures tell of the others.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

TARGETS = ("lint", "test-unit", "test-processors", "test-e2e", "test-cluster", "test-simulations")
PAGE = Path(__file__).parents[1] / "docs" / "13_tests.md"
BEGIN, END = "<!-- make durations -->", "<!-- end of make durations -->"


def main() -> None:
    """Run every tier; the table is written where all of them pass."""
    rows = ["| target | tests | minutes | the slowest files, seconds of one worker |", "|---|---|---|---|"]
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for target in TARGETS:
            report = Path(folder) / f"{target}.xml"
            began = time.monotonic()
            ended = subprocess.run(
                ["make", "--no-print-directory", target, f"PYTEST_ARGS=--junitxml={report}"],
                stdin=subprocess.DEVNULL,
                check=False,
            )
            seconds = time.monotonic() - began
            if ended.returncode:
                sys.exit(f"make {target} failed: {PAGE.name} keeps its table")
            total += seconds
            rows.append(f"| `make {target}` | {_tests(report)} | {seconds / 60:.1f} | {_slowest(report)} |")
    rows.append(f"| together (`make test-all`) | | {total / 60:.1f} | |")
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join([BEGIN, f"As `make durations` measured it on {machine}:", "", *rows, END])
    PAGE.write_text(before + table + after)
    print(table)


def _tests(report: Path) -> str:
    """How many tests passed, and were skipped."""
    if not report.exists():
        return ""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    skipped = sum(int(suite.get("skipped", 0)) for suite in suites)
    passed = sum(int(suite.get("tests", 0)) for suite in suites) - skipped
    return f"{passed:,}" + (f" ({skipped} skipped)" if skipped else "")


def _slowest(report: Path, files: int = 3) -> str:
    """The files whose tests took longest, set-up of fixtures included."""
    if not report.exists():
        return ""
    spent: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        module = case.get("classname", "").removeprefix("tests.").split(".Test")[0]
        spent[module.replace(".", "/") + ".py"] += float(case.get("time", 0))
    longest = sorted(spent.items(), key=lambda item: -item[1])[:files]
    return ", ".join(f"{file} {seconds:.0f}" for file, seconds in longest)


if __name__ == "__main__":
    main()
