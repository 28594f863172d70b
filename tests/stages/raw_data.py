"""Raw data as teams deliver them, in files of their own, with the experiments that read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.hashing import config_hash
from exp_platform.config.metrics import Measure, Metric, Role
from exp_platform.config.sources import EventsSource, TableSource, UnitsSource
from exp_platform.stages.run import Run

Rows = dict[str, list[Any]]

START, END = date(2025, 3, 24), date(2025, 4, 6)  # Berlin's clocks change on 30 March
BERLIN = Window(START, END, "Europe/Berlin")
USERS = 120

EXPOSURE_COLUMNS = {"user_id": "uid", "variant_id": "arm", "exposed_at": "seen", "event_id": "id"}
OUTCOME_COLUMNS = {
    "user_id": "uid",
    "event": "what",
    "occurred_at": "at",
    "value": "amount",
    "event_id": "id",
}


def exposures(users: int = USERS) -> Rows:
    """One exposure per user, spread over the window; arms alternate; times are instants."""
    first = datetime(2025, 3, 23, 23, tzinfo=UTC)  # midnight in Berlin
    return {
        "uid": [f"user {i}" for i in range(users)],
        "arm": [("control", "treatment")[i % 2] for i in range(users)],
        "seen": [first + i % 13 * timedelta(days=1) + i % 24 * timedelta(hours=1) for i in range(users)],
        "id": [f"x{i}" for i in range(users)],
        "device": [("phone", "desktop", None)[i % 3] for i in range(users)],
    }


def outcomes(users: int = USERS) -> Rows:
    """An order and a view per user after exposure, and a view on the last day of the window."""
    seen = exposures(users)["seen"]
    last = datetime(2025, 4, 6, 12, tzinfo=UTC)
    rows = [
        (f"user {i}", what, at, amount)
        for i in range(users)
        for what, at, amount in (
            ("order", seen[i] + timedelta(minutes=5), 10.25 + i),
            ("view", seen[i] + timedelta(minutes=1), None),
            ("view", max(last, seen[i]), None),
        )
    ]
    return {
        "uid": [row[0] for row in rows],
        "what": [row[1] for row in rows],
        "at": [row[2] for row in rows],
        "amount": [row[3] for row in rows],
        "id": [f"o{i}" for i in range(len(rows))],
    }


def units(users: int = USERS) -> Rows:
    """One row per user; a tenth are equal to others."""
    return {
        "arm": [("A", "B")[i % 2] for i in range(users)],
        "visited": [("TRUE", "FALSE")[i % 5 == 0] for i in range(users)],
        "spent": [f"{i % 12}.5" for i in range(users)],
        "history": [str(i % 12) if i % 4 else "" for i in range(users)],
        "channel": [("web", "phone")[i % 2] for i in range(users)],
    }


def write_parquet(path: Path, rows: Rows, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), path, **options)
    return path


def write_csv(path: Path, rows: Rows, zone: str | None = None) -> Path:
    """Times as clock times of a zone that is not written, or as instants with Z; compressed by the file's name."""
    from zoneinfo import ZoneInfo

    def written(value: Any) -> str | None:
        if not isinstance(value, datetime):
            return None if value is None else str(value)
        if zone is None:
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return value.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {name: pa.array([written(v) for v in values], pa.string()) for name, values in rows.items()}
    )
    with (
        pa.CompressedOutputStream(str(path), "gzip")
        if path.suffix == ".gz"
        else pa.OSFile(str(path), "w") as out
    ):
        pacsv.write_csv(table, out)
    return path


def metric(metric_id: str, kind: str, measure: Measure, **rest: Any) -> Metric:
    return Metric(metric_id, kind, Role.PRIMARY, 1, measure, **rest)


def events_experiment(folder: Path, kind: Any = "parquet", **rest: Any) -> Experiment:
    """Exposures and outcomes in `folder`/exposures and `folder`/outcomes."""
    source = EventsSource(
        exposures=TableSource(kind, str(folder / "exposures"), EXPOSURE_COLUMNS),
        outcomes=TableSource(kind, str(folder / "outcomes"), OUTCOME_COLUMNS),
        attributes={"device": "device"},
        dedupe="event_id",
    )
    made = Experiment(
        id="shop",
        owner="nobody",
        hypothesis="",
        variants=(Variant("control", 0.5), Variant("treatment", 0.5)),
        window=BERLIN,
        source=source,
        metrics=(
            metric("converted", "proportion", Measure("order", "any")),
            metric("revenue", "mean", Measure("order", "sum")),
        ),
        segments=("device",),
    )
    return replace(made, **rest)


def units_experiment(location: Path, kind: Any = "csv", columns: dict[str, str] | None = None) -> Experiment:
    source = UnitsSource(
        table=TableSource(kind, str(location), {"variant_id": "arm", **(columns or {})}),
        variants={"A": "control", "B": "treatment"},
        outcomes=("visited", "spent"),
        covariates=("history",),
        attributes={"channel": "channel"},
    )
    return replace(
        events_experiment(location),
        id="mailing",
        source=source,
        metrics=(
            metric("visited", "proportion", Measure("visited", "any"), missing="error"),
            metric("spent", "mean", Measure("spent", "sum"), missing="exclude"),
        ),
        segments=("channel",),
    )


def deliver(folder: Path, exposed: Rows | None = None, happened: Rows | None = None) -> Path:
    """Exposures and outcomes as Parquet; those that are not given are good."""
    write_parquet(folder / "exposures" / "part.parquet", exposures() if exposed is None else exposed)
    write_parquet(folder / "outcomes" / "part.parquet", outcomes() if happened is None else happened)
    return folder


def changed(rows: Rows, column: str, change: Callable[[int, Any], Any]) -> Rows:
    """The rows with another column, made from position and value."""
    return {**rows, column: [change(i, value) for i, value in enumerate(rows[column])]}


def frozen(environment: Environment, experiment: Experiment, run_id: str = "r1", *as_of: date) -> Run:
    """A saved run, as of the window's last day unless said otherwise."""
    run = Run(
        run_id=run_id,
        experiment=experiment,
        as_of_dates=as_of or (experiment.window.end,),
        environment=environment.name,
        folder=str(environment.runs_dir / experiment.id / run_id),
        config_hash=config_hash(experiment),
        code_version="0+test",
        input_fingerprint="",
    )
    run.save()
    return run
