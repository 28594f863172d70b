"""The training run of the archives: does once, on a few rows, what Spark stages do. Submitted by `archive`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from exp_platform.spark.session import build_spark_session

if TYPE_CHECKING:
    import pyarrow as pa


def _same(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    yield from batches


def train(spark: SparkSession) -> None:
    """Parquet in and out, Iceberg create, overwrite, append, read, Arrow in workers, joins, windows, views."""
    raw = f"{spark.conf.get('spark.sql.warehouse.dir')}/raw"
    events = spark.range(2000).select(
        F.concat(F.lit("u"), F.col("id") % 500).alias("user_id"),
        F.when(F.col("id") % 2 == 0, "control").otherwise("treatment").alias("variant_id"),
        F.timestamp_seconds(F.lit(1_700_000_000) + F.col("id")).alias("at"),
        F.rand(1).alias("value"),
        F.create_map(F.lit("device"), F.lit("phone")).alias("attributes"),
    )
    events.write.mode("overwrite").parquet(raw)
    read = spark.read.parquet(raw).withColumn("bucket", F.pmod(F.xxhash64("user_id"), F.lit(2)).cast("int"))
    staged = read.repartition("bucket").mapInArrow(_same, read.schema)
    staged.write.mode("overwrite").partitionBy("bucket").parquet(raw + "_staged")

    spark.sql("CREATE NAMESPACE IF NOT EXISTS iceberg.training")
    spark.sql(
        "CREATE TABLE iceberg.training.events (experiment_id string, user_id string, variant_id string, "
        "at timestamp, value double, attributes map<string,string>, bucket int) USING iceberg "
        "PARTITIONED BY (experiment_id, bucket) TBLPROPERTIES ('format-version'='2')"
    )
    rows = spark.read.parquet(raw + "_staged").select(
        F.lit("a").alias("experiment_id"), "user_id", "variant_id", "at", "value", "attributes", "bucket"
    )
    for _ in range(2):
        rows.writeTo("iceberg.training.events").overwrite(F.col("experiment_id") == "a")
    table = spark.table("iceberg.training.events")
    first = table.groupBy("user_id").agg(
        F.min_by("variant_id", "at").alias("variant_id"), F.min("at").alias("at")
    )
    users = first.alias("e").join(table.alias("o"), "user_id").where(F.col("o.at") >= F.col("e.at"))
    users.groupBy("e.variant_id").agg(F.count("*"), F.avg("o.value"), F.var_samp("o.value")).collect()
    table.mapInArrow(_same, table.schema).count()
    table.limit(5).toPandas()
    spark.createDataFrame([("a", 1, 0.5)], "experiment_id string, n int, mean double").writeTo(
        "iceberg.training.results"
    ).using("iceberg").createOrReplace()
    spark.sql("SELECT snapshot_id FROM iceberg.training.events.snapshots").collect()
    spark.sql("CREATE OR REPLACE VIEW iceberg.training.view AS SELECT * FROM iceberg.training.results")
    spark.table("iceberg.training.view").count()


if __name__ == "__main__":
    session = build_spark_session("training")
    train(session)
    session.stop()
