"""A source in ClickHouse: its own engine, run in this process by chdb behind an HTTP front of these tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("chdb", reason="the package chdb is not installed: make test-cluster installs it")

from cluster.clickhouse import USER, ClickHouse, clickhouse
from end_to_end.installation import Installation
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.loading import load_experiment
from exp_platform.stages import plan_sql
from exp_platform.stages.sources import plan_reading
from exp_platform.stages.sql_database import DatabaseError
from stages.plans import planned, problems, rows_of

USERS = 4000
# The log of two experiments, orders of everybody for months, a tenth of them by people who were never exposed
DATA = (
    "CREATE DATABASE lake",
    "CREATE TABLE lake.exposures (uid UUID, arm LowCardinality(String), exp String, ts DateTime) ENGINE = MergeTree ORDER BY ts",
    f"""INSERT INTO lake.exposures SELECT reinterpretAsUUID(toFixedString(sipHash128(toUInt64(number % {USERS})), 16)),
        if(number % {USERS} % 2, 'Treatment', 'Control'), if(number % {USERS} < 3600, 'checkout', 'banner'),
        toDateTime('2026-03-02 00:00:00', 'UTC') + (number % {USERS}) * 290 + intDiv(number, {USERS}) * 86400
        FROM numbers({2 * USERS})""",
    """CREATE TABLE lake.orders (uid UUID, ts DateTime64(3), kind Enum8('order' = 1, 'refund' = 2), amount Decimal(12, 2),
        props Map(String, String)) ENGINE = MergeTree ORDER BY ts""",
    f"""INSERT INTO lake.orders SELECT reinterpretAsUUID(toFixedString(sipHash128(toUInt64(cityHash64(number) % {USERS} + 400)), 16)),
        toDateTime64('2026-02-20 00:00:00', 3, 'UTC') + (cityHash64(number, 'ts') % 2764800) + 0.5, if(number % 11, 'order', 'refund'),
        exp(2 + (cityHash64(number, 'amount') % 1000) / 400), map('category', ['shoes', 'bags', 'hats'][number % 3 + 1])
        FROM numbers(9000)""",
)
SPEC: dict[str, Any] = {
    "id": "checkout",
    "owner": "growth",
    "hypothesis": "A shorter checkout earns more per user.",
    "variants": [{"id": "control", "control": True, "value": "Control"}, {"id": "shorter", "value": "Treatment"}],
    "window": {"start": "2026-03-02", "days": 14},
    "source": {
        "kind": "events",
        "exposures": {
            "connection": "warehouse",
            "table": "lake.exposures",
            "columns": {"user_id": "uid", "variant_id": "arm", "exposed_at": "ts", "experiment": "exp"},
        },
        "facts": {
            "orders": {
                "connection": "warehouse",
                "sql": "select * from lake.orders where ts >= :start and ts < :end",
                "watermark": "select max(ts) from lake.orders",
                "columns": {"user_id": "uid", "occurred_at": "ts", "event": "kind"},
                "values": {"revenue": "amount"},
                "dimensions": {"category": "props.category"},
            }
        },
    },
    "metrics": [
        {"id": "conversion", "type": "proportion", "of": "orders", "event": "order", "role": "primary"},
        {"id": "revenue", "type": "mean", "of": "orders", "event": "order", "value": "revenue"},
        {"id": "shoes", "type": "mean", "of": "orders", "event": "order", "value": "revenue", "where": {"category": ["shoes"]}},
    ],
    "analyses": dict.fromkeys(("cuped", "did", "pretrends", "segments"), False),
}  # fmt: skip
ARTICLE = """
WITH first AS (
    SELECT uid, argMin(arm, ts) AS arm, min(ts) AS seen FROM lake.exposures WHERE exp = 'checkout' GROUP BY uid
), users AS (
    SELECT first.uid AS uid, any(first.arm) AS arm,
           countIf(kind = 'order' AND orders.ts >= first.seen) AS n,
           sumIf(toFloat64(amount), kind = 'order' AND orders.ts >= first.seen {filter}) AS spent
    FROM first LEFT JOIN (SELECT * FROM lake.orders WHERE ts < '2026-03-16 00:00:00') AS orders ON first.uid = orders.uid
    GROUP BY first.uid
)
SELECT arm, count() AS users, avg(n > 0) AS conversion, varPop(n > 0) AS conversion_variance, avg(spent) AS revenue,
       varPopStable(spent) AS revenue_variance, quantileExactInclusive(0.5)(spent) AS median,
       quantileExactInclusive(0.95)(spent) AS p95
FROM users GROUP BY arm ORDER BY arm FORMAT JSONEachRow"""


class OnClickHouse(Installation):
    """An installation that knows the connection `warehouse`."""

    def __init__(self, folder: Path, server: ClickHouse) -> None:
        super().__init__(folder)
        self.server = server
        self.spec(**SPEC)

    @property
    def variables(self) -> dict[str, str]:
        said = {"conn_type": "clickhouse", "host": "127.0.0.1", "port": self.server.port, "login": USER}
        return super().variables | {
            "AIRFLOW_CONN_WAREHOUSE": json.dumps(said | {"password": self.server.password})
        }


@pytest.fixture(scope="module")
def server() -> Iterator[ClickHouse]:
    with clickhouse() as made:
        for statement in DATA:
            made.execute(statement)
        yield made


@pytest.fixture(scope="module")
def installation(server: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> OnClickHouse:
    return OnClickHouse(tmp_path_factory.mktemp("clickhouse"), server)


def arms(server: ClickHouse, where: str = "") -> dict[str, dict[str, Any]]:
    answer = server.answer(ARTICLE.replace("{filter}", where), {}).decode()
    return {row["arm"]: row for row in map(json.loads, answer.splitlines())}


def test_rows_of_ab_are_what_the_articles_own_query_finds(installation: OnClickHouse) -> None:
    """First exposure, events after it, conversion, revenue per user, their variances, median and 95th percentile."""
    installation.run("checkout", as_of_dates=[date(2026, 3, 15)])
    found = {
        row.metric_id: row
        for row in installation.results.rows(ResultRow, "checkout", method="ab")
        if row.segment_value in (None, "all")
    }
    every, shoes = arms(installation.server), arms(installation.server, "AND props['category'] = 'shoes'")
    compared = 0
    for arm, name in (("control", "Control"), ("treatment", "Treatment")):
        n = int(every[name]["users"])
        expected = {
            "conversion": {"mean": every[name]["conversion"], "variance": every[name]["conversion_variance"]},
            "revenue": {
                key: every[name][was]
                for key, was in (
                    ("mean", "revenue"),
                    ("variance", "revenue_variance"),
                    ("median", "median"),
                    ("p95", "p95"),
                )
            },
            "shoes": {
                key: shoes[name][was]
                for key, was in (("mean", "revenue"), ("variance", "revenue_variance"), ("p95", "p95"))
            },
        }
        for metric_id, numbers in expected.items():
            row = found[metric_id]
            assert getattr(row, f"n_{arm}") == n == 1800
            for key, value in numbers.items():
                told = getattr(row, f"{'sd' if key == 'variance' else key}_{arm}")
                if key == "variance":
                    value, told = value * n / (n - 1), told**2
                assert told == pytest.approx(value, rel=1e-12), (metric_id, arm, key)
                compared += 1
    assert compared == 18


def test_the_database_is_asked_for_what_is_wanted_alone(installation: OnClickHouse) -> None:
    with installation.here():
        experiment = load_experiment("checkout")
        pieces = {p.table: p for p in planned(experiment, installation.environment).pieces}
    assert pieces["exposures"].rows == 7200
    select = pieces["orders"].select  # type: ignore[attr-defined]
    assert "toString(`kind`) IN ('order')" in select
    assert "`ts`, 6, 'UTC') >= toDateTime64('2026-0" in select
    assert "`amount` AS `amount`" in select
    everything = int(installation.server.answer("SELECT count() FROM lake.orders", {}))
    assert 0 < pieces["orders"].rows < 0.9 * everything


def test_parts_have_each_row_once(installation: OnClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    with installation.here():
        experiment = load_experiment("checkout")
        whole = rows_of(planned(experiment, installation.environment), "orders")
        monkeypatch.setattr(plan_sql, "PIECE_ROWS", 1000)
        plan = planned(experiment, installation.environment)
        pieces = [piece for piece in plan.pieces if piece.table == "orders"]
        assert len(pieces) > 5
        assert sum(piece.rows for piece in pieces) == len(whole)
        in_parts = rows_of(plan, "orders")
    keys = [(name, "ascending") for name in ("occurred_at", "user_id", "value.revenue")]
    assert in_parts.sort_by(keys) == whole.sort_by(keys)


@contextmanager
def changed(installation: OnClickHouse, **orders: str) -> Iterator[Any]:
    source = SPEC["source"] | {"facts": {"orders": SPEC["source"]["facts"]["orders"] | orders}}
    installation.spec(**SPEC | {"id": "changed", "source": source})
    try:
        with installation.here():
            yield load_experiment("changed")
    finally:
        (installation.configs / "experiments" / "changed.yaml").unlink()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select * from lake.absent", "Unknown table expression identifier"),
        ("select nope from lake.orders", "Unknown expression identifier `nope`"),
        ("select * from lake.orders where throwIf(amount > 0) = 0", "throwIf"),
    ],
)
def test_a_query_that_fails_is_told_with_file_key_and_remedy(
    installation: OnClickHouse, sql: str, said: str
) -> None:
    with changed(installation, sql=sql) as experiment:
        found = [message for _, message in problems(experiment, installation.environment)]
    (message,) = found
    assert (
        "changed.yaml: source.facts.orders: the database of the connection 'warehouse' refused the query"
        in message
    )
    assert said in message
    assert "correct the query or the connection" in message


def test_a_stream_that_breaks_off_is_an_error(
    installation: OnClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.here():
        plan = planned(load_experiment("checkout"), installation.environment)
        monkeypatch.setattr(installation.server, "broken", True)
        with pytest.raises(DatabaseError):
            rows_of(plan, "orders")


def test_a_wrong_password_and_a_closed_port_are_worth_a_retry(
    installation: OnClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.here():
        experiment = load_experiment("checkout")
        said = {
            "conn_type": "clickhouse",
            "host": "127.0.0.1",
            "port": installation.server.port,
            "login": USER,
            "password": "guess-1",
        }
        for wrong, told in (
            (said, "refused the user 'reader'"),
            (said | {"port": 1}, "does not answer: start it"),
        ):
            monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(wrong))
            with pytest.raises(DatabaseError, match=told) as raised:
                plan_reading(experiment, installation.environment)
            assert "guess-1" not in str(raised.value)
