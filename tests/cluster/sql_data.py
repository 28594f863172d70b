"""The rows of `stages.raw_data` in databases, and experiments that read them there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster.postgres import Postgres
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, SqlQuery, TableSource
from stages import raw_data

READER, LAKE = "reader", "lake"
PASSWORD = "s3cr/et p@ss:w'rd%"
EXPOSURES = SqlQuery(table="shop.exposures", watermark="select max(seen) from shop.exposures")
OUTCOMES = SqlQuery(
    sql="select * from shop.outcomes where at >= :start and at < :end",
    watermark="select max(at) from shop.outcomes",
)


@contextmanager
def postgres() -> Iterator[Postgres]:
    made = Postgres()
    made.server.start()
    try:
        made.make_user(READER, PASSWORD)
        made.make_database(LAKE, READER)
        yield made
    finally:
        made.close()


def connection(server: Postgres, **changed: Any) -> str:
    """The connection as Airflow's variable has it."""
    said = {
        "conn_type": "postgres", "host": "127.0.0.1", "port": server.port, "login": READER, "password": PASSWORD, "schema": LAKE,
    }  # fmt: skip
    return json.dumps(said | changed)


def execute(server: Postgres, *statements: str) -> None:
    import psycopg2

    opened = psycopg2.connect(host="127.0.0.1", port=server.port, user=READER, password=PASSWORD, dbname=LAKE)
    try:
        with opened, opened.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        opened.close()


def load(server: Postgres, **tables: pa.Table) -> None:
    """Tables into the schema `shop`, whose rows are made anew."""
    from adbc_driver_postgresql import dbapi

    from exp_platform.stages.sql_connections import Connection
    from exp_platform.stages.sql_postgres import Postgres as Reading

    execute(server, "DROP SCHEMA IF EXISTS shop CASCADE", "CREATE SCHEMA shop")
    said = Connection("lake", "postgres", "127.0.0.1", server.port, READER, PASSWORD, LAKE)
    with dbapi.connect(Reading(said)._uri) as opened, opened.cursor() as cursor:
        for name, rows in tables.items():
            cursor.adbc_ingest(name, rows, db_schema_name="shop")
        opened.commit()


def load_shop(server: Postgres) -> None:
    load(server, exposures=pa.table(raw_data.exposures()), outcomes=pa.table(raw_data.outcomes()))


def shop(exposures: SqlQuery = EXPOSURES, outcomes: SqlQuery = OUTCOMES, **changed: Any) -> Experiment:
    """The experiment of `raw_data` with both of its tables in the database of the connection `lake`."""
    experiment = raw_data.events_experiment(Path("unused"))
    source = EventsSource(
        TableSource("sql", "lake", raw_data.EXPOSURE_COLUMNS, query=exposures),
        TableSource("sql", "lake", raw_data.OUTCOME_COLUMNS, query=outcomes),
        {"device": "device"},
        "event_id",
    )
    return replace(experiment, source=replace(source, **changed), spec_file="shop.yaml")
