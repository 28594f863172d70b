# shellcheck shell=bash
# The environment of every Airflow process here: `. scripts/airflow-env.sh`. What is already set stays.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

export PATH="$_root/.venv/bin:$PATH"  # spark-submit and its Python are found by PATH
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$_root/.venv/bin/python}"
export SPARK_CONF_DIR="${SPARK_CONF_DIR:-$_root/jars/conf}"  # empty: no machine's own spark-defaults

export AIRFLOW_HOME="${AIRFLOW_HOME:-$_root/.airflow}"
export AIRFLOW__CORE__DAGS_FOLDER="${AIRFLOW__CORE__DAGS_FOLDER:-$_root/dags}"
export AIRFLOW__CORE__PLUGINS_FOLDER="${AIRFLOW__CORE__PLUGINS_FOLDER:-$_root/plugins}"
export AIRFLOW__CORE__LOAD_EXAMPLES="${AIRFLOW__CORE__LOAD_EXAMPLES:-False}"
export AIRFLOW__CORE__PARALLELISM="${AIRFLOW__CORE__PARALLELISM:-4}"
export AIRFLOW__API__HOST="${AIRFLOW__API__HOST:-127.0.0.1}"  # the default is every interface
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="${AIRFLOW__USAGE_DATA_COLLECTION__ENABLED:-False}"
# A new YAML file shows as a DAG within a minute.
export AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL="${AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL:-20}"
export AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="${AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL:-20}"

# Where stages are submitted to; another cluster is another connection.
if [ -z "${AIRFLOW_CONN_SPARK_DEFAULT:-}" ]; then
    export AIRFLOW_CONN_SPARK_DEFAULT='{"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}}'
fi
unset _root
