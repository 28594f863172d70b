"""Any other database is read by Spark's JDBC reader: the results are those of the same rows in files, and errors are told."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import postgres, sql_data
from cluster.sql_data import PASSWORD, READER, load_shop
from end_to_end.installation import Installation
from exp_platform.config.environment import jars_dir
from exp_platform.pipelines.runner import StageFailedError
from stages import plans, raw_data

METRICS = [
    {"id": "converted", "type": "proportion", "event": "order", "role": "primary"},
    {"id": "revenue", "type": "mean", "event": "order"},
]
SPEC: dict[str, Any] = {
    "id": "shop",
    "owner": "growth",
    "hypothesis": "A shorter checkout earns more per user.",
    "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
    "window": {"start": "2025-03-24", "days": 14, "timezone": "Europe/Berlin"},
    "metrics": METRICS,
    "segments": ["device"],
    "analyses": dict.fromkeys(("cuped", "did", "pretrends"), False),
}
COLUMNS = {"exposures": raw_data.EXPOSURE_COLUMNS, "outcomes": raw_data.OUTCOME_COLUMNS}


def source(**tables: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "events", **{name: {**table, "columns": COLUMNS[name]} for name, table in tables.items()}}


class OnJdbc(Installation):
    """An installation that knows the connection `legacy`."""

    def __init__(self, folder: Path, **said: Any) -> None:
        super().__init__(folder)
        self.said = {"conn_type": "jdbc", **said}

    @property
    def variables(self) -> dict[str, str]:
        return super().variables | {"AIRFLOW_CONN_LEGACY": json.dumps(self.said)}


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The same rows in CSV files."""
    made = Installation(tmp_path_factory.mktemp("files"))
    exposures = raw_data.write_csv(made.folder / "exposures.csv", raw_data.exposures())
    outcomes = raw_data.write_csv(made.folder / "outcomes.csv", raw_data.outcomes())
    made.spec(**SPEC, source=source(exposures={"path": str(exposures)}, outcomes={"path": str(outcomes)}))
    made.run("shop")
    return made


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> OnJdbc:
    """The same rows in SQLite, whose times are text as its own functions write it, with the zone."""
    folder = tmp_path_factory.mktemp("sqlite")
    database = sqlite3.connect(folder / "shop.db")
    for name, rows in (("exposures", raw_data.exposures()), ("outcomes", raw_data.outcomes())):
        kinds = ", ".join(f"{column} {'REAL' if column == 'amount' else 'TEXT'}" for column in rows)
        database.execute(f"CREATE TABLE {name} ({kinds})")
        values = [
            [v.strftime("%Y-%m-%d %H:%M:%SZ") if hasattr(v, "strftime") else v for v in row]
            for row in zip(*rows.values(), strict=True)
        ]
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows))})", values)
    database.commit()
    database.close()
    return OnJdbc(
        folder / "installation",
        host=f"jdbc:sqlite:{folder}/shop.db",
        extra={"driver_class": "org.sqlite.JDBC"},
    )


def without_spec(content: dict[str, list[str]]) -> dict[str, list[str]]:
    """What was computed; the registry holds the spec, and decisions its hash."""
    return {name: content[name] for name in ("analysis_results", "exposures", "outcomes", "unit_days")}


LEFT_OUT = ("config_hash", "input_fingerprint", "bucket", "source_file")


def test_what_is_stored_is_what_files_of_the_same_rows_give(
    delivered: Installation, on_sqlite: OnJdbc
) -> None:
    tables = source(
        exposures={"connection": "legacy", "table": "exposures"},
        outcomes={
            "connection": "legacy",
            "sql": "select * from outcomes where at >= :start and at < :end;",
            "split_by": "amount",
        },
    )
    on_sqlite.spec(**SPEC, source=tables)
    on_sqlite.run("shop")
    expected = without_spec(delivered.content("shop", LEFT_OUT))
    assert without_spec(on_sqlite.content("shop", LEFT_OUT)) == expected
    assert len(expected["outcomes"]) == 3 * raw_data.USERS


def test_parts_have_each_row_once(
    delivered: Installation, on_sqlite: OnJdbc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 360 rows 240 have no amount."""
    from exp_platform.config.loading import load_experiment
    from exp_platform.stages import plan_jdbc

    monkeypatch.setattr(plan_jdbc, "PIECE_ROWS", 60)
    with on_sqlite.here():
        plan = plans.planned(load_experiment("shop"), on_sqlite.environment)
        pieces = [
            p
            for p in plan_jdbc.completed(load_experiment("shop"), on_sqlite.environment, plan).pieces
            if p.table == "outcomes"
        ]
    assert len(pieces) == 6
    assert sum(piece.rows for piece in pieces) == 360
    assert pieces[0].rows > 240
    on_sqlite.run("shop", force=True)
    assert without_spec(on_sqlite.content("shop", LEFT_OUT)) == without_spec(
        delivered.content("shop", LEFT_OUT)
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"sql": "select nope from outcomes"},
            r"source.outcomes: the database of the connection 'legacy' refused the query \(.*nope",
        ),
        (
            {"table": "absent"},
            r"source.outcomes: the database of the connection 'legacy' refused the query \(.*absent",
        ),
        (
            {"table": "outcomes; drop table outcomes"},
            "source.outcomes: table: found 'outcomes; drop table outcomes'; allowed are letters",
        ),
        (
            {"sql": "select uid, what, amount, id from outcomes"},
            r"source.outcomes has no column at \(for occurred_at\) but amount, id, uid, what",
        ),
        ({"table": "outcomes", "split_by": "what"}, "source.outcomes: split_by: what is text"),
        (
            {"table": "outcomes", "watermark": "select max(at) from outcomes"},
            "watermark: the connection 'legacy' is of the type 'jdbc', which only Spark reads",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_key_and_remedy(
    on_sqlite: OnJdbc, table: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exp_platform.errors import ConfigError
    from exp_platform.stages import plan_jdbc

    monkeypatch.setattr(plan_jdbc, "PIECE_ROWS", 60)
    tables = source(
        exposures={"connection": "legacy", "table": "exposures"}, outcomes={"connection": "legacy", **table}
    )
    on_sqlite.spec(**SPEC | {"id": "wrong"}, source=tables)
    with pytest.raises((StageFailedError, ConfigError), match=said):
        on_sqlite.run("wrong")


def test_a_jar_is_named_in_the_environment_file(delivered: Installation, tmp_path: Path) -> None:
    """Postgres by its JDBC driver; without the jar the message says where to name it, and no output has the password."""
    (jar,) = jars_dir().glob("cluster/postgresql-*.jar") if (jars_dir() / "cluster").is_dir() else [None]
    if postgres.programs() is None or jar is None:
        pytest.skip("needs Postgres and its jar: make jars-cluster")
    with sql_data.postgres() as server:
        load_shop(server)
        made = OnJdbc(
            tmp_path / "installation",
            host=f"jdbc:postgresql://127.0.0.1:{server.port}/lake",
            login=READER,
            password=PASSWORD,
            extra={"driver_class": "org.postgresql.Driver"},
        )
        tables = {name: {"connection": "legacy", "table": f"shop.{name}"} for name in COLUMNS}
        made.spec(**SPEC, source=source(**tables))
        without = run_in_a_process(made)
        assert without.returncode != 0
        assert (
            "the driver of the connection 'legacy' is not there: name its jar under `spark.properties`"
            in without.stdout
        )
        made.rewrite(
            "embedded", "  driver_memory: 1g", f"  properties: {{spark.jars: {jar}}}\n  driver_memory: 1g"
        )
        ran = run_in_a_process(made)
        assert ran.returncode == 0, ran.stdout[-3000:]
    expected = without_spec(delivered.content("shop", LEFT_OUT))
    assert without_spec(made.content("shop", LEFT_OUT)) == expected
    assert PASSWORD not in without.stdout + ran.stdout
    assert not [
        path for path in made.folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]


def run_in_a_process(made: OnJdbc) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if name != "SPARK_DIST_CLASSPATH"}
    return subprocess.run(
        [sys.executable, "-m", "exp_platform.cli", "run", "shop"],
        env=bare | made.variables | {"SPARK_DIST_CLASSPATH": "", "COLUMNS": "1000"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
