"""What it costs to read an experiment of 1 % of the users out of a company's lake, beside DuckDB with the same filters.

Run with `.venv/bin/python benchmarks/shared_lake.py [EVENTS] [FOLDER]` (75,000,000 events over 28 days, some 3 GB; a folder to
keep). Each engine reads in a process of its own with one thread, least CPU seconds of ROUNDS in turn, and must find the same rows
and the same sums. Then the same lake of three years, a hundredth as many events per day, for the share of the bytes that are read.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exp_platform.config.environment import load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.spec import ExperimentSpec
from exp_platform.kernels.hashing import hashes
from exp_platform.kernels.members import Members
from exp_platform.stages.batches import Intake, batches
from exp_platform.stages.sources import plan_reading

START, DAYS, YEARS = date(2026, 3, 2), 28, 3
USERS, SHARE = 3_000_000, 0.01
ROUNDS = 2
CATEGORIES = np.array(["shoes", "bags", "shirts", "hats"])


def main() -> None:
    """Make both lakes, read each with both engines, and print the table."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 75_000_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        print("| lake | rows | bytes | engine | CPU s | wall s | bytes read | share | rows found |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, first, per_day in (
            ("28 days", START, events // DAYS),
            ("3 years", START - timedelta(days=365 * YEARS - DAYS), events // DAYS // 100),
        ):
            lake = folder / f"{name.replace(' ', '_')}_{per_day}"
            if not (lake / "made").exists():
                make(lake, first, per_day)
            _compare(name, lake, per_day * (START + timedelta(days=DAYS) - first).days)


def _compare(name: str, lake: Path, rows: int) -> None:
    size = sum(file.stat().st_size for file in lake.rglob("*.parquet"))
    done: dict[str, list[dict[str, Any]]] = {"ours": [], "duckdb": [], "nobody": []}
    for _ in range(ROUNDS):
        for engine, tries in done.items():
            asked = [sys.executable, __file__, "--read", engine, str(lake)]
            tries.append(json.loads(subprocess.run(asked, check=True, capture_output=True).stdout))
    assert len({(one["rows"], one["sum"]) for name in ("ours", "duckdb") for one in done[name]}) == 1, done
    for engine, tries in done.items():
        best = min(tries, key=lambda one: float(one["cpu"]))
        print(
            f"| {name} | {rows:,} | {size / 1e6:,.0f} MB | {engine} | {best['cpu']:.1f} | {best['wall']:.1f} | "
            f"{best['bytes'] / 1e6:,.0f} MB | {best['bytes'] / size:.1%} | {best['rows']:,} |",
            flush=True,
        )
    cpu = {engine: min(float(one["cpu"]) for one in tries) for engine, tries in done.items()}
    print(f"\nours / duckdb: {cpu['ours'] / cpu['duckdb']:.2f}", flush=True)
    print(f"two experiments with one scan would save {cpu['nobody'] / (2 * cpu['ours']):.0%}\n", flush=True)


def make(lake: Path, first: date, per_day: int) -> None:
    """A log of exposures of several experiments, and orders, a folder per day; orders are in the order of their times."""
    dice = np.random.default_rng(14)
    (lake / "exposures").mkdir(parents=True)
    exposed = dice.choice(USERS, int(USERS * SHARE), replace=False)
    others = dice.integers(0, USERS, 10 * len(exposed))
    users = np.concatenate([exposed, others])
    begins = np.datetime64(START, "us")
    log = pa.table(
        {
            "uid": _ids(users),
            "exp_key": np.array(["checkout", "banner", "search"])[
                np.concatenate([np.zeros(len(exposed), int), 1 + dice.integers(0, 2, len(others))])
            ],
            "arm": np.array(["control", "v1"])[dice.integers(0, 2, len(users))],
            "ts": pa.array(begins + dice.integers(0, 86_400_000_000, len(users)), pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(log, lake / "exposures" / "log.parquet")
    for day in range((START + timedelta(days=DAYS) - first).days):
        at = np.datetime64(first + timedelta(days=day), "us") + np.sort(
            dice.integers(0, 86_400_000_000, per_day)
        )
        orders = pa.table(
            {
                "uid": _ids(dice.integers(0, USERS, per_day)),
                "ts": pa.array(at, pa.timestamp("us", "UTC")),
                "category": pa.array(CATEGORIES[dice.integers(0, 4, per_day)]).dictionary_encode(),
                "revenue": np.round(dice.lognormal(3, 1, per_day), 2),
                "quantity": dice.integers(1, 6, per_day).astype(np.int32),
                "note": pa.array(np.full(per_day, "a column that nobody asks for")),
            }
        )
        folder = lake / "orders" / f"day={first + timedelta(days=day)}"
        folder.mkdir(parents=True)
        pq.write_table(orders, folder / "part-0.parquet", row_group_size=1_000_000)
    (lake / "made").touch()


def _ids(numbers: Any) -> Any:
    return pc.binary_join_element_wise("user-", pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0"), "")


def experiment(lake: Path) -> Experiment:
    """The experiment of 1 % of the users: revenue of shoes and bags."""
    day = {
        "path": str(lake / "orders"),
        "partitioned_by": "day",
        "columns": {"user_id": "uid", "occurred_at": "ts"},
    }
    log = {"path": str(lake / "exposures")}
    log["columns"] = {"user_id": "uid", "variant_id": "arm", "exposed_at": "ts", "experiment": "exp_key"}  # type: ignore[assignment]
    measured = {"of": "orders", "value": "revenue", "where": {"category": ["shoes", "bags"]}}
    spec = {
        "id": "checkout",
        "owner": "nobody",
        "hypothesis": "Reading costs little.",
        "variants": [{"id": "control", "control": True}, {"id": "v1"}],
        "window": {"start": START, "days": DAYS},
        "source": {
            "kind": "events",
            "exposures": log,
            "facts": {
                "orders": {**day, "values": {"revenue": "revenue"}, "dimensions": {"category": "category"}}
            },
        },
        "metrics": [{"id": "revenue", "type": "mean", "role": "primary", **measured}],
    }
    return ExperimentSpec.model_validate(spec).resolve()


def ours(lake: Path) -> tuple[int, float]:
    """The outcomes that ingest's tasks give before they are dealt out, and the sum of their values."""
    made = experiment(lake)
    plan = plan_reading(made, load_environment())
    assert plan.problems == ()
    pieces = list(enumerate(plan.pieces))
    intake = Intake(made)
    log = (
        b for number, piece in pieces if piece.table == "exposures" for b in batches(number, piece, intake)
    )
    members = Members.of(hashes(batch.rows["user_id"]) for batch in log)
    rows, total = 0, 0.0
    for number, piece in pieces:
        if piece.table == "orders":
            for batch in batches(number, piece, replace(intake, members=members)):
                rows += len(batch.rows)
                total += pc.sum(batch.rows["value"]).as_py() or 0.0
    return rows, total


def nobody(lake: Path) -> tuple[int, float]:
    """The same, where nobody is exposed: what is left is what two experiments could share, reading files."""
    pieces = plan_reading(experiment(lake), load_environment()).pieces
    for piece in pieces:
        for _ in piece.parts(lambda ids: pa.repeat(pa.scalar(False), len(ids))):
            pass
    return 0, 0.0


def duckdb(lake: Path) -> tuple[int, float]:
    """The same by DuckDB."""
    import duckdb as engine

    begins = START - timedelta(days=15)
    connection = engine.connect(config={"threads": 1})
    found = connection.sql(f"""
        SELECT uid, ts, revenue FROM read_parquet('{lake}/orders/*/*.parquet', hive_partitioning = true)
        WHERE category IN ('shoes', 'bags') AND ts >= '{begins} 00:00:00+00'::TIMESTAMPTZ
          AND ts < '{START + timedelta(days=DAYS)} 00:00:00+00'::TIMESTAMPTZ AND day >= '{begins}'
          AND uid IN (SELECT uid FROM read_parquet('{lake}/exposures/*.parquet') WHERE exp_key = 'checkout')""").to_arrow_table()
    return len(found), pc.sum(found["revenue"]).as_py()


def _measured(engine: str, lake: Path) -> dict[str, Any]:
    """One reading in this process; imports do not count."""
    import time

    import duckdb as _  # noqa: F401

    def read_bytes() -> int:
        told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(told["rchar"])

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    bytes_before, began, before = read_bytes(), time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    rows, total = {"ours": ours, "nobody": nobody, "duckdb": duckdb}[engine](lake)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall": time.perf_counter() - began,
        "bytes": read_bytes() - bytes_before,
        "rows": rows,
        "sum": round(total, 4),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        print(json.dumps(_measured(sys.argv[2], Path(sys.argv[3]))))
    else:
        main()
