#!/usr/bin/env bash
# Known vulnerabilities of the locked packages, by pip-audit. Usage: audit.sh [lock file]...
# Ends with 0: none is known; 1: some are, told by name; 3: no database answered, so nothing is known.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -gt 0 ] || set -- requirements.txt docker/requirements.txt deploy/image/requirements.txt
audit=${PIP_AUDIT:-.venv/bin/pip-audit}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ask() {  # a lock file: how many packages, then a line each vulnerability, by names and versions; nothing is resolved or installed
    rm -f "$work/said"
    "$audit" --requirement "$1" --require-hashes --disable-pip --progress-spinner off --format json --output "$work/said" \
        </dev/null >"$work/log" 2>&1 || true  # also ends with 1 where something is known
    [ -s "$work/said" ] || return 1
    .venv/bin/python - "$work/said" <<'END' 2>"$work/log"
import json, sys

packages = json.load(open(sys.argv[1]))["dependencies"]
passed_over = [one["skip_reason"] for one in packages if "skip_reason" in one]
if passed_over:
    sys.exit(f"{len(passed_over)} of {len(packages)} packages were passed over, such as: {passed_over[0]}")
print(len(packages))
for one in packages:
    for each in one["vulns"]:
        better = ", ".join(each["fix_versions"]) or "no version yet"
        print(f"{one['name']} {one['version']}: {', '.join([each['id'], *each['aliases']])}; mended in {better}")
END
}
nothing_known() {
    printf '%s\n' "$@" "  This says nothing about the packages, good or bad. The database is PyPI's own" \
        "  (https://pypi.org/pypi/<package>/<version>/json); try again from a machine that reaches it directly." >&2
    exit 3
}

# A mirror may answer with no vulnerability at all: this version has some, which every real database names.
printf 'jinja2==2.11.2 --hash=sha256:89aab215427ef59c34ad58735269eb58b1a5808103067e9bb9d5836c651b3bb0\n' >"$work/known.txt"
known=$(ask "$work/known.txt") || nothing_known "NOT AUDITED: no database answered: $(tail -n 1 "$work/log")"
[ "$known" != 1 ] || nothing_known "NOT AUDITED: what answered is no database of vulnerabilities; it knows none of jinja2 2.11.2."

found=0
for lock in "$@"; do
    said=$(ask "$lock") || nothing_known "NOT AUDITED: $lock: $(tail -n 1 "$work/log")"
    told=$(tail -n +2 <<<"$said")
    count=$(grep -c . <<<"$told" || true)
    echo "==> $lock: $(head -n 1 <<<"$said") packages, $count known vulnerabilities"
    [ "$count" = 0 ] || { found=1; printf '%s\n' "$told"; }
done
[ "$found" = 0 ] || { echo "Raise the versions (requirements.in, or \`make lock\`), then test." >&2; exit 1; }
