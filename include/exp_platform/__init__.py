"""An A/B experimentation platform on Apache Airflow, Apache Spark and Apache Iceberg."""

__version__ = "0.1.0"
