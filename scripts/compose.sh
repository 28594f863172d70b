#!/usr/bin/env bash
# Docker compose on this project's file: `docker compose` where it is installed, else docker-compose 1.29.
# Says what is missing, and what to do about it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf '%s\n' "$@" >&2; exit 1; }

[ -f .env ] && [ -d .secrets ] || fail "There is no .env or no .secrets for the stack: run \`make env\` first."
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null 2>&1; then
    compose=(docker-compose)
else
    fail "Docker compose is needed and was not found: https://docs.docker.com/compose/install"
fi
docker info >/dev/null 2>&1 || fail "No Docker engine answers: start it, or see \`docker info\`." \
    "Without one, \`make demo\` and \`make airflow\` run the platform on this machine alone."
exec "${compose[@]}" "$@"
