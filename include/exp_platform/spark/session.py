"""The one way to get a SparkSession: under spark-submit, in plain Python and beside a session that already runs."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from exp_platform.config.environment import CATALOG, Environment, load_environment
from exp_platform.errors import ConfigError, ExpPlatformError
from exp_platform.spark.submit import session_properties, submit_environment, submit_properties
from exp_platform.without_pandas import allow_pandas

log = logging.getLogger(__name__)

_EXECUTOR_SECONDS = 1800  # jobs queue here while others have all cores
_EXECUTOR_POLL = 0.2
_CATALOG_CLASS = "org.apache.iceberg.spark.SparkCatalog"
_CATALOG_PREFIX = f"spark.sql.catalog.{CATALOG}"


def build_spark_session(app_name: str, environment: Environment | None = None) -> SparkSession:
    """A session with the Iceberg catalog `iceberg` of the environment, in UTC.

    Under spark-submit the properties it was given win over the environment's. In plain Python this starts the JVM.
    Where a session already runs, it is returned, or a new session in the same JVM if that one belongs to another
    environment. Raises ConfigError when Iceberg is not on the driver's class path.
    """
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it logs every connection it closes
    logging.getLogger().addFilter(_not_of_py4j)  # the traceback of a JVM that died: its error is told anyway
    allow_pandas()
    environment = environment or load_environment()
    environment.prepare()
    properties = session_properties(environment)
    running = SparkSession.getActiveSession()
    if running is not None:
        return _beside(running, properties)
    with _gateway_environment(environment):
        SparkContext._ensure_initialized()  # starts the JVM, unless spark-submit did
        conf = SparkConf()
        submitted = "PYSPARK_GATEWAY_PORT" in os.environ
        builder = SparkSession.builder.appName(app_name).config("spark.api.mode", "classic")
        if not conf.contains("spark.master"):
            builder = builder.master(environment.spark.master)
        for key, value in properties.items():
            if not (submitted and conf.contains(key)):
                builder = builder.config(key, value)
        _check_class_path()
        return builder.getOrCreate()


def workers(app_name: str, environment: Environment) -> SparkContext:
    """The context that hands tasks out, as soon as one executor is there to take them.

    Raises ExpPlatformError where none comes in half an hour: without workers Spark itself would wait for ever.
    """
    context = build_spark_session(app_name, environment).sparkContext
    if environment.spark.local or context.getConf().get("spark.dynamicAllocation.enabled") == "true":
        return context
    began = time.monotonic()
    java = context._jsc
    assert java is not None
    while java.sc().getExecutorMemoryStatus().size() == 1:  # the driver itself
        waited = time.monotonic() - began
        if waited > _EXECUTOR_SECONDS:
            raise ExpPlatformError(
                f"{context.master} gave no executor to this job in {waited / 60:.0f} min: start a worker, or give "
                f"its workers more free cores and memory than spark.cores.max and spark.executor.memory ask for"
            )
        if waited % 30 < _EXECUTOR_POLL:
            log.warning("waiting for an executor of %s, %.0f s so far", context.master, waited)
        time.sleep(_EXECUTOR_POLL)
    return context


def _not_of_py4j(record: logging.LogRecord) -> bool:
    """Whether a record of the root logger is another's; py4j logs there itself."""
    return record.module not in ("java_gateway", "clientserver")


def _beside(running: SparkSession, properties: dict[str, str]) -> SparkSession:
    catalog = {key: value for key, value in properties.items() if key.startswith(_CATALOG_PREFIX)}
    present = {key: value for key, value in running.conf.getAll.items() if key.startswith(_CATALOG_PREFIX)}
    if present == catalog:
        return running
    session = running.newSession()  # shares the JVM; its catalogs, settings and views are its own
    for key in present.keys() - catalog.keys():
        session.conf.unset(key)  # such as another environment's object store
    for key, value in properties.items():
        if session.conf.isModifiable(key) or key in catalog:
            session.conf.set(key, value)
    assert session._jvm is not None
    session._jvm.SparkSession.setActiveSession(session._jsparkSession)
    return session


@contextmanager
def _gateway_environment(environment: Environment) -> Iterator[None]:
    """Environment variables with which pyspark starts its JVM; under spark-submit it runs and nothing is changed."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        yield
        return
    properties = submit_properties(environment, session=True)
    arguments = ["--master", environment.spark.master, "--properties-file", str(properties), "pyspark-shell"]
    wanted = submit_environment() | {"PYSPARK_SUBMIT_ARGS": shlex.join(arguments)}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _check_class_path() -> None:
    jvm = SparkContext._jvm
    assert jvm is not None
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(_CATALOG_CLASS)
    except Py4JJavaError as error:
        raise ConfigError(
            "Iceberg is not on the driver's class path. Give spark-submit the file that "
            "exp_platform.spark.submit.submit_properties writes: --properties-file <state root>/spark/"
            "<environment>-session.properties; or run the script with python, which does that by itself."
        ) from error
