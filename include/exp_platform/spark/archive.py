"""Build the class-data-sharing archives that make Spark start fast: `python -m exp_platform.spark.archive`.

A training run does once what stages do, in a scratch folder, and its JVMs write the classes they loaded when they
exit. Run by `make setup`; again after a change of Java, pyspark or the jars.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exp_platform.config.environment import jars_dir, load_environment
from exp_platform.errors import ExpPlatformError
from exp_platform.escaping import terminal
from exp_platform.spark.submit import (
    DRIVER_ARCHIVE,
    LAUNCHER_ARCHIVE,
    QUICK_START,
    submit_environment,
    submit_properties,
)

_TRAINING = Path(__file__).with_name("training.py")


def build_archives() -> None:
    """Replace both archives; raises ExpPlatformError with Spark's own words when the training run fails."""
    folder = jars_dir()
    for name in (DRIVER_ARCHIVE, LAUNCHER_ARCHIVE):
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EXP_STATE_DIR"] = scratch
        os.environ.pop("SPARK_LAUNCHER_OPTS", None)
        os.environ["SPARK_DIST_CLASSPATH"] = ""  # an archive fits a longer class path, not a shorter one
        properties = submit_properties(load_environment(), session=True)
        _submit(properties, driver=f'"-XX:ArchiveClassesAtExit={folder / DRIVER_ARCHIVE}"')
        _submit(properties, launcher=f"-XX:ArchiveClassesAtExit={folder / LAUNCHER_ARCHIVE}")


def _submit(properties: Path, driver: str = "", launcher: str = "") -> None:
    environment = os.environ | submit_environment()
    environment["SPARK_LAUNCHER_OPTS"] = f"{QUICK_START} {launcher}"
    command = [f"{environment['SPARK_HOME']}/bin/spark-submit", "--master", "local[2]"]
    if driver:
        text = properties.read_text("utf-8")
        key = "spark.driver.extraJavaOptions="
        training = properties.with_name("training.properties")
        training.write_text(text.replace(key, f"{key}{driver} "), "utf-8")
        command += ["--properties-file", str(training), str(_TRAINING)]
    else:
        command += ["--properties-file", str(properties), "--version"]
    result = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise ExpPlatformError(f"the training run failed:\n{result.stdout}\n{result.stderr}")


def main() -> None:
    """Build the archives and say what they weigh."""
    started = time.monotonic()
    build_archives()
    for name in (LAUNCHER_ARCHIVE, DRIVER_ARCHIVE):
        archive = jars_dir() / name
        if not archive.is_file():
            # Not an error: Spark works without, only slower to start.
            print(terminal(f"{name}: this Java wrote none; Spark will start more slowly"), file=sys.stderr)
            continue
        print(terminal(f"{archive.name}: {archive.stat().st_size / 2**20:.0f} MB"))
    print(terminal(f"built in {time.monotonic() - started:.0f} s"))


if __name__ == "__main__":
    main()
