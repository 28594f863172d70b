#!/bin/bash
# Airflow's API server with the user admin. Airflow wants to write the file of passwords too, so it gets one of its own.
set -euo pipefail
umask 077
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=$AIRFLOW_HOME/passwords.json
printf '{"admin": "%s"}' "$(</run/secrets/airflow_admin_password)" >"$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
exec airflow api-server
