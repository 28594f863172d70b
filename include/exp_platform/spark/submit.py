"""What makes a submitted stage start fast: the properties and the environment of its spark-submit.

Two things cost a JVM seconds before it does any work, and both are avoided here: loading and verifying some ten
thousand classes (mapped instead from a class-data-sharing archive that `make setup` builds) and compiling with the
optimising compiler what runs once (C1 only). An archive is tied to a JVM and a class path; `-Xshare:auto` ignores one
that does not fit, so it can only ever cost time.

Imports no pyspark: the orchestration uses it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path

from exp_platform.config.environment import SECRET, Environment, jars_dir, project_root
from exp_platform.errors import ConfigError

LAUNCHER_ARCHIVE = "cds-launcher.jsa"  # of the JVM that spark-submit starts to work out the real command
DRIVER_ARCHIVE = "cds-driver.jsa"  # of a driver with a session
BARE_ARCHIVE = "cds-bare.jsa"  # of one without, which maps a seventh as much
ARCHIVES = (LAUNCHER_ARCHIVE, DRIVER_ARCHIVE, BARE_ARCHIVE)

_REQUIRED_JARS = ("iceberg-spark-runtime-*.jar",)
# Quick to start, slower at its peak: right for seconds of work. For hours of it, override
# `spark.driver.extraJavaOptions` in the environment's `spark.properties`.
QUICK_START = "-XX:TieredStopAtLevel=1"
_NO_SESSION_MEMORY = "512m"


def spark_home() -> Path:
    """The folder of the installed pyspark, found without importing it."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("pyspark is not installed in this Python; run `make setup`")
    return Path(spec.submodule_search_locations[0])


def submit_environment() -> dict[str, str]:
    """Environment variables of a spark-submit process; those already set win, except the Python to use.

    Raises ConfigError where JAVA_HOME names no Java.
    """
    _require_java()
    launcher = [QUICK_START, *_archive_options(LAUNCHER_ARCHIVE)]
    defaults = {
        "SPARK_HOME": str(spark_home()),
        # A folder without spark-defaults or spark-env; an empty one may stand on an archive's class path.
        "SPARK_CONF_DIR": str(_empty_conf_dir()),
        # spark-class splits this at spaces and knows no quotes: a path with a space cannot be given.
        "SPARK_LAUNCHER_OPTS": " ".join(option for option in launcher if " " not in option),
        # Last on the class path, so that the archive of a driver without them fits one with them.
        "SPARK_DIST_CLASSPATH": os.pathsep.join(map(str, _cluster_jars())),
        # It looks for them in what each of some 270 installed packages declares; whoever has one sets this to "".
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }
    return {key: os.environ.get(key, value) for key, value in defaults.items()} | {
        "PYSPARK_PYTHON": sys.executable
    }


def submit_properties(environment: Environment, *, session: bool) -> Path:
    """Write the file for `spark-submit --properties-file` and return its path, under the state root.

    `session=True` is for a stage that may create a SparkSession (ingest, aggregates); `session=False` for one
    that is plain Python under spark-submit, which pays only for a small JVM.
    """
    environment.prepare()
    folder = environment.state_dir / "spark"
    path = folder / f"{environment.name}-{'session' if session else 'python'}.properties"
    properties = driver_properties(environment, session=session)
    if session:
        properties |= session_properties(environment)
    # Secrets stay in the process's environment, from which `build_spark_session` takes them.
    properties = {key: value for key, value in properties.items() if not re.search(SECRET, key)}
    text = "".join(f"{key}={_escaped(value)}\n" for key, value in sorted(properties.items()))
    if not path.is_file() or path.read_text("utf-8") != text:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as temporary:
            temporary.write(text)
        os.replace(temporary.name, path)  # another submit never reads half a file
    return path


def driver_properties(environment: Environment, *, session: bool = True) -> dict[str, str]:
    """What the driver's JVM must know when it starts: class path, memory, options, Python."""
    jars = _jars()
    options = [
        QUICK_START,
        "-Duser.timezone=UTC",
        _quoted(f"-Dlog4j2.configurationFile={project_root() / 'configs' / 'spark' / 'log4j2.properties'}"),
        *map(_quoted, _archive_options(DRIVER_ARCHIVE if session else BARE_ARCHIVE)),
    ]
    return {
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.driver.memory": environment.spark.driver_memory if session else _NO_SESSION_MEMORY,
        "spark.pyspark.python": sys.executable,
        "spark.pyspark.driver.python": sys.executable,
        "spark.ui.enabled": "false",
    }


def session_properties(environment: Environment) -> dict[str, str]:
    """Spark properties of every session: the Iceberg catalog, UTC, and sizes that fit local mode.

    Those whose names match SECRET are for a session only, never for a file.
    """
    cores = os.cpu_count() or 2
    local = environment.spark.local
    properties = {
        **environment.spark_properties(),
        **environment.spark.authentication,
        **environment.spark.event_log,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(environment.state_dir / "spark" / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.redaction.regex": SECRET,
    }
    if local:
        properties |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    else:  # a worker has the same folders: it runs the same image, or is the same machine
        properties["spark.executor.extraClassPath"] = os.pathsep.join(map(str, [*_jars(), *_cluster_jars()]))
    if local or environment.spark.shuffle_partitions is not None:
        properties["spark.sql.shuffle.partitions"] = str(environment.spark.shuffle_partitions or cores)
    return properties | environment.spark.properties


def _require_java() -> None:
    """Spark's own script says only that a file is missing, in two lines of its own."""
    home = os.environ.get("JAVA_HOME")
    if home and not os.access(Path(home, "bin", "java"), os.X_OK):
        raise ConfigError(
            f"JAVA_HOME is {home}, which has no bin/java that can be run: set it to the folder of a Java 17 or 21, or unset it "
            "where `java` is on the PATH"
        )


def _jars() -> list[Path]:
    folder = jars_dir()
    for pattern in _REQUIRED_JARS:
        if not any(folder.glob(pattern)):
            raise ConfigError(f"{folder} has no {pattern}; run `make setup`, which fetches it")
    return sorted(folder.glob("*.jar"))


def _cluster_jars() -> list[Path]:
    """What only a cluster needs (`make jars-cluster`): large, so away from what every driver has."""
    return sorted((jars_dir() / "cluster").glob("*.jar"))


def _archive_options(name: str) -> list[str]:
    archive = jars_dir() / name
    if not archive.is_file():
        return []
    return ["-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off", f"-XX:SharedArchiveFile={archive}"]


def _empty_conf_dir() -> Path:
    folder = jars_dir() / "conf"
    if not folder.is_dir():
        folder.mkdir(parents=True)
    return folder


def _quoted(option: str) -> str:
    return f'"{option}"' if " " in option else option


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\")
