"""What each tier of the tests takes: reads it from the output of `make test-all` and writes the table of docs/13_tests.md.

Usage: test_durations.py [LOG]. Without a log, which `.ci/run` leaves as well, it runs `make test-all`; on a machine that does nothing
else, or the figures tell of the others.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "13_tests.md"
BEGIN, END = "<!-- make durations -->", "<!-- end of make durations -->"
TIERS = ("test-unit", "test-processors", "test-e2e", "test-cluster", "test-simulations")  # in this order
HEADING = re.compile(r"==> (test-[a-z0-9]+)")
TOGETHER = re.compile(r"==> all tiers in (\d+) minutes")
SUMMARY = re.compile(r"(\d+) passed(?:, (\d+) skipped)?.* in ([\d.]+)s")


def main() -> None:
    """Write the table of a run in which every tier has passed."""
    log = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else _run()
    rows = list(tiers(log))
    together = TOGETHER.search(log)
    if together is None:  # said last, by a run in which every tier has passed
        sys.exit(f"the run did not pass all tiers: {PAGE.name} keeps its table")
    lines = ["| target | tests | minutes |", "|---|---|---|"]
    lines += [f"| {name} | {tests} | {seconds / 60:.1f} |" for name, tests, seconds in rows]
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    table = [f"On {machine}, {together[1]} minutes together, without lint and set-up:", "", *lines]
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text("\n".join([before + BEGIN, *table, END + rest.split(END)[1]]))
    print("\n".join(table))


def tiers(log: str) -> list[tuple[str, str, float]]:
    """Target, tests and seconds of each summary line of pytest that tells of no failure."""
    found: list[tuple[int, tuple[str, str, float]]] = []
    tier = processor = ""
    for line in log.splitlines():
        if heading := HEADING.fullmatch(line):
            tier, processor = heading[1], ""
        elif " as on " in line and "==>" in line:
            processor = line.rpartition(" as on ")[2]
        summary = SUMMARY.search(line)
        if summary is None or "failed" in line or tier not in TIERS:
            continue
        passed, skipped, seconds = summary.groups()
        name = f"`make {tier}`" + (f", {processor}" if processor else "")
        tests = f"{int(passed):,}" + (f" ({skipped} skipped)" if skipped else "")
        found.append((TIERS.index(tier), (name, tests, float(seconds))))
    return [row for _, row in sorted(found, key=lambda placed: placed[0])]


def _run() -> str:
    """The output of all tiers, shown while they run."""
    lines = []
    command = ["make", "--no-print-directory", "test-all"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as made:
        for line in made.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return "".join(lines)


if __name__ == "__main__":
    main()
