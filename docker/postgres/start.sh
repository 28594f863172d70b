#!/bin/bash
# Runs Postgres on $PGDATA, made first where the volume is empty: aside, and renamed when complete, so that a start
# that was cut short leaves nothing that a later one would take for whole.
set -euo pipefail

if [ ! -d "$PGDATA" ]; then
    new=$PGDATA.new
    rm -rf "$new"
    mkdir -p "$(dirname "$PGDATA")"
    initdb --pgdata="$new" --encoding=UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=scram-sha-256
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
    pg_ctl --pgdata="$new" --options="-c listen_addresses=''" --wait start
    psql --quiet --dbname=postgres --file=/opt/postgres/databases.sql
    pg_ctl --pgdata="$new" --mode=fast --wait stop
    mv "$new" "$PGDATA"
fi
exec postgres -c listen_addresses='*' -c shared_buffers=64MB
