"""The fingerprint of a shared lake is that of the files that may count: a new day makes no finished experiment out of date."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.spec import ExperimentSpec
from exp_platform.stages.fingerprint import input_fingerprint
from exp_platform.tables.catalog import open_catalog


def experiment(exposures: Path, orders: dict[str, object]) -> Experiment:
    """Of the two weeks from 2 March 2026, with a week before them."""
    columns = {"user_id": "uid", "occurred_at": "ts"}
    content = {
        "id": "shop",
        "owner": "growth",
        "hypothesis": "A shorter form raises sign-ups.",
        "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
        "window": {"start": "2026-03-02", "days": 14},
        "analyses": {"pre_period_days": 7},
        "source": {
            "kind": "events",
            "exposures": {"path": str(exposures)},
            "facts": {"orders": {**orders, "columns": columns}},
        },
        "metrics": [{"id": "orders", "type": "count", "of": "orders", "role": "primary"}],
    }
    return ExperimentSpec.model_validate(content).resolve()


def rows(day: str) -> pa.Table:
    at = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=UTC)
    return pa.table({"uid": ["a", "b"], "ts": pa.array([at, at], pa.timestamp("us", "UTC"))})


def test_of_folders_only_the_days_that_count(tmp_path: Path, environment: Environment) -> None:
    def deliver(day: str) -> None:
        folder = tmp_path / "orders" / f"day={day}"
        folder.mkdir(parents=True)
        pq.write_table(rows(day), folder / "part.parquet")

    deliver("2026-03-05")
    found = experiment(tmp_path / "exposures", {"path": str(tmp_path / "orders"), "partitioned_by": "day"})
    before = input_fingerprint(found, environment, generate_synth=False)
    deliver("2026-05-01")
    deliver("2024-03-05")
    assert input_fingerprint(found, environment, generate_synth=False) == before
    deliver("2026-03-09")
    assert input_fingerprint(found, environment, generate_synth=False) != before


def test_of_an_iceberg_table_only_files_with_days_that_count(
    tmp_path: Path, environment: Environment
) -> None:
    catalog = open_catalog(environment)
    catalog.create_namespace("lake")
    table = catalog.create_table("lake.orders", rows("2026-03-05").schema)
    table.append(rows("2026-03-05"))
    found = experiment(tmp_path / "exposures", {"table": "lake.orders"})
    before = input_fingerprint(found, environment, generate_synth=False)
    table.append(rows("2026-05-01"))
    assert input_fingerprint(found, environment, generate_synth=False) == before
    table.append(rows("2026-03-09"))
    assert input_fingerprint(found, environment, generate_synth=False) != before
