#!/usr/bin/env bash
# Whether Airflow's port is free: standalone would start half of itself, and say so in the middle of its log.
set -euo pipefail
host=${AIRFLOW__API__HOST:-127.0.0.1}
port=${AIRFLOW__API__PORT:-8080}
[ "$host" = 0.0.0.0 ] && host=127.0.0.1
if (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; then
    echo "port $port of $host is in use, perhaps by another Airflow: stop what listens there, or choose another," >&2
    echo "from which all of this Airflow's ports follow, such as: EXP_AIRFLOW_PORT=$((port + 10)) make airflow" >&2
    exit 1
fi
