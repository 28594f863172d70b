#!/usr/bin/env bash
# Make .venv with everything the platform needs. Usage: setup.sh [dev|cluster|engines|benchmarks]: `dev` adds what the tests need,
# `cluster` the jars of Spark sessions on a cluster, `engines` to `dev` the databases of the cluster's tests and FAB, `benchmarks` those of
# benchmarks/compare.py.
# Each step leaves a stamp of what it was made from and is skipped while that is unchanged.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jars=${EXP_JARS_DIR:-$PWD/jars}

say() { printf '==> %s\n' "$*"; }
fail() { printf '%s\n' "$@" >&2; exit 1; }
checksum() { "$python" -c 'import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }
current() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
stamped() { cat >"$1.new" && mv "$1.new" "$1"; }  # renamed: a copy of the folder by hard links keeps its own

# --- Python and Java: the two things a machine must bring
python=
for candidate in .venv/bin/python "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed and none was found." \
    "  Debian, Ubuntu: apt-get install python3 python3-venv     macOS: brew install python@3.13" \
    "  Or name one: PYTHON=/path/to/python3.12 make setup"

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
java_version=$("$java" -version 2>&1 </dev/null) || java_version=
java_major=$(sed -nE '1,3s/.*version "([0-9]+).*/\1/p' <<<"$java_version" | head -n 1)
case $java_major in
    17 | 21) ;;
    *) fail "Java 17 or 21 is needed (Spark runs on it); found: ${java_major:-none}." \
        "  Debian, Ubuntu: apt-get install openjdk-17-jre-headless     macOS: brew install openjdk@17" \
        "  Where several are installed, set JAVA_HOME to the right one." ;;
esac

# --- packages
if [ ! -x .venv/bin/python ]; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv .venv || fail "The environment could not be made. On Debian and Ubuntu: apt-get install python3-venv"
fi
python=.venv/bin/python

locks=(requirements.txt)
stamp=.venv/.stamp-run
[ "${1:-}" != dev ] || { locks+=(requirements-dev.txt); stamp=.venv/.stamp-dev; }
[ "${1:-}" != engines ] || { locks+=(requirements-dev.txt tests/cluster/requirements.txt docker/requirements.txt); stamp=.venv/.stamp-engines; }
[ "${1:-}" != benchmarks ] || { locks+=(requirements-dev.txt benchmarks/requirements.txt); stamp=.venv/.stamp-benchmarks; }
made_from() { cat requirements-build.txt pyproject.toml "$@" | checksum | tr -d '\n'; }
wanted=$(made_from "${locks[@]}")
# A file whose hash is not in the lock is refused, also one of those that build a package.
install=(.venv/bin/uv pip install --quiet --python .venv/bin/python --build-constraint requirements-build.txt)
refused() {
    fail "The packages were not installed as the lock says; see above." \
        "  A hash mismatch: the index or a cache gave another file than was locked. \`.venv/bin/uv cache clean\`, then again;" \
        "  if it stays, do not install it, and ask whoever runs the index. No answer: the index is not reachable."
}
if ! current "$stamp" "$wanted"; then
    if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-build.txt)" ]; then
        .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
            -r <(sed -n '/^uv==/,/[^\\]$/p' requirements-build.txt) </dev/null || refused
    fi
    say "installing packages (about 1.4 GB; a minute on a fast line)"
    # Compiled now, so that no stage compiles at its start.
    "${install[@]}" --compile-bytecode --require-hashes "${locks[@]/#/-r}" </dev/null || refused
    "${install[@]}" --no-deps --editable . </dev/null || refused
    printf '%s' "$wanted" | stamped "$stamp"
    [ "$stamp" = .venv/.stamp-run ] || made_from requirements.txt | stamped .venv/.stamp-run
fi
"$python" -m compileall -q dags include jobs plugins  # what is compiled already is passed over

# --- jars: those whose checksums are in jars/SHA256SUMS, whoever put them there
complete() {  # folder, part: whether all of it is there; a jar that is another file ends the set-up
    "$python" include/exp_platform/spark/jar_checksums.py check "$1" "$2" && return 0
    [ $? -eq 2 ] || exit 1
    return 1
}
if ! complete "$jars" embedded; then
    say "fetching the jars that Spark needs (60 MB)"
    scripts/fetch-jars.sh embedded
fi
if [ "${1:-}" = cluster ] || [ -d "$jars/cluster" ]; then
    if ! complete "$jars/cluster" cluster; then
        say "fetching the jars of a cluster (70 MB)"
        scripts/fetch-jars.sh cluster
    fi
fi

# --- archives that halve Spark's start
mkdir -p "$jars/conf"
wanted=$({ printf '%s\n' "$java_version" "$PWD"; ls -l "$jars"/*.jar; grep -h '^pyspark' requirements.txt
    cat include/exp_platform/spark/{archive,training}.py; } | checksum)
if ! current "$jars/.stamp-archives" "$wanted"; then
    say "preparing Spark to start fast (half a minute)"
    if $python -m exp_platform.spark.archive </dev/null >/dev/null; then
        printf '%s' "$wanted" | stamped "$jars/.stamp-archives"
    else
        echo "Spark will start more slowly; everything else works." >&2
    fi
fi
