#!/bin/bash
# One of Spark's daemons: spark.sh master.Master|worker.Worker ARGUMENTS. It answers only who knows the stack's secret;
# Spark hands that to executors by this variable, too.
set -euo pipefail
_SPARK_AUTH_SECRET=$(</run/secrets/spark_secret)
export _SPARK_AUTH_SECRET
export SPARK_DAEMON_JAVA_OPTS=-Dspark.authenticate=true
exec spark-class "org.apache.spark.deploy.$1" "${@:2}"
