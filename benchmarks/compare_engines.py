"""The engines of `compare.py`: each reads the raw files of `compare_data.py` and answers with means, variances and covariances.

An answer is `{metric: {variant: {"n": users, "mean": [k], "cov": [k][k]}}}`: the metric's value, a ratio's denominator, then its
covariates, sample covariances (n - 1) over users. The three databases are asked one query, which says what the platform says:
users by their first exposure, without those who met both arms; a row once by its event id; outcomes from first exposure on,
within the metric's days; the days before the window as covariates; for a metric of seven days the users whose days are over.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from compare_data import ID, PRE_DAYS, START

Answer = dict[str, dict[str, dict[str, Any]]]
ROOT = Path(__file__).parents[1]
# Of each metric: the users' numbers of which means and covariances are wanted, in the order of the platform's Moments.
METRICS = {
    "conversion": ("converted", "pre_converted"),
    "revenue": ("revenue", "pre_revenue"),
    "pageviews": ("views", "pre_views"),
    "order_value": ("revenue", "orders", "pre_revenue", "pre_orders"),
}
MATURE = {"conversion": 7}  # days that must be over


class AbsentError(Exception):
    """An engine that is not installed here; the message says how to get it."""


@dataclass(frozen=True)
class Asked:
    """One question: which data, up to which day of the window (from 0), with how many threads."""

    data: Path
    day: int
    threads: int
    dedupe: bool
    state: Path  # a folder of the engine's own
    full: bool = False

    @staticmethod
    def told(text: str) -> Asked:
        """As `text` wrote it."""
        of = json.loads(text)
        return Asked(**{**of, "data": Path(of["data"]), "state": Path(of["state"])})

    @property
    def text(self) -> str:
        """For a process of its own."""
        return json.dumps({**asdict(self), "data": str(self.data), "state": str(self.state)})

    @property
    def as_of(self) -> date:
        """The day up to whose end things count."""
        return START + timedelta(days=self.day)


# ---------------------------------------------------------------- the one query
@dataclass(frozen=True)
class Dialect:
    """How an engine writes what the query needs."""

    read: str  # {} is a folder of Parquet files
    instant: str  # {} is a day
    earliest: str  # the first argument where the second is least
    variance: str
    covariance: str


DUCKDB = Dialect(
    "read_parquet('{}/*.parquet')", "TIMESTAMPTZ '{} 00:00:00+00'", "arg_min", "var_samp", "covar_samp"
)
CLICKHOUSE = Dialect(
    "file('{}/*.parquet', Parquet)", "toDateTime64('{} 00:00:00', 6, 'UTC')", "argMin", "varSamp", "covarSamp"
)
SPARK = Dialect("parquet.`{}`", "TIMESTAMP '{} 00:00:00'", "min_by", "var_samp", "covar_samp")


def users_query(asked: Asked, engine: Dialect) -> str:
    """A row per user: `variant`, `exposed`, and the numbers that METRICS name."""
    start, end = (engine.instant.format(day) for day in (START, asked.as_of + timedelta(days=1)))
    oldest = engine.instant.format(START - timedelta(days=PRE_DAYS))
    wanted = f"occurred_at >= {oldest} AND occurred_at < {end}"
    of = f"SELECT user_id, event, occurred_at, value FROM {engine.read.format(asked.data / 'outcomes')} WHERE {wanted}"
    if asked.dedupe:
        of = (
            f"SELECT user_id, {engine.earliest}(event, occurred_at) AS event, min(occurred_at) AS happened, "
            f"{engine.earliest}(value, occurred_at) AS value "
            f"FROM {engine.read.format(asked.data / 'outcomes')} WHERE {wanted} GROUP BY user_id, event_id"
        )
    at = "happened" if asked.dedupe else "occurred_at"
    bought, viewed = "event = 'purchase'", "event = 'pageview'"
    before, after = f"{at} < {start}", f"{at} >= first_at"
    week = f"{after} AND {at} < first_at + INTERVAL '{MATURE['conversion']}' DAY"
    return f"""
WITH firsts AS (
  SELECT user_id, {engine.earliest}(variant_id, exposed_at) AS variant, min(exposed_at) AS first_at
  FROM {engine.read.format(asked.data / "exposures")}
  WHERE exposed_at >= {start} AND exposed_at < {end}
  GROUP BY user_id HAVING min(variant_id) = max(variant_id)
), rows_once AS ({of}), users AS (
  SELECT firsts.user_id AS user_id, any_value(variant) AS variant, any_value(first_at) AS exposed,
    max(CASE WHEN {bought} AND {week} THEN 1 ELSE 0 END) AS converted,
    max(CASE WHEN {bought} AND {before} THEN 1 ELSE 0 END) AS pre_converted,
    sum(CASE WHEN {bought} AND {after} THEN value ELSE 0 END) AS revenue,
    sum(CASE WHEN {bought} AND {before} THEN value ELSE 0 END) AS pre_revenue,
    count(CASE WHEN {bought} AND {after} THEN 1 END) AS orders,
    count(CASE WHEN {bought} AND {before} THEN 1 END) AS pre_orders,
    count(CASE WHEN {viewed} AND {after} THEN 1 END) AS views,
    count(CASE WHEN {viewed} AND {before} THEN 1 END) AS pre_views
  FROM rows_once RIGHT JOIN firsts ON rows_once.user_id = firsts.user_id GROUP BY firsts.user_id
)"""


def query(asked: Asked, engine: Dialect) -> str:
    """Means, variances and covariances of each metric, a row per variant."""
    end = engine.instant.format(asked.as_of + timedelta(days=1))
    asks = ["variant"]
    for metric, columns in METRICS.items():
        only = (
            f" FILTER (WHERE exposed <= {end} - INTERVAL '{MATURE[metric]}' DAY)" if metric in MATURE else ""
        )
        asks.append(f"count(*){only}")
        asks += [f"avg({column}){only}" for column in columns]
        for one, other in combinations_with_replacement(columns, 2):
            asked_for = (
                f"{engine.variance}({one})" if one == other else f"{engine.covariance}({one}, {other})"
            )
            asks.append(f"{asked_for}{only}")
    return f"{users_query(asked, engine)}\nSELECT {', '.join(asks)}\nFROM users GROUP BY variant"


def _answer(rows: list[tuple[Any, ...]]) -> Answer:
    """The rows of the query as moments."""
    answer: Answer = {metric: {} for metric in METRICS}
    for variant, *numbers in rows:
        left = iter(numbers)
        for metric, columns in METRICS.items():
            size = len(columns)
            n, mean = int(next(left)), [float(next(left) or 0.0) for _ in columns]
            cov = [[0.0] * size for _ in columns]
            for i, j in combinations_with_replacement(range(size), 2):
                cov[i][j] = cov[j][i] = float(next(left) or 0.0)
            answer[metric][str(variant)] = {"n": n, "mean": mean, "cov": cov}
    return answer


# ---------------------------------------------------------------- engines
def duckdb(asked: Asked) -> Answer:
    """DuckDB, one query."""
    return _answer(_duckdb(asked).sql(query(asked, DUCKDB)).fetchall())


def duckdb_loose(asked: Asked) -> Answer:
    """The same, without looking for rows that stand twice: another answer where there are some."""
    return duckdb(replace(asked, dedupe=False))


def _duckdb(asked: Asked) -> Any:
    import duckdb as engine

    connection = engine.connect(config={"threads": asked.threads, "temp_directory": str(asked.state)})
    connection.sql("SET TimeZone = 'UTC'")
    return connection


def clickhouse(asked: Asked) -> Answer:
    """ClickHouse's engine in this process, one query."""
    try:
        import chdb
    except ImportError:
        raise AbsentError("chdb is not installed: `make benchmark-engines`") from None
    settings = f"SETTINGS max_threads = {asked.threads}, session_timezone = 'UTC', input_format_parquet_max_block_size = 65409"
    said = str(chdb.query(f"{query(asked, CLICKHOUSE)} {settings}", "JSONCompact"))
    return _answer(json.loads(said)["data"])


def spark(asked: Asked) -> Answer:
    """Plain Spark SQL in local mode, one query; with the platform's own settings of the JVM."""
    from pyspark.sql import SparkSession

    built = SparkSession.builder.master(f"local[{asked.threads}]").config("spark.ui.enabled", "false")
    built = built.config("spark.sql.session.timeZone", "UTC").config("spark.driver.memory", "4g")
    built = built.config("spark.local.dir", str(asked.state))
    session = built.config("spark.sql.shuffle.partitions", str(4 * asked.threads)).getOrCreate()
    try:
        return _answer([tuple(row) for row in session.sql(query(asked, SPARK)).collect()])
    finally:
        session.stop()


def tea_tasting(asked: Asked) -> Answer:
    """DuckDB makes a row per user of the raw files; tea-tasting asks it for the moments and tests the four metrics."""
    try:
        import ibis
        import tea_tasting as tt
        from tea_tasting.aggr import read_aggregates
    except ImportError:
        raise AbsentError("tea-tasting is not installed: `make benchmark-engines`") from None
    backend = ibis.duckdb.from_connection(_duckdb(asked))
    backend.raw_sql(f"CREATE TEMP TABLE user_level AS {users_query(asked, DUCKDB)} SELECT * FROM users")
    everybody = backend.table("user_level")
    end = asked.as_of + timedelta(days=1)
    mature = everybody.filter(
        everybody.exposed <= ibis.timestamp(f"{end} 00:00:00", timezone="UTC") - ibis.interval(days=7)
    )
    answer: Answer = {}
    for metric, columns in METRICS.items():
        data = mature if metric in MATURE else everybody
        value, *others = columns
        tested = (
            tt.RatioOfMeans(value, others[0], others[1], others[2])
            if len(others) > 1
            else tt.Mean(value, others[0])
        )
        tt.Experiment({metric: tested}, "variant").analyze(data, control="control")
        pairs = list(combinations_with_replacement(columns, 2))
        found = read_aggregates(
            data,
            "variant",
            has_count=True,
            mean_cols=columns,
            var_cols=columns,
            cov_cols=[pair for pair in pairs if pair[0] != pair[1]],
        )
        answer[metric] = {
            str(variant): {
                "n": of.count(),
                "mean": [of.mean(one) for one in columns],
                "cov": [[of.var(a) if a == b else of.cov(a, b) for b in columns] for a in columns],
            }
            for variant, of in found.items()
        }
    return answer


def ours(asked: Asked) -> Answer:
    """The platform, `exp run` from raw files to decision and memo, in a state folder of its own."""
    configs = asked.state / "configs"
    if not configs.exists():
        shutil.copytree(ROOT / "configs" / "spark", configs / "spark")
        (configs / "environments").mkdir()
        embedded = (ROOT / "configs" / "environments" / "embedded.yaml").read_text()
        (configs / "environments" / "embedded.yaml").write_text(
            embedded.replace("local[*]", f"local[{asked.threads}]")
        )
        shutil.copy(asked.data / f"{ID}.yaml", configs)
    env = os.environ | {"EXP_CONFIG_DIR": str(configs), "EXP_STATE_DIR": str(asked.state)}
    command = [
        ROOT / ".venv" / "bin" / "exp",
        "run",
        ID,
        "--config",
        configs / f"{ID}.yaml",
        "--as-of",
        asked.as_of,
    ]
    command += ["--full"] if asked.full else []
    done = subprocess.run([*map(str, command)], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"exp run: {done.stdout}{done.stderr}")
    return moments(last_run(asked.state))


def last_run(state: Path) -> Path:
    """The folder of the newest run."""
    return max(folder for folder in (state / "runs" / ID).iterdir() if (folder / "run.json").exists())


def moments(run: Path) -> Answer:
    """What a run computed, as the other engines answer."""
    (day,) = json.loads((run / "aggregates.json").read_text())
    answer: Answer = {metric: {} for metric in METRICS}
    for block in day["blocks"]:
        if block["kind"] == "total" and block["segment"] == "all":
            found = block["moments"]
            n = found["n"]
            cov = [[m / max(n - 1, 1) for m in row] for row in found["m2"]]
            of_metric = answer.setdefault(block["metric_id"], {})
            of_metric[block["variant_id"]] = {"n": n, "mean": found["mean"], "cov": cov}
    return answer


ENGINES: dict[str, Callable[[Asked], Answer]] = {
    "ours": ours,
    "duckdb": duckdb,
    "duckdb_loose": duckdb_loose,
    "clickhouse": clickhouse,
    "spark": spark,
    "tea_tasting": tea_tasting,
}


def disagreement(one: Answer, other: Answer) -> float:
    """The largest difference of two answers: of means and covariances in parts of the standard deviations, of n in users."""
    worst = 0.0
    nobody = {"n": 0}
    for metric in one.keys() | other.keys():
        arms = one.get(metric, {}), other.get(metric, {})
        for variant in arms[0].keys() | arms[1].keys():
            a, b = (of.get(variant, nobody) for of in arms)
            worst = max(worst, abs(a["n"] - b["n"]))
            if min(a["n"], b["n"]) < 2:  # nobody's days are over yet
                continue
            sd = [a["cov"][i][i] ** 0.5 or 1.0 for i in range(len(a["mean"]))]
            for i, of in enumerate(sd):
                worst = max(worst, abs(a["mean"][i] - b["mean"][i]) / of)
                for j, to in enumerate(sd):
                    worst = max(worst, abs(a["cov"][i][j] - b["cov"][i][j]) / (of * to))
    return worst


if __name__ == "__main__":
    try:
        print(json.dumps(ENGINES[sys.argv[1]](Asked.told(sys.argv[2]))))
    except AbsentError as absent:
        print(json.dumps(str(absent)))
