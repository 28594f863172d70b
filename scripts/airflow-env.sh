# shellcheck shell=bash
# The environment of every Airflow process here: `. scripts/airflow-env.sh`. What is already set stays.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

umask "$(printf %04o $(($(umask) | 027)))"  # logs, databases and the password file are for this user and its group alone
export AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS="${AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS:-0o750}"
export AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS="${AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS:-0o640}"

unset PYTHONDONTWRITEBYTECODE  # with it each of a run's processes would compile all that it imports anew
export PATH="$_root/.venv/bin:$PATH"  # spark-submit and its Python are found by PATH
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$_root/.venv/bin/python}"
export SPARK_CONF_DIR="${SPARK_CONF_DIR:-$_root/jars/conf}"  # empty: no machine's own spark-defaults

export AIRFLOW_HOME="${AIRFLOW_HOME:-$_root/.airflow}"
export AIRFLOW__CORE__DAGS_FOLDER="${AIRFLOW__CORE__DAGS_FOLDER:-$_root/dags}"
export AIRFLOW__CORE__PLUGINS_FOLDER="${AIRFLOW__CORE__PLUGINS_FOLDER:-$_root/plugins}"
export AIRFLOW__CORE__LOAD_EXAMPLES="${AIRFLOW__CORE__LOAD_EXAMPLES:-False}"
export AIRFLOW__CORE__PARALLELISM="${AIRFLOW__CORE__PARALLELISM:-4}"
# A scheduler looks at so many running runs at once, those of backfills last: 20 that wait for data would stop all backfills.
export AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE="${AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE:-500}"
export AIRFLOW__API__HOST="${AIRFLOW__API__HOST:-127.0.0.1}"  # the default is every interface
# Every port follows from one, so that two Airflows may run on a machine. With 8080 they are Airflow's own defaults.
_port=${EXP_AIRFLOW_PORT:-${AIRFLOW__API__PORT:-8080}}
if ! [[ $_port =~ ^[1-9][0-9]{3,4}$ ]] || ((_port < 1024 || _port > 64000)); then
    echo "EXP_AIRFLOW_PORT: found '$_port', allowed is a port from 1024 to 64000, such as 8090" >&2
    return 1
fi
for _setting in \
    AIRFLOW__API__PORT="$_port" \
    AIRFLOW__API__BASE_URL="http://127.0.0.1:$_port" \
    AIRFLOW__CORE__EXECUTION_API_SERVER_URL="http://127.0.0.1:$_port/execution/" \
    AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT="$((_port + 713))" \
    AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT="$((_port + 714))" \
    AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT="$((_port + 894))"; do
    _name=${_setting%%=*}
    # EXP_AIRFLOW_PORT wins over what this script has set here for another port.
    if [ -n "${EXP_AIRFLOW_PORT:-}" ] || [ -z "${!_name:-}" ]; then export "${_setting?}"; fi
done
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="${AIRFLOW__USAGE_DATA_COLLECTION__ENABLED:-False}"
# Where OpenTelemetry is on: each task is a process of its own, whose counters begin at nothing; and one of which a collector
# that is down holds up no longer than this many seconds.
export OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="${OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE:-delta}"
export OTEL_EXPORTER_OTLP_TIMEOUT="${OTEL_EXPORTER_OTLP_TIMEOUT:-2}"
# A new YAML file shows as a DAG within a minute.
export AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL="${AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL:-20}"
export AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="${AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL:-20}"
# All DAGs come from one file: hundreds of specs take more than Airflow's 30 and 50 seconds where the machine is busy, and then all are gone.
export AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT="${AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT:-180}"
export AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT="${AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT:-240}"

# Where stages are submitted to; another cluster is another connection.
if [ -z "${AIRFLOW_CONN_SPARK_DEFAULT:-}" ]; then
    export AIRFLOW_CONN_SPARK_DEFAULT='{"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}}'
fi
unset _root _port _setting _name
