"""Spark reads what PyIceberg commits. What Spark compacts, a rerun replaces: end_to_end/test_idempotence.py."""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa
import pytest

from exp_platform.analyses.rows import LateRow
from exp_platform.config.analyses import RESULTS
from exp_platform.config.environment import Environment
from exp_platform.results.reader import Results
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import task_writer
from exp_platform.tables.forgotten import NAME as FORGOTTEN
from exp_platform.tables.schemas import TABLES
from exp_platform.tables.views import VIEWS
from exp_platform.tables.write import replace_files
from stages.frozen_runs import D1, D3, a_run, an_experiment, carry_out

pytestmark = pytest.mark.e2e


def store_unit_days(environment: Environment, experiment_id: str, run_id: str) -> None:
    writer = task_writer(environment, "unit_days", experiment_id, run_id)
    columns: dict[str, Any] = {
        "variant_id": ["c"],
        "event": ["e"],
        "n": [1],
        "value": [0.5],
        "day": [0],
        "user_number": [0],
    }
    paths = [
        writer.write(b, pa.table({"user_id": [f"u{b}"], "local_date": [D1], **columns})) for b in range(2)
    ]
    replace_files(open_catalog(environment), "unit_days", experiment_id, paths, run_id)


def test_spark_counts_every_table_and_reads_its_nested_columns(
    environment: Environment,
) -> None:
    from exp_platform.spark.session import build_spark_session

    for experiment_id in ("exp_a_with_a_long_name_1", "exp_a_with_a_long_name_2"):
        for run_id, days in (("r1", (D1, D3)), ("r2", (D1, D3))):
            carry_out(a_run(environment, run_id, days, of=an_experiment(experiment_id)))
            store_unit_days(environment, experiment_id, run_id)

    spark = build_spark_session("test_spark", environment)
    counted = {name: spark.table(f"iceberg.exp.{name}").count() for name in TABLES}
    assert counted == {name: table(open_catalog(environment), name).scan().count() for name in TABLES}
    assert {name for name, rows in counted.items() if not rows} == {FORGOTTEN, LateRow.TABLE}
    row = (
        spark.table("iceberg.exp.metric_aggregates_overall")
        .where("kind = 'total' and metric_id = 'orders'")
        .first()
    )
    assert row is not None
    assert (row["columns"], len(row["mean"]), len(row["m2"])) == (["value", "pre_orders"], 2, 4)
    exposure = spark.table("iceberg.exp.exposures").first()
    assert exposure is not None
    assert (exposure["user_id"][:3], exposure["attributes"]) == ("r2-", {})

    results = Results(environment)
    for view, method in VIEWS.items():  # r1's rows are superseded, and no view counts them
        stored = [
            row for id in results.experiments() for row in results.of_method(method, id["experiment_id"])
        ]
        found = spark.table(f"iceberg.exp.{view}")
        assert found.count() == len(stored)
        assert found.columns == [name for name, _ in TABLES[RESULTS].columns]
    assert spark.table("iceberg.exp.analysis_results_ab").where("p_value is not null").count() > 0

    store_unit_days(environment, "exp_c", "r1")  # at once, while a cache would still hold the table
    assert spark.table("iceberg.exp.unit_days").count() == counted["unit_days"] + 2


def test_a_jvm_that_died_leaves_no_traceback_of_py4j_in_the_log() -> None:
    from exp_platform.spark.session import _not_of_py4j

    def record(path: str) -> logging.LogRecord:
        return logging.LogRecord("root", logging.ERROR, path, 1, "Exception while sending command.", (), None)

    assert not _not_of_py4j(record("/site-packages/py4j/java_gateway.py"))
    assert not _not_of_py4j(record("/site-packages/py4j/clientserver.py"))
    assert _not_of_py4j(record("/include/exp_platform/stages/execute.py"))
