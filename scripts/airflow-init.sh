#!/usr/bin/env bash
# Make or migrate Airflow's database and import the pools. Skipped while neither has changed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/airflow-env.sh"

stamp=$AIRFLOW_HOME/.stamp-init
wanted="$(grep '^apache-airflow==' "$root/requirements.txt") ${AIRFLOW__DATABASE__SQL_ALCHEMY_CONN:-sqlite} $(cksum <"$root/configs/pools.json")"
if [ -n "${AIRFLOW__DATABASE__SQL_ALCHEMY_CONN:-}" ] || [ -f "$AIRFLOW_HOME/airflow.db" ]; then
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0
fi

echo "==> preparing Airflow's database in $AIRFLOW_HOME"
mkdir -p "$AIRFLOW_HOME"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { airflow db migrate && airflow pools import "$root/configs/pools.json"; } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    echo "Airflow's database could not be prepared; see the log above." >&2
    exit 1
fi
printf '%s' "$wanted" >"$stamp"
