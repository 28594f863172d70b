#!/usr/bin/env bash
# Make the compose stack's secrets, a file each in .secrets, and .env with its ports. Never touches what is there:
# Postgres and MinIO keep what they were started with first. Secrets that an older .env holds move into files.
#
# The folder is its owner's alone (700). The files can be read by the owner's group too (640), which the containers
# join: compose mounts them as they are, and nothing in a container runs as their owner.
set -euo pipefail
root=$(cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}" && pwd)
folder=$root/.secrets
settings=$root/.env

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
name() { printf '%s-%s' "$1" "$(random 4)"; }
fernet_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }
older_or() { # what an older .env has by this name, else what the command says: older_or NAME COMMAND...
    local found=
    [ ! -e "$settings" ] || found=$(sed -n "s/^$1=//p" "$settings")
    if [ -n "$found" ]; then printf '%s' "$found"; else "${@:2}"; fi
}
credentials() { # as every AWS client reads them; this account may use the buckets of the platform and nothing else
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
        "$(older_or AWS_ACCESS_KEY_ID name exp-platform)" "$(older_or AWS_SECRET_ACCESS_KEY random 24)"
}
made=0
keep() { # write what the command says into the file, unless there is one: keep FILE COMMAND...
    local file=$folder/$1
    if [ ! -e "$file" ]; then
        "${@:2}" >"$file.$$.partial"
        mv "$file.$$.partial" "$file"  # whole, or not there
        made=$((made + 1))
    fi
    chmod 640 "$file"
}

umask 077
mkdir -p "$folder"
chmod 700 "$folder"
keep airflow_admin_password older_or AIRFLOW_ADMIN_PASSWORD random 12
keep airflow_api_secret_key older_or AIRFLOW_API_SECRET_KEY random 32
keep airflow_db_password older_or AIRFLOW_DB_PASSWORD random 24
keep airflow_fernet_key older_or AIRFLOW_FERNET_KEY fernet_key
keep airflow_jwt_secret older_or AIRFLOW_JWT_SECRET random 64
keep aws_credentials credentials
keep catalog_password older_or EXP_CATALOG_PASSWORD random 24
keep minio_root_password older_or MINIO_ROOT_PASSWORD random 24
keep minio_root_user older_or MINIO_ROOT_USER name root
keep spark_secret random 32

if [ ! -e "$settings" ]; then
    cat >"$settings" <<END
# Settings of the compose stack on this machine, made by \`make env\`. Its secrets are in .secrets.
# Ports on 127.0.0.1, where the usual ones are taken:
# AIRFLOW_PORT=8080
# SPARK_UI_PORT=8081
# SPARK_HISTORY_PORT=18080
# MINIO_PORT=9000
# MINIO_CONSOLE_PORT=9001
# POSTGRES_PORT=5432
END
fi
sed -E '/^(AIRFLOW_(ADMIN_PASSWORD|DB_PASSWORD|FERNET_KEY|JWT_SECRET|API_SECRET_KEY)|EXP_CATALOG_PASSWORD|MINIO_ROOT_(USER|PASSWORD)|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY))=/d' \
    "$settings" >"$settings.$$.partial"
grep -q '^STACK_GID=' "$settings.$$.partial" || cat >>"$settings.$$.partial" <<END
# The group of the secrets' files. Under a rootless engine, where this user is root: 0
STACK_GID=$(id -g)
END
mv "$settings.$$.partial" "$settings"
case $made in
    0) echo "$folder is complete and stays as it is" ;;
    *) echo "wrote $made secrets for this machine's stack into $folder" ;;
esac
