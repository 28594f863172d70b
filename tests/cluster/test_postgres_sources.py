"""A source in a real Postgres: read in full as a stream, in parts, only what is wanted; and one clear error for what is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from cluster import postgres, sql_data
from cluster.postgres import Postgres
from cluster.sql_data import EXPOSURES, OUTCOMES, PASSWORD, connection, execute, load_shop, shop
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import SqlQuery, TableSource, UnitsSource
from exp_platform.errors import ConfigError, DataError
from exp_platform.kernels.coded import plain
from exp_platform.stages import ingest, plan_sql, sql_postgres
from exp_platform.stages.quality import read_checks
from exp_platform.stages.shards import read_and_split
from exp_platform.stages.sources import plan_reading
from exp_platform.stages.sql_database import DatabaseError
from exp_platform.stages.sql_watermark import require_forward, watermarks
from exp_platform.stages.start import start_run
from stages import raw_data
from stages.plans import planned, problems, rows_of


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if postgres.programs() is None:
        pytest.skip("Postgres is not installed: apt-get install postgresql, or brew install postgresql")
    with sql_data.postgres() as made:
        yield made


@pytest.fixture
def lake(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    load_shop(server)
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", connection(server))
    return server


def sorted_rows(table: pa.Table) -> pa.Table:
    """Files may give names as dictionaries, which Arrow does not sort."""
    table = pa.table({name: plain(table[name]) for name in table.column_names})
    return table.sort_by([(name, "ascending") for name in table.column_names])


def test_all_rows_come_as_files_of_them_would_give_them(
    lake: Postgres, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = raw_data.deliver(tmp_path_factory.mktemp("files"))
    in_files = planned(raw_data.events_experiment(folder), environment)
    in_database = planned(shop(), environment)
    for table in ("exposures", "outcomes"):
        assert sorted_rows(rows_of(in_database, table)) == sorted_rows(rows_of(in_files, table))
        assert in_database.rows(table) == in_files.rows(table)


def test_parts_have_each_row_once_by_a_hash_and_by_a_column(
    lake: Postgres, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(lake, "UPDATE shop.outcomes SET uid = NULL WHERE id = 'o7'")
    whole = rows_of(planned(shop(), environment), "outcomes")
    monkeypatch.setattr(plan_sql, "PIECE_ROWS", 40)
    for split_by in (None, "at", "amount"):
        plan = planned(shop(outcomes=replace(OUTCOMES, split_by=split_by)), environment)
        pieces = [piece for piece in plan.pieces if piece.table == "outcomes"]
        assert len(pieces) == 9
        assert sum(piece.rows for piece in pieces) == len(whole)
        assert [piece.first_row for piece in pieces[1:]] == [
            sum(piece.rows for piece in pieces[:n]) for n in range(1, 9)
        ]
        for piece in pieces:
            assert sum(len(part.rows) for part in piece.parts()) == piece.rows < len(whole)
        ids = rows_of(plan, "outcomes")["event_id"].to_pylist()
        assert sorted(ids) == sorted(whole["event_id"].to_pylist()), split_by


def test_a_stream_is_read_in_batches(
    lake: Postgres, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_postgres, "_BATCH_BYTES", 2000)
    (piece,) = [p for p in planned(shop(), environment).pieces if p.table == "outcomes"]
    batches = [len(part.rows) for part in piece.parts()]
    assert len(batches) > 5
    assert max(batches) < sum(batches) / 5


def test_types_that_arrow_has_none_for_are_read_as_text(lake: Postgres, environment: Environment) -> None:
    execute(
        lake,
        "CREATE TABLE shop.typed (uid uuid, what text, at timestamp, amount numeric(20, 2))",
        "INSERT INTO shop.typed VALUES ('5207777A-92D0-48B6-B47E-2EFDE7107300', 'order', '2025-03-31 12:00', 12345678901234.25)",
    )
    columns = {k: v for k, v in raw_data.OUTCOME_COLUMNS.items() if k != "event_id"}
    typed = TableSource("sql", "lake", columns, query=SqlQuery(table="shop.typed"))
    (row,) = rows_of(planned(shop_with(outcomes=typed), environment), "outcomes").to_pylist()
    assert row == {
        "user_id": "5207777a-92d0-48b6-b47e-2efde7107300",
        "event": "order",
        "occurred_at": datetime(2025, 3, 31, 12),  # noqa: DTZ001  without a zone, as it stands there
        "value": "12345678901234.25",
    }


def shop_with(**tables: TableSource) -> Experiment:
    experiment = shop()
    return replace(experiment, source=replace(experiment.source, dedupe="none", **tables))


def test_of_a_log_of_many_experiments_the_database_gives_the_rows_of_one_in_its_time(
    lake: Postgres, environment: Environment
) -> None:
    """Of 360 rows 120 have the key, and of these 115 come in time; what has no time at all is for quality to count."""
    execute(
        lake,
        "ALTER TABLE shop.exposures ADD COLUMN exp text DEFAULT 'shop'",
        "INSERT INTO shop.exposures SELECT uid, arm, seen, id, device, 'other' FROM shop.exposures",
        "INSERT INTO shop.exposures SELECT uid, arm, seen, id, device, NULL FROM shop.exposures WHERE exp = 'other'",
        "UPDATE shop.exposures SET seen = seen - interval '3 years' WHERE uid IN ('user 1', 'user 2', 'user 3', 'user 4')",
        "UPDATE shop.exposures SET seen = seen + interval '3 years' WHERE uid = 'user 5'",
        "UPDATE shop.exposures SET seen = NULL WHERE uid = 'user 6'",
    )
    columns = raw_data.EXPOSURE_COLUMNS | {"experiment": "exp"}
    log = TableSource("sql", "lake", columns, query=EXPOSURES)
    experiment = shop()
    experiment = replace(experiment, source=replace(experiment.source, exposures=log, key="shop"))
    plan = planned(experiment, environment)
    assert plan.rows("exposures") == 115
    found = rows_of(plan, "exposures")
    assert set(found["experiment"].to_pylist()) == {"shop"}
    assert {f"user {i}" for i in range(120)} - set(found["user_id"].to_pylist()) == {
        f"user {i}" for i in range(1, 6)
    }


def test_times_without_a_zone_are_compared_in_the_zone_of_the_source(
    lake: Postgres, environment: Environment
) -> None:
    """In Berlin the window of the experiment begins an hour before it does in UTC; before it lies what the pre-period needs."""
    execute(
        lake,
        "CREATE TABLE shop.local (uid text, what text, at timestamp, amount float8)",
        "INSERT INTO shop.local SELECT 'u' || h, 'order', timestamp '2025-03-01' + h * interval '1 hour', 1 "
        "FROM generate_series(0, 800) h",
    )
    start, _ = plan_sql.period_of(shop())
    columns = {k: v for k, v in raw_data.OUTCOME_COLUMNS.items() if k != "event_id"}
    query = SqlQuery(sql="select * from shop.local where at >= :start and at < :end")
    local = TableSource("sql", "lake", columns, query=query)
    first = min(
        rows_of(planned(shop_with(outcomes=local), environment), "outcomes")["occurred_at"].to_pylist()
    )
    assert first.replace(tzinfo=ZoneInfo("Europe/Berlin")) == start


def test_a_query_cannot_write_and_sees_nothing_beside_itself(
    lake: Postgres, environment: Environment
) -> None:
    execute(
        lake,
        "CREATE FUNCTION shop.wipe() RETURNS bigint LANGUAGE sql AS 'DELETE FROM shop.exposures; SELECT 1::bigint'",
    )
    wiping = SqlQuery(sql="select *, shop.wipe() as wiped from shop.outcomes")
    ((check, message),) = problems(shop(outcomes=wiping), environment)
    assert check == "source"
    assert "cannot execute DELETE in a read-only transaction" in message
    assert planned(shop(), environment).rows("exposures") == raw_data.USERS


WRONG_QUERIES = {
    "select * from shop.absent": 'relation "shop.absent" does not exist',
    "select nope from shop.outcomes": 'column "nope" does not exist',
    "select * from pg_authid": "permission denied for table pg_authid",
    "select uid, what, at, amount, 1 / 0 as id from shop.outcomes": "division by zero",
    "select uid, what, at, 'x' as id from shop.outcomes": "has no column amount (for value) but at, id, uid, what",
    "select uid, what, array[1] as at, amount, id from shop.outcomes": "column at (for occurred_at) is list<item: int32>",
}


@pytest.mark.parametrize("sql", WRONG_QUERIES)
def test_a_query_that_fails_is_told_with_file_key_and_remedy(
    lake: Postgres, environment: Environment, sql: str
) -> None:
    ((_, message),) = problems(shop(outcomes=SqlQuery(sql=sql)), environment)
    assert "shop.yaml: source.outcomes" in message
    assert WRONG_QUERIES[sql] in message
    assert PASSWORD not in message


def test_a_query_that_fails_on_its_way_is_refused_and_the_last_good_data_stay(
    lake: Postgres, environment: Environment
) -> None:
    """Counting the rows does not compute the column: that fails when the rows are read."""
    late = SqlQuery(
        sql="select uid, what, at, case when id = 'o201' then 1 / (amount - amount) else 1 end as amount, id from shop.outcomes"
    )
    run = raw_data.frozen(environment, shop(outcomes=late))
    with pytest.raises(DataError, match="division by zero"):
        ingest.run(run)
    (failed,) = read_checks(run.path / "quality.json")
    assert (
        "outcomes: shop.yaml: source.outcomes: the database of the connection 'lake' refused the query"
        in failed.message
    )


def test_a_server_that_is_down_and_one_that_refuses_are_worth_a_retry(
    lake: Postgres, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changed, said in (
        ({"port": 1}, "does not answer: start it, or correct the host and port"),
        ({"host": "nowhere.invalid"}, "does not answer"),
        (
            {"password": "wrong-one"},
            "refused the user 'reader' of the connection 'lake': correct its login and password",
        ),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_LAKE", connection(lake, **changed))
        with pytest.raises(DatabaseError, match=said) as raised:
            plan_reading(shop(), environment)
        assert str(raised.value).startswith("shop.yaml: source.exposures: ")
        assert "wrong-one" not in str(raised.value)
        assert not isinstance(raised.value, (ConfigError, DataError))
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", connection(lake, schema="nowhere"))
    ((_, message), _) = problems(shop(), environment)
    assert 'database "nowhere" does not exist' in message


def test_rows_that_break_off_are_never_taken_for_all_of_them(
    lake: Postgres, environment: Environment
) -> None:
    (piece,) = [p for p in planned(shop(), environment).pieces if p.table == "outcomes"]
    execute(lake, "DELETE FROM shop.outcomes WHERE id = 'o7'")
    with pytest.raises(DatabaseError, match="359 rows came of 360 that were there when this run began"):
        list(read_and_split([(0, piece)], 1))


def test_a_connection_that_is_missing_or_not_for_specs_is_named(
    lake: Postgres, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigError, match=r"source.exposures.connection: found 'lake'; .* lets specs name warehouse"
    ):
        plan_reading(shop(), environment.model_copy(update={"connections": ("warehouse",)}))
    monkeypatch.delenv("AIRFLOW_CONN_LAKE")
    with pytest.raises(
        ConfigError,
        match=r"shop.yaml: source.exposures.connection: found 'lake', and there is no such connection",
    ):
        plan_reading(shop(), environment)


def test_split_by_must_be_a_column_with_an_order(lake: Postgres, environment: Environment) -> None:
    execute(lake, "ALTER TABLE shop.exposures ADD COLUMN n float8 DEFAULT 'NaN'")
    for column, said in (
        ("n", "split_by: n is double, allowed is a column of finite numbers"),
        ("device", "split_by: device is string, allowed is a column of finite numbers, dates or times"),
        ("x", "split_by: there is no column x but arm, "),
    ):
        ((_, message),) = problems(shop(replace(EXPOSURES, split_by=column)), environment)
        assert said in message


def test_users_are_not_numbered_by_rows_that_have_no_order(lake: Postgres, environment: Environment) -> None:
    source = UnitsSource(TableSource("sql", "lake", {"variant_id": "arm"}, query=EXPOSURES), {}, (), (), {})
    ((_, message),) = problems(replace(shop(), source=source), environment)
    assert "source: rows of a database have no order to number users by" in message


def test_a_piece_pickles_small_and_shows_no_password(lake: Postgres, environment: Environment) -> None:
    (piece,) = [p for p in planned(shop(), environment).pieces if p.table == "outcomes"]
    assert len(pickle.dumps(piece)) < 6000
    assert PASSWORD not in repr(piece)
    assert pickle.loads(pickle.dumps(piece)) == piece


def test_data_are_up_to_date_by_their_watermark_and_without_one_never(
    lake: Postgres, environment: Environment
) -> None:
    now = datetime(2025, 4, 20, tzinfo=UTC)

    def fingerprint(experiment: Experiment) -> str:
        run = start_run(experiment, environment, now=now).run
        assert run is not None
        return run.input_fingerprint

    before = fingerprint(shop())
    assert fingerprint(shop()) == before
    execute(
        lake, "INSERT INTO shop.outcomes SELECT uid, what, now(), amount, 'new' FROM shop.outcomes LIMIT 1"
    )
    assert fingerprint(shop()) != before
    always = shop(exposures=replace(EXPOSURES, watermark=None))
    assert fingerprint(always) != fingerprint(always)


def test_a_watermark_that_goes_back_is_refused(lake: Postgres, environment: Environment) -> None:
    before = watermarks(shop(), environment)
    assert before == {
        "exposures": "time 2025-04-05 19:00:00.000000",
        "outcomes": "time 2025-04-06 12:00:00.000000",
    }
    execute(lake, "DELETE FROM shop.outcomes WHERE at > '2025-04-01'")
    now = watermarks(shop(), environment)
    require_forward(shop(), before, now)
    with pytest.raises(
        DataError,
        match=r"shop.yaml: source.outcomes.watermark: found 2025-03-31 21:05.* published at 2025-04-06",
    ):
        require_forward(shop(), now, before)


@pytest.mark.parametrize(
    ("watermark", "said"),
    [
        ("select nope from shop.outcomes", 'column "nope" does not exist'),
        ("select at from shop.outcomes", "gives more than one value"),
        ("select 1, 2", "gives more than one value"),
    ],
)
def test_a_watermark_that_fails_ends_the_run_before_it_begins(
    lake: Postgres, environment: Environment, watermark: str, said: str
) -> None:
    experiment = shop(outcomes=replace(OUTCOMES, watermark=watermark))
    with pytest.raises(DataError, match=rf"shop.yaml: source.outcomes.watermark: .*{said}"):
        start_run(experiment, environment, now=datetime(2025, 4, 20, tzinfo=UTC))
