"""Run by a test in a process of its own: all tables by `build_spark_session`, through S3FileIO and the JDBC catalog."""

from __future__ import annotations

import json
from pathlib import Path

from exp_platform.spark.session import build_spark_session
from exp_platform.tables.schemas import TABLES

OUTPUT = "read_by_spark.json"


def main() -> None:
    spark = build_spark_session("read by Spark")
    assert spark.sparkContext.master.startswith("spark://")
    tables = {name: spark.table(f"iceberg.exp.{name}") for name in TABLES}
    files = [spark.sql(f"SELECT file_path FROM iceberg.exp.{name}.files").first() for name in TABLES]
    found = {
        "rows": {
            name: sorted(repr(row) for row in table.toArrow().to_pylist()) for name, table in tables.items()
        },
        "locations": ["/".join(file[0].split("/")[:4]) for file in files if file is not None],
    }
    Path(OUTPUT).write_text(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main()
