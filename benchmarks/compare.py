"""The platform beside DuckDB, ClickHouse's engine, Spark SQL and tea-tasting: from the same raw files to the same numbers.

    make benchmark-engines                                                      # chdb and tea-tasting; absent ones are told and left out
    python benchmarks/compare.py first --users 100000 --json first.json         # a first run; a few minutes on a laptop
    python benchmarks/compare.py growth --users 100000 --json growth.json       # 28 daily runs, full ones beside them
    python benchmarks/compare.py page first.json growth.json                    # into docs/10_operations/compare.md

Each engine runs in a process of its own, in turn, on the same number of cores, after the files were read once (warm cache) and
after a round on 2,000 users that does not count. Seconds are of CPU, of all processes: they hold on a busy machine, where wall
seconds do not. Every answer is held against the platform's own, to 1e-9. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import compare_data
import compare_engines as engines
from compare_engines import ENGINES, ROOT, Asked
from compare_measure import Spent, measured
from compare_page import first_table, write_page

AGREE = 1e-9
GROUPS = {
    "ingest": "ingest",
    "quality": "ingest",
    "publish": "ingest",
    "aggregates": "aggregates",
    "memo": "memo",
}
# What is added to the spec one after another, once the window is over
EDITS = {
    "of an event that is read": "  - {id: purchases, type: count, event: purchase}\n",
    "of such an event, over another window": "  - {id: revenue_14, type: mean, event: purchase, window: {to_day: 14}}\n",
    "of an event that was not read": "  - {id: carts, type: count, event: add_to_cart}\n",
}


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    first, growth = commands.add_parser("first"), commands.add_parser("growth")
    for one in (first, growth):
        one.add_argument("--users", type=int, default=100_000)
        one.add_argument("--days", type=int, default=28, help="of the window")
        one.add_argument("--threads", type=int, default=2)
        one.add_argument("--dedupe", choices=("event_id", "none"), default="event_id")
        one.add_argument("--folder", type=Path, help="keeps the data, and takes those that lie there")
        one.add_argument("--json", type=Path, help="where to write what was measured")
    first.add_argument("--rounds", type=int, default=3, help="0: the round on 2,000 users alone")
    first.add_argument("--engines", type=lambda text: text.split(","), default=list(ENGINES))
    growth.add_argument(
        "--every", type=int, default=7, help="a full refresh and DuckDB's query each so many days"
    )
    page = commands.add_parser("page")
    page.add_argument("files", type=Path, nargs="+")
    asked = parser.parse_args()
    if asked.command == "page":
        write_page([json.loads(file.read_text()) for file in asked.files])
        return
    with _folder(asked.folder) as folder:
        found = (_first if asked.command == "first" else _growth)(asked, folder)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def _data(folder: Path, users: int, asked: argparse.Namespace) -> Path:
    """The data of so many users, made where they are not there yet."""
    data = folder / f"{users}_users_{asked.days}_days"
    if not (data / f"{compare_data.ID}.yaml").exists():  # written last
        shutil.rmtree(data, ignore_errors=True)
        compare_data.make(data, users, asked.days)
    compare_data.write_spec(data, asked.days, asked.dedupe)
    return data


# ---------------------------------------------------------------- one answer
def ask(name: str, question: Asked) -> dict[str, Any] | str:
    """What an engine answers and what that took, or why it is absent; its folder is left."""
    question.state.mkdir(parents=True, exist_ok=True)
    for file in question.data.rglob("*.parquet"):
        file.read_bytes()
    command = [sys.executable, str(ROOT / "benchmarks" / "compare_engines.py"), name, question.text]
    spent = measured(command, question.threads)
    answer = json.loads(spent.said.splitlines()[-1])
    if isinstance(answer, str):
        return answer
    taken = {key: value for key, value in asdict(spent).items() if key in ("cpu", "wall", "peak_mb")}
    if name == "ours":
        taken |= {"stages": stages(question.state, spent)} | refresh(question.state)
    return {**taken, "answer": answer}


def stages(state: Path, spent: Spent) -> dict[str, dict[str, float]]:
    """CPU and wall seconds of a run by what it was doing, as its manifests say when each stage began and ended."""
    run = engines.last_run(state)
    manifests = [json.loads(file.read_text()) for file in (run / "manifests").iterdir()]
    found: dict[str, dict[str, float]] = {}
    done = {"cpu": 0.0, "wall": 0.0}
    for manifest in manifests:
        began = datetime.fromisoformat(manifest["started_at"]).timestamp()
        ended = began + manifest["seconds"]
        group = found.setdefault(
            GROUPS.get(manifest["stage"], "analyses and decision"), {"cpu": 0.0, "wall": 0.0}
        )
        for key, value in (("cpu", spent.cpu_until(ended) - spent.cpu_until(began)), ("wall", ended - began)):
            group[key] += value
            done[key] += value
    rest = {"cpu": spent.cpu - done["cpu"], "wall": spent.wall - done["wall"]}
    order = ("ingest", "aggregates", "analyses and decision", "memo")
    return {"start, commands, end": rest} | {name: found[name] for name in order if name in found}


def refresh(state: Path) -> dict[str, Any]:
    """Which refresh a run did and why, where its manifest says so."""
    newest = max((engines.last_run(state) / "manifests").glob("ingest.*.json"))
    return {"refresh": json.loads(newest.read_text())["details"].get("refresh")}


def _checked(name: str, found: dict[str, Any], wanted: engines.Answer, loose: bool) -> float:
    """By how much an answer differs from another; ends where that is more than rounding."""
    differs = engines.disagreement(found["answer"], wanted)
    if differs > AGREE and not loose:
        sys.exit(f"{name} does not agree with the platform: {differs:.2e}\n{found['answer']}\n{wanted}")
    return differs


# ---------------------------------------------------------------- first runs
def _first(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Rounds of all engines in turn, the first one on a few users."""
    names = [name for name in asked.engines if not (name == "duckdb_loose" and asked.dedupe == "none")]
    absent: dict[str, str] = {}
    rounds: list[dict[str, Any]] = []
    for number in range(asked.rounds + 1):
        data = _data(folder, 2_000 if number == 0 else asked.users, asked)
        took: dict[str, Any] = {}
        for name in [name for name in names if name not in absent]:
            state = folder / "states" / name
            shutil.rmtree(state, ignore_errors=True)
            found = ask(name, Asked(data, asked.days - 1, asked.threads, asked.dedupe == "event_id", state))
            shutil.rmtree(state, ignore_errors=True)
            if isinstance(found, str):
                absent[name] = found
                print(f"{name}: {found}", flush=True)
                continue
            wanted = took[names[0]]["answer"] if took else found["answer"]
            found["differs"] = _checked(name, found, wanted, name == "duckdb_loose")
            took[name] = found
            print(
                f"round {number}, {name}: {found['cpu']:.1f} s CPU, {found['wall']:.1f} s, {found['peak_mb']:,.0f} MB",
                flush=True,
            )
        rounds.append(_without_answers(took))
    measured_rounds = {"rounds": rounds[1:] or rounds, "absent": absent}
    found = {"kind": "first", **_circumstances(asked, data), **measured_rounds}
    print("\n".join(first_table(found)))
    return found


def _circumstances(asked: argparse.Namespace, data: Path) -> dict[str, Any]:
    """What was measured, where, and with what."""
    import pyarrow.parquet as pq

    files = {table: list((data / table).glob("*.parquet")) for table in ("exposures", "outcomes")}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    packages = ("duckdb", "chdb", "pyspark", "tea-tasting", "pyarrow")
    return {
        "users": asked.users,
        "threads": asked.threads,
        "dedupe": asked.dedupe,
        "rows": {
            table: sum(pq.read_metadata(file).num_rows for file in each) for table, each in files.items()
        },
        "bytes": {table: sum(file.stat().st_size for file in each) for table, each in files.items()},
        "commit": commit.stdout.strip(),
        "load": os.getloadavg()[1],
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# ---------------------------------------------------------------- growth by day
def _growth(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A run after each day of the window, of a lake that grows by a day; each so many days a full one and DuckDB's query beside it."""
    data, lake = _data(folder, asked.users, asked), folder / "lake"
    shutil.rmtree(lake, ignore_errors=True)
    shutil.rmtree(folder / "states", ignore_errors=True)
    days = []
    for day in range(asked.days):
        _deliver(data, lake, day)
        compare_data.write_spec(lake, asked.days, asked.dedupe)
        took = {}
        for name, engine in (("daily", "ours"), ("full", "ours"), ("duckdb", "duckdb")):
            if name != "daily" and (day + 1) % asked.every and day != 2:
                continue
            state = folder / "states" / name
            if name == "full":  # also of a version that knows no other refresh
                shutil.rmtree(state, ignore_errors=True)
            found = took[name] = _answered(asked, engine, lake, day, state)
            print(
                f"day {day + 1}, {name}: {found['cpu']:.1f} s CPU, {found['wall']:.1f} s {found.get('refresh', '')}",
                flush=True,
            )
        for name, found in took.items():
            _checked(name, found, took["daily"]["answer"], False)
        days.append({"day": day + 1, **_without_answers(took)})
    edits = _edited(asked, folder, lake)
    return {"kind": "growth", **_circumstances(asked, data), "days": days, "edits": edits}


def _edited(asked: argparse.Namespace, folder: Path, lake: Path) -> dict[str, dict[str, Any]]:
    """A run of the last day after each edit of the spec, and a full one beside it."""
    edits, more = {}, ""
    for told, line in EDITS.items():
        more += line
        spec = compare_data.write_spec(lake, asked.days, asked.dedupe, more)
        shutil.rmtree(folder / "states" / "full", ignore_errors=True)
        shutil.copy(spec, folder / "states" / "daily" / "configs")
        took = {}
        for name in ("daily", "full"):
            took[name] = _answered(asked, "ours", lake, asked.days - 1, folder / "states" / name)
        _checked(told, took["daily"], took["full"]["answer"], False)
        edits[told] = _without_answers(took)
        print(
            f"a metric {told}: {took['daily']['cpu']:.1f} s CPU, full {took['full']['cpu']:.1f} s", flush=True
        )
    return edits


def _answered(asked: argparse.Namespace, engine: str, lake: Path, day: int, state: Path) -> dict[str, Any]:
    found = ask(engine, Asked(lake, day, asked.threads, asked.dedupe == "event_id", state))
    assert not isinstance(found, str), found
    return found


def _without_answers(took: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: value for key, value in one.items() if key != "answer"} for name, one in took.items()}


def _deliver(data: Path, lake: Path, day: int) -> None:
    """The files of a day, and on the first one those of before, by links."""
    for table in ("exposures", "outcomes"):
        (lake / table).mkdir(parents=True, exist_ok=True)
        for file in (data / table).glob("*.parquet"):
            of = (datetime.fromisoformat(file.stem.removeprefix("day=")).date() - compare_data.START).days
            if of == day or (day == 0 and of < 0):
                os.link(file, lake / table / file.name)


if __name__ == "__main__":
    main()
