"""What a year of nightly runs leaves behind, and what it costs: files, metadata, commits, maintenance, `exp list`.

    . scripts/airflow-env.sh
    python benchmarks/simulated_year.py run year.json                       # 13 nights of 28 days each
    python benchmarks/simulated_year.py run files.json --experiments 1 --whole 1 --days-a-night 7    # 52 nights
    python benchmarks/simulated_year.py run all.json --whole 50 --days-a-night 1    # every commit of a year: half a day
    python benchmarks/simulated_year.py chart before.json year.json files.json docs/10_operations/year.png

One experiment is run for real. The simulation repeats what that run staged and computed, for each experiment and day,
through the real code that reads and commits: `start`, `publish`, the commit of `unit_days`, those of `decision`; then
`maintain`. The time that all of them see is simulated, in files and snapshots too.

Compressed, a night decides several as_of days in one run, as `exp run --from --to` does, and what is kept for three nights is
kept for three such nights. So the tables have the rows of the whole year and, at any moment, the snapshots of three nights. Only
`--whole` experiments commit to all tables, the others to `decisions`, which is what `exp list` reads. Seconds are of CPU, of
this process or of the command with its start, so they mean something on a busy machine too. Nothing is left on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TEMPLATE = "template"
FIRST = date(2027, 1, 4)  # after the real present: what is written before the simulation counts as old
# The last one is without the judgement, which commits nothing
STAGES = ("start", "publish", "unit_days", "decision")


@dataclass
class Clock:
    """The simulated time, for all that asks `time.time`, and for files once a night is over."""

    now: datetime
    real: Any = time.time
    began: float = field(default_factory=time.time)

    def tick(self) -> float:
        """Seconds since the epoch: the simulated night, and what has really passed in it."""
        return self.now.timestamp() + self.real() - self.began

    def begin(self, night: datetime) -> None:
        """Let a night begin."""
        self.now, self.began = night, self.real()

    def stamp(self, folder: Path) -> None:
        """Give the simulated time to the files and folders that were written since the night began."""
        for path in folder.rglob("*"):
            if self.began - 1 <= path.stat().st_mtime <= self.real() + 1:
                os.utime(path, (self.now.timestamp(),) * 2)


class Simulated(datetime):
    """What stages stamp their rows with."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """The simulated time."""
        return datetime.fromtimestamp(time.time(), tz)


def main() -> None:
    """Run the simulation, or draw two of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    run = commands.add_parser("run")
    run.add_argument("figures", type=Path)
    run.add_argument("--experiments", type=int, default=50)
    run.add_argument("--days", type=int, default=364)
    run.add_argument("--days-a-night", type=int, default=28)
    run.add_argument("--whole", type=int, default=3, help="experiments that commit to all tables")
    run.add_argument("--every", type=int, default=4, help="nights between two looks at the commands")
    chart = commands.add_parser("chart")
    for name in ("before", "after", "files", "picture"):
        chart.add_argument(name, type=Path)
    given = parser.parse_args()
    if given.command == "run":
        _run(given.figures, given.experiments, given.days, given.days_a_night, given.whole, given.every)
    else:
        _chart(given.before, given.after, given.files, given.picture)


# ---------------------------------------------------------------- the simulation
def _run(figures: Path, experiments: int, days: int, days_a_night: int, whole: int, every: int) -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        root = Path(folder)
        _configure(root, experiments, days)
        weeks: list[dict[str, Any]] = []
        about = {"experiments": experiments, "days": days, "days_a_night": days_a_night, "whole": whole}
        for week in _simulated(root, days, days_a_night, whole, every):
            weeks.append(week)
            figures.write_text(json.dumps({**about, "weeks": weeks}, indent=1))
            print(json.dumps({key: value for key, value in week.items() if key != "tables"}), flush=True)


def _configure(root: Path, experiments: int, days: int) -> None:
    """The configs of all experiments, and one that is run for real."""
    spec = {"days": days, "n_users": 3000, "start_date": str(FIRST), "effect_lift_conversion": 0.03}
    names = [f"exp_{number:03d}" for number in range(experiments)]
    (root / "configs").mkdir()
    for name in ("environments", "spark"):
        (root / "configs" / name).symlink_to(ROOT / "configs" / name)
    entries = dict.fromkeys(names, spec) | {TEMPLATE: {**spec, "days": 14, "start_date": "2026-01-05"}}
    (root / "configs" / "dev.yaml").write_text(
        json.dumps({"environment": "embedded", "experiments": entries})
    )
    os.environ |= {"EXP_CONFIG_DIR": str(root / "configs"), "EXP_STATE_DIR": str(root / "real")}
    subprocess.run([sys.executable, "-c", CLI, "run", TEMPLATE], check=True, stdout=subprocess.DEVNULL)
    os.environ["EXP_STATE_DIR"] = str(root / "state")


CLI = "from exp_platform.cli import main; main()"
# Not by the kernel's account of children: a child begins with the peak of the process that it was forked from.
MEASURED = f"""
import sys, time
try:
    {CLI}
finally:
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(time.process_time(), int(peak) / 1024, file=sys.stderr)
"""


def _simulated(root: Path, days: int, days_a_night: int, whole: int, every: int) -> Iterator[dict[str, Any]]:
    from exp_platform.config.environment import load_environment
    from exp_platform.config.loading import load_all
    from exp_platform.stages import decision, publish
    from exp_platform.tables.maintenance import maintain

    environment = load_environment()
    specs = {id: e for id, e in load_all().experiments.items() if id != TEMPLATE}
    template = Template.of(next((root / "real" / "runs" / TEMPLATE).iterdir()))
    clock = Clock(datetime.now(UTC))
    time.time = clock.tick  # type: ignore[assignment]
    publish.datetime = decision.datetime = Simulated  # type: ignore[attr-defined, misc]
    spent: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "maintenance")}
    for night in range(1, days // days_a_night + 1):
        last = FIRST + timedelta(days=night * days_a_night - 1)
        clock.begin(datetime.combine(last + timedelta(days=1), datetime.min.time(), UTC) + timedelta(hours=1))
        decided = [last - timedelta(days=before) for before in reversed(range(days_a_night))]
        for experiment in specs.values():
            whole_one = experiment.id in list(specs)[:whole]
            _carry_out(template, environment, experiment, decided, spent, whole_one)
        clock.stamp(root / "state")
        with _timed(spent["maintenance"]):
            maintain(environment, keep=timedelta(days=3 * days_a_night), now=clock.now + timedelta(hours=2))
        yield {
            "week": night * days_a_night / 7,
            "seconds": {name: sum(each) / len(each) for name, each in spent.items()},
            "commands": _commands(next(iter(specs))) if (night - 1) % every == 0 else None,
            "tables": _tables(environment),
            "folders": {name: _files_below(root / "state" / name) for name in ("runs", "memos")},
        }
        for each in spent.values():
            each.clear()


@dataclass(frozen=True)
class Template:
    """What a real run staged and committed, to be repeated for other experiments and days."""

    ingest: dict[str, Any]
    results: dict[str, list[dict[str, Any]]]
    decision: dict[str, Any]

    @staticmethod
    def of(folder: Path) -> Template:
        """From a run folder: the rows that the stage `decision` makes of it."""
        from exp_platform.aggregates import read_aggregates
        from exp_platform.decision import Decision
        from exp_platform.stages import decision
        from exp_platform.stages.quality import read_checks
        from exp_platform.stages.run import Run

        run = Run.load(folder / "run.json")
        days, checks = read_aggregates(folder / "aggregates.json"), read_checks(folder / "quality.json")
        decided = [Decision.from_json(one) for one in json.loads((folder / "decision.json").read_text())]
        results = decision._table_rows(days, decision._analysed(run)[0], checks)
        (row,) = decision._decision_rows(run, days, decided, checks, results)
        return Template(json.loads((folder / "ingest.json").read_text()), results, row)

    def leave(self, run: Any, staged: dict[str, list[str]]) -> None:
        """Write what `publish` reads."""
        counted = {"exposures": 3, "outcomes": 3}
        measured = {**self.ingest["measured"], "rows_in": counted, "rows_out": counted, "left_out": {}}
        (run.path / "ingest.json").write_text(
            json.dumps({**self.ingest, "measured": measured, "staged": staged})
        )

    def rows(self, run: Any) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
        """The rows of the result tables, and those of `decisions`, of all days of a run."""
        of_run = {name: getattr(run, name) for name in ("config_hash", "code_version", "input_fingerprint")}
        results = {name: _of_days(rows, run.as_of_dates) for name, rows in self.results.items()}
        return results, _of_days([{**self.decision, **of_run}], run.as_of_dates)


def _of_days(entries: list[dict[str, Any]], days: Any) -> list[dict[str, Any]]:
    return [{**entry, "as_of_date": day} for day in days for entry in entries]


def _carry_out(
    template: Template, environment: Any, experiment: Any, days: list[date], spent: Any, whole: bool
) -> None:
    """One nightly run of an experiment, by the real code of all that reads and commits tables."""
    from exp_platform.stages import decision, publish
    from exp_platform.stages.start import start_run
    from exp_platform.tables.catalog import open_catalog
    from exp_platform.tables.write import replace_files, replace_rows

    now = datetime.fromtimestamp(time.time(), UTC)
    with _timed(spent["start"] if whole else []):
        run = start_run(experiment, environment, as_of_dates=days, force=True, now=now).run
    assert run is not None
    results, decisions = template.rows(run)
    if not whole:
        key = {"experiment_id": experiment.id, "as_of_date": days}
        stamped = [{**row, "run_id": run.run_id, "computed_at": now} for row in decisions]
        replace_rows(open_catalog(environment), "decisions", key, stamped, run.run_id)
        return
    staged = {name: [_staged(environment, run, name)] for name in ("exposures", "outcomes", "unit_days")}
    template.leave(run, staged)
    with _timed(spent["publish"]):
        publish.run(run)
    with _timed(spent["unit_days"]):
        replace_files(open_catalog(environment), "unit_days", experiment.id, staged["unit_days"], run.run_id)
    with _timed(spent["decision"]):
        decision._commit(run, results, decisions)


def _staged(environment: Any, run: Any, name: str) -> str:
    """Three rows of a data table, as a Spark task writes them."""
    import pyarrow as pa

    from exp_platform.tables.files import task_writer
    from exp_platform.tables.schemas import arrow_schema

    rows = pa.Table.from_pylist([{"user_id": user} for user in "abc"], arrow_schema(name))
    writer = task_writer(environment, name, run.experiment.id, run.run_id)
    return writer.write(0, rows.drop_columns(["experiment_id", "bucket"]))


@contextmanager
def _timed(into: list[float]) -> Iterator[None]:
    before = time.process_time()
    yield
    into.append(time.process_time() - before)


# ---------------------------------------------------------------- what is measured
def _commands(experiment_id: str) -> dict[str, Any]:
    return {
        "list": _command("list"),
        "results": _command("results", experiment_id),
        "help": _command("--help"),
    }


def _command(*arguments: str) -> dict[str, float]:
    """CPU seconds and peak memory in MB of a command, its start included."""
    done = subprocess.run([sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, mb = map(float, done.stderr.split()[-2:])
    return {"seconds": seconds, "mb": mb}


def _tables(environment: Any) -> dict[str, dict[str, int]]:
    """For each table what is named, and what lies in its folder."""
    from exp_platform.tables.catalog import open_catalog, table
    from exp_platform.tables.schemas import TABLES

    catalog = open_catalog(environment)
    found = {}
    for name in TABLES:
        stored = table(catalog, name)
        folder = Path(stored.location().removeprefix("file://"))
        head = stored.current_snapshot()
        files = [path for path in folder.rglob("*") if path.is_file()]
        lying = [path for path in files if "quarantine" not in path.relative_to(folder).parts]
        found[name] = {
            "rows": sum(task.file.record_count for task in stored.scan().plan_files()),
            "data_files": sum(1 for _ in stored.scan().plan_files()),
            "manifests": len(head.manifests(stored.io)) if head else 0,
            "snapshots": len(stored.snapshots()),
            "metadata_files": sum(path.name.endswith(".metadata.json") for path in lying),
            "metadata_bytes": Path(stored.metadata_location.removeprefix("file://")).stat().st_size,
            "files": len(lying),
            "bytes": sum(path.stat().st_size for path in lying),
            "quarantined": len(files) - len(lying),
        }
    return found


def _files_below(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


# ---------------------------------------------------------------- the chart
def _chart(before: Path, after: Path, files: Path, picture: Path) -> None:
    import altair as alt

    from exp_platform.report.charts import small_png

    runs = (("before", before, _of_all), ("now", after, _of_all), ("now", files, _of_files))
    points = [
        {"code": code, "week": week["week"], "of": of, "value": value}
        for code, file, shown in runs
        for week in json.loads(file.read_text())["weeks"]
        for of, value in shown(week).items()
    ]
    panels = [
        alt.Chart(alt.InlineData(values=[p for p in points if p["of"] == of]), title=of)
        .mark_line(point=True)
        .encode(
            x=alt.X("week:Q", title="week"),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=True)),
            color=alt.Color("code:N", title=None),
        )
        .properties(width=230, height=130)
        for of in dict.fromkeys(point["of"] for point in points)
    ]
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(small_png(alt.concat(*panels, columns=3).to_dict()))


def _of_all(week: dict[str, Any]) -> dict[str, float]:
    """What is shown of one week of 50 experiments."""
    tables, commands = week["tables"].values(), week["commands"]
    shown = {
        "a run's commits, s": _commits(week),
        "a run's start, s": week["seconds"]["start"],
        "snapshots, all tables": sum(t["snapshots"] for t in tables),
        "metadata.json, all tables, KB": sum(t["metadata_bytes"] for t in tables) / 1000,
    }
    if commands:
        shown["exp list, s"] = commands["list"]["seconds"]
        shown["exp list, MB"] = commands["list"]["mb"]
    return shown


def _commits(week: dict[str, Any]) -> float:
    return sum(week["seconds"][name] for name in ("publish", "unit_days", "decision"))


def _of_files(week: dict[str, Any]) -> dict[str, float]:
    """What is shown of one week of one experiment with a run each week, as many as compaction waits for and more."""
    tables = week["tables"].values()
    return {
        "one experiment: data files": sum(t["data_files"] for t in tables),
        "one experiment: manifests": sum(t["manifests"] for t in tables),
        "one experiment: a run's commits, s": _commits(week),
    }


if __name__ == "__main__":
    main()
