#!/usr/bin/env bash
# Write .env with new secrets for the compose stack. Never touches one that is there: its secrets are in the volumes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
file=${1:-$root/.env}

if [ -e "$file" ]; then
    echo "$file is there and stays as it is"
    exit 0
fi

secret() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
fernet_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }

umask 077
cat >"$file" <<END
# Secrets of the compose stack on this machine, made by \`make env\`. Never commit this file.
# Postgres and MinIO keep what they were started with first; after \`make stack-destroy\` these may be made anew.
AIRFLOW_ADMIN_PASSWORD=$(secret 12)
AIRFLOW_DB_PASSWORD=$(secret 24)
AIRFLOW_FERNET_KEY=$(fernet_key)
AIRFLOW_JWT_SECRET=$(secret 64)
AIRFLOW_API_SECRET_KEY=$(secret 32)
EXP_CATALOG_PASSWORD=$(secret 24)
MINIO_ROOT_USER=root-$(secret 4)
MINIO_ROOT_PASSWORD=$(secret 24)
# The account of the platform, which may use the buckets raw, warehouse, memos and logs and nothing else.
AWS_ACCESS_KEY_ID=exp-platform-$(secret 4)
AWS_SECRET_ACCESS_KEY=$(secret 24)
# Ports on 127.0.0.1, where the usual ones are taken:
# AIRFLOW_PORT=8080
# SPARK_UI_PORT=8081
# MINIO_PORT=9000
# MINIO_CONSOLE_PORT=9001
# POSTGRES_PORT=5432
END
echo "wrote $file: secrets for this machine's stack"
