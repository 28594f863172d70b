#!/bin/bash
# Whether Airflow says that one of its processes is alive: healthy.sh dag_processor.
# Its own command for this (`airflow jobs check`) takes seconds of CPU each time.
set -euo pipefail
curl --fail --silent --max-time 8 http://airflow-apiserver:8080/api/v2/monitor/health |
    grep --quiet "\"$1\":{\"status\":\"healthy\""
