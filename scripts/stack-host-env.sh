# shellcheck shell=bash
# Lets `exp` on this machine work on the compose stack's tables: `. scripts/stack-host-env.sh`.
# Spark then runs here, with the jars of `make jars-cluster`; data and catalog are the stack's.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -f "$_root/.env" ] && [ -d "$_root/.secrets" ]; then
    . "$_root/.env"
    unset EXP_CATALOG_PASSWORD AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE  # they would win
    export EXP_ENVIRONMENT=cluster
    export EXP_CATALOG_HOST=127.0.0.1:${POSTGRES_PORT:-5432}
    export EXP_CATALOG_PASSWORD_FILE=$_root/.secrets/catalog_password
    export AWS_SHARED_CREDENTIALS_FILE=$_root/.secrets/aws_credentials
    export AWS_ENDPOINT_URL=http://127.0.0.1:${MINIO_PORT:-9000}
    export AWS_REGION=us-east-1
else
    echo "there is no .env or no .secrets: run \`make env\`, and \`make stack\` to start the stack" >&2
fi
unset _root
