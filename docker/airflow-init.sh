#!/bin/bash
# Airflow's database and pools, and who logs in: the user admin, with the password of the secret whatever it was before. The
# roles Viewer and User get the one permission that the pages of experiments need beside those on DAGs. May be done again.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/../scripts" && pwd)
"$scripts/airflow-init.sh"

password=$(<"${AIRFLOW_ADMIN_PASSWORD_FILE:-/run/secrets/airflow_admin_password}")
twice() { printf '%s\n%s\n' "$password" "$password"; }  # Airflow asks for it twice, so it is on no command line
twice | airflow users create --role Admin --username admin --email admin@example.com --firstname Admin --lastname Admin
twice | airflow users reset-password --username admin
airflow roles add-perms Viewer User --action can_read --resource Plugins
