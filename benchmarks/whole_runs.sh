#!/usr/bin/env bash
# Wall and CPU seconds of whole runs, as docs/10_operations/measured.md reports them. CPU is the machine's (/proc/stat), because Spark's
# processes outlive the one that started them: nothing else may run. Linux; takes about two minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
EXP_STATE_DIR=$(mktemp -d)
export EXP_STATE_DIR
trap 'rm -rf "$EXP_STATE_DIR"' EXIT
scripts/airflow-init.sh >/dev/null
. scripts/airflow-env.sh

busy() { awk '/^cpu /{print ($2 + $3 + $4 + $7 + $8)}' /proc/stat; } # user, nice, system, irq, softirq in clock ticks

measure() {
    local name=$1 began cpu
    shift
    began=$(date +%s.%N) cpu=$(busy)
    "$@" >"$EXP_STATE_DIR/log" 2>&1 || { tail -20 "$EXP_STATE_DIR/log"; exit 1; }
    awk -v n="$name" -v w="$(date +%s.%N)" -v b="$began" -v c="$(busy)" -v d="$cpu" -v hz="$(getconf CLK_TCK)" \
        'BEGIN {printf "%-48s %6.1f s wall %6.1f s CPU\n", n, w - b, (c - d) / hz}'
}

one_session() {
    .venv/bin/python -m exp_platform.pipelines.run_end_to_end --config "$1" --experiment-id "$2" --generate-synth --force
}

measure "30,000 users, the DAG by airflow dags test" airflow dags test exp__exp_checkout_button_001 -c '{"force": true}'
measure "30,000 users, one session" one_session configs/dev.yaml exp_checkout_button_001
measure "1,000,000 users, one session" one_session benchmarks/million.yaml exp_million
