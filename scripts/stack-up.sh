#!/usr/bin/env bash
# Build the images, start the stack, wait until every service is healthy, and say where it is.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
compose=$root/scripts/compose.sh
patience=${STACK_PATIENCE:-300}  # seconds

"$compose" build
began=$SECONDS
"$compose" up --detach

# Not `up --wait`, which docker-compose 1.29 does not know.
echo "==> waiting until every service is healthy"
while :; do
    waiting=$(docker inspect --format '{{.Name}}: {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' \
        $("$compose" ps --quiet) | sed 's|^/||' | grep --invert-match --extended-regexp 'healthy$|-init' || true)
    [ -n "$waiting" ] || break
    if [ $((SECONDS - began)) -gt "$patience" ]; then
        printf 'After %s s these are not healthy; see their logs by `scripts/compose.sh logs <service>`:\n%s\n' "$patience" "$waiting" >&2
        exit 1
    fi
    sleep 2
done
. "$root/.env"
cat <<END
==> healthy after $((SECONDS - began)) s
    Airflow         http://127.0.0.1:${AIRFLOW_PORT:-8080}   user admin, password in .secrets/airflow_admin_password
    Spark master    http://127.0.0.1:${SPARK_UI_PORT:-8081}   what ended: http://127.0.0.1:${SPARK_HISTORY_PORT:-18080}
    MinIO           http://127.0.0.1:${MINIO_CONSOLE_PORT:-9001}   user and password in .secrets/minio_root_*
    \`make stack-demo\` runs two experiments; \`. scripts/stack-host-env.sh\` lets \`exp\` on this machine read the results.
END
