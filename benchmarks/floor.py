"""What a run costs where it is not about rows: `python benchmarks/floor.py [--users 30000] [--rounds 3] [--days 3] [--window 28] [--specs 1]`.

Makes an experiment of daily Parquet files and runs the platform's commands on it, each in a process of its own. CPU seconds are those of
the process and of all that it started (user and system); of each command the least of the rounds counts. Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
EXP = str(Path(sys.executable).with_name("exp"))
START, BEFORE = date(2026, 3, 2), 14
SPEC = """
id: {name}
owner: growth
hypothesis: What a day costs.
variants: [{{id: control, control: true}}, {{id: treatment}}]
window: {{start: 2026-03-02, days: {days}, timezone: Europe/Berlin}}
source:
  kind: events
  exposures: {{path: "{data}/exposures"}}
  outcomes: {{path: "{data}/outcomes", columns: {{event_id: event_id}}}}
metrics:
  - {{id: signed_up, type: proportion, event: signup, role: primary, covariates: [visits], mde: 10%}}
  - {{id: visits, type: count, event: visit}}
  - {{id: spend, type: mean, event: purchase, winsorise: {{upper: 0.99}}}}
guardrails: [{{metric: visits, margin: 5%}}]
segments: [device]
"""
EVENTS, OFTEN = ("visit", "purchase", "signup"), (0.7, 0.2, 0.1)


def write_day(folder: Path, users: int, days: int, day: date) -> None:
    """One day's files: of a window of so many days that share of the users see an arm, and everybody does something every fourth day."""
    number = (day - START).days
    draw = np.random.default_rng([users, number + BEFORE])
    midnight = datetime(day.year, day.month, day.day, 1, tzinfo=UTC)  # 2 o'clock in Berlin

    def times(n: int) -> pa.Array:
        seconds = np.sort(draw.integers(0, 72_000, n)).astype("timedelta64[s]")
        return pa.array(
            np.datetime64(midnight.replace(tzinfo=None), "us") + seconds, pa.timestamp("us", "UTC")
        )

    def written(name: str, columns: dict[str, object]) -> None:
        (folder / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), folder / name / f"{day}.parquet")

    if number >= 0:
        new = np.arange(number, users, days)
        arms = np.where(new // days % 2, "treatment", "control")
        devices = np.where(new // days % 3, "phone", "desktop")
        written(
            "exposures",
            {"user_id": _ids(new), "variant_id": arms, "exposed_at": times(len(new)), "device": devices},
        )
    n = users // 4
    active = draw.integers(0, users, n)
    written(
        "outcomes",
        {
            "user_id": _ids(active),
            "event": draw.choice(EVENTS, n, p=OFTEN),
            "occurred_at": times(n),
            "value": np.round(draw.gamma(2, 10, n), 2),
            "event_id": [f"{number}-{i}" for i in range(n)],
        },
    )


def _ids(numbers: np.ndarray) -> list[str]:
    return [f"user-{n:09d}" for n in numbers]


def wait_for_all_descendants() -> None:
    """Make this process the parent of whatever its children leave behind, so that their CPU is counted too."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def cost(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of a command and its descendants. Raises RuntimeError with what it said where it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    wall = time.monotonic() - began
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command}\n{(done.stdout + done.stderr)[-3000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


class Floor:
    """A folder with data, specs and state, in which commands are measured."""

    def __init__(self, folder: Path, users: int, days: int, specs: int) -> None:
        self.folder, self.users, self.days = folder, users, days
        configs = folder / "configs" / "experiments"
        configs.mkdir(parents=True)
        (folder / "configs" / "environments").symlink_to(ROOT / "configs" / "environments")
        for number in range(specs):
            name = f"floor_{number}"
            (configs / f"{name}.yaml").write_text(SPEC.format(name=name, days=days, data=folder / "data"))
        own = {"EXP_CONFIG_DIR": str(folder / "configs"), "EXP_STATE_DIR": str(folder / "state")}
        self.environment = {**os.environ, **own, "OPENBLAS_NUM_THREADS": "1"}
        for before in range(-BEFORE, 0):
            write_day(folder / "data", users, days, START + timedelta(before))

    def day(self, number: int) -> str:
        """Write the files of a day of the window, counted from 1, and return its date."""
        day = START + timedelta(number - 1)
        write_day(self.folder / "data", self.users, self.days, day)
        return str(day)

    def cost(self, *command: str) -> tuple[float, float]:
        """CPU and wall seconds of one command."""
        return cost(list(command), self.environment)

    def newest_run(self) -> str:
        """The newest run, as stages find it, held by nobody: its lease was given back at its end."""
        run = max((self.folder / "state" / "runs" / "floor_0").glob("*/run.json"))
        again = run.with_name("again.json")
        again.write_text(json.dumps(json.loads(run.read_text()) | {"holder": ""}))
        return str(again)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--days", type=int, default=3, help="days that are stored before the one that is measured"
    )
    parser.add_argument("--window", type=int, default=28, help="days of the experiment")
    parser.add_argument("--specs", type=int, default=1, help="experiments that are stored beside it")
    given = parser.parse_args()
    wait_for_all_descendants()
    with tempfile.TemporaryDirectory(prefix="exp-floor-") as scratch:
        floor = Floor(Path(scratch), given.users, given.window, given.specs)
        for day in range(1, given.days + 1):
            as_of = floor.day(day)
        for number in range(given.specs):
            floor.cost(EXP, "run", f"floor_{number}", "--from", str(START), "--to", as_of)
        least: dict[str, tuple[float, float]] = {}

        def measured(what: str, *command: str) -> None:
            found = floor.cost(*command)
            least[what] = tuple(map(min, found, least.get(what, found)))  # type: ignore[assignment]

        for number in range(given.rounds):
            as_of = floor.day(given.days + 1 + number)
            measured("exp run, a new day", EXP, "run", "floor_0", "--as-of", as_of)
            measured("exp run, up to date", EXP, "run", "floor_0", "--as-of", as_of)
            measured("exp results", EXP, "results", "floor_0")
            measured("exp list", EXP, "list")
            measured("exp validate", EXP, "validate")
            measured("exp memo", EXP, "memo", "floor_0")
            for stage in ("quality", "publish", "ab", "decision", "memo"):
                measured(
                    f"stage {stage}",
                    sys.executable,
                    "jobs/stage.py",
                    "--run",
                    floor.newest_run(),
                    "--stage",
                    stage,
                )
            measured("python, nothing", sys.executable, "-c", "pass")
        print(f"{given.users:,} users, {given.days} days stored, {given.specs} experiments")
        print(f"{'command':<24} {'CPU s':>6} {'wall s':>7}")
        for what, (cpu, wall) in least.items():
            print(f"{what:<24} {cpu:6.2f} {wall:7.2f}")


if __name__ == "__main__":
    main()
