"""Runner 1: stages -> Airflow DAG. The only place that builds operators."""
