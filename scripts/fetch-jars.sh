#!/usr/bin/env bash
# Fetch the jars of jars/ivy.xml by the Ivy that pyspark ships. Usage: fetch-jars.sh embedded|cluster
# `embedded` come into jars/; `cluster` fetches both, the cluster's own into jars/cluster/.
set -euo pipefail
conf=${1:-embedded}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jars=${EXP_JARS_DIR:-$root/jars}
spark_home=$("$root/.venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')
ivy=("$spark_home"/jars/ivy-*.jar)
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

options=()
# Java has trust stores of its own; Debian keeps one that follows the system's certificates.
[ -f /etc/ssl/certs/java/cacerts ] && options+=(-Djavax.net.ssl.trustStore=/etc/ssl/certs/java/cacerts)

log=$(mktemp)
trap 'rm -f "$log"' EXIT

fetch() {  # the jars of a configuration, into a folder
    mkdir -p "$2"
    if ! "$java" ${options[@]+"${options[@]}"} -jar "${ivy[0]}" -ivy "$root/jars/ivy.xml" -confs "$1" -types jar bundle \
            -retrieve "$2/[artifact]-[revision](-[classifier]).[ext]" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        echo "The jars could not be fetched from Maven Central (repo1.maven.org); see the log above." >&2
        exit 1
    fi
    ls "$2"/*.jar
}

fetch embedded "$jars"
if [ "$conf" = cluster ]; then fetch cluster "$jars/cluster"; fi
