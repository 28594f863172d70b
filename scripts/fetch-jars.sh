#!/usr/bin/env bash
# Fetch the jars of jars/ivy.xml by the Ivy that pyspark ships. Usage: fetch-jars.sh embedded|cluster|lock
# `embedded` come into jars/, those of `cluster` into jars/cluster/; `lock` fetches both and writes jars/SHA256SUMS anew.
# A jar that is not the file of jars/SHA256SUMS is refused, and what was there before stays.
set -euo pipefail
part=${1:-embedded}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jars=${EXP_JARS_DIR:-$root/jars}
python=$root/.venv/bin/python
checksums=$root/include/exp_platform/spark/jar_checksums.py
spark_home=$("$python" -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')
ivy=("$spark_home"/jars/ivy-*.jar)
cache=${IVY_CACHE:-$HOME/.ivy2/cache}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

options=()
# Java has trust stores of its own; Debian keeps one that follows the system's certificates.
[ -f /etc/ssl/certs/java/cacerts ] && options+=(-Djavax.net.ssl.trustStore=/etc/ssl/certs/java/cacerts)

mkdir -p "$jars"
arrived=$(mktemp -d "$jars/.arrived.XXXXXX")
trap 'rm -rf "$arrived"' EXIT

retrieve() {  # the jars of a configuration, into a folder
    if ! "$java" ${options[@]+"${options[@]}"} -jar "${ivy[0]}" -ivy "$root/jars/ivy.xml" -cache "$cache" -confs "$1" \
            -types jar bundle -retrieve "$2/[artifact]-[revision](-[classifier]).[ext]" >"$arrived/log" 2>&1 </dev/null; then
        cat "$arrived/log" >&2
        echo "The jars could not be fetched from Maven Central (repo1.maven.org); see the log above." >&2
        exit 1
    fi
}

if [ "$part" = lock ]; then
    retrieve embedded "$arrived"
    retrieve cluster "$arrived/cluster"
    "$python" "$checksums" lock "$arrived"
    exit
fi
folder=$jars
[ "$part" = embedded ] || folder=$jars/$part
retrieve "$part" "$arrived"
names=$(cd "$arrived" && ls ./*.jar)
"$python" "$checksums" check "$arrived" "$part" && code=0 || code=$?
if [ "$code" -ne 0 ]; then
    for name in $names; do  # or the next try would take the same file from the cache
        [ -f "$arrived/$name" ] || find "$cache" -name "$(basename "$name")" -delete
    done
    [ "$code" -ne 2 ] || printf 'jars/ivy.xml names other jars than jars/SHA256SUMS: make lock-jars. Fetched were:\n%s\n' "$names" >&2
    exit 1
fi
mkdir -p "$folder"
rm -f "$folder"/*.jar  # of other versions
mv "$arrived"/*.jar "$folder"
