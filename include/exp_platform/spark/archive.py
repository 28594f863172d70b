"""Build the class-data-sharing archives that make Spark start fast: `python -m exp_platform.spark.archive`.

Training runs do once what stages do, in a scratch folder, and their JVMs write the classes they loaded when they
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
    ARCHIVES,
    BARE_ARCHIVE,
    DRIVER_ARCHIVE,
    LAUNCHER_ARCHIVE,
    QUICK_START,
    submit_environment,
    submit_properties,
)

_TRAINING = Path(__file__).with_name("training.py")


def build_archives() -> None:
    """Replace all archives; raises ExpPlatformError with Spark's own words when a training run fails."""
    folder = jars_dir()
    for name in ARCHIVES:
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EXP_STATE_DIR"] = scratch
        os.environ.pop("SPARK_LAUNCHER_OPTS", None)
        os.environ["SPARK_DIST_CLASSPATH"] = ""  # an archive fits a longer class path, not a shorter one
        environment = load_environment()
        bare = Path(scratch) / "stage.py"
        bare.write_text("print()")
        for script, archive, session in ((_TRAINING, DRIVER_ARCHIVE, True), (bare, BARE_ARCHIVE, False)):
            properties = submit_properties(environment, session=session)
            _submit(_training(properties, folder / archive), str(script))
        _submit(properties, "--version", launcher=f"-XX:ArchiveClassesAtExit={folder / LAUNCHER_ARCHIVE}")


def _training(properties: Path, archive: Path) -> Path:
    """The properties of a driver that writes its archive when it ends."""
    key, training = "spark.driver.extraJavaOptions=", properties.with_name("training.properties")
    option = f'{key}"-XX:ArchiveClassesAtExit={archive}" '
    training.write_text(properties.read_text("utf-8").replace(key, option), "utf-8")
    return training


def _submit(properties: Path, what: str, launcher: str = "") -> None:
    environment = os.environ | submit_environment()
    environment["SPARK_LAUNCHER_OPTS"] = f"{QUICK_START} {launcher}"
    command = [f"{environment['SPARK_HOME']}/bin/spark-submit", "--master", "local[2]"]
    result = subprocess.run(
        [*command, "--properties-file", str(properties), what],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ExpPlatformError(f"the training run failed:\n{result.stdout}\n{result.stderr}")


def main() -> None:
    """Build the archives and say what they weigh."""
    started = time.monotonic()
    build_archives()
    for name in ARCHIVES:
        archive = jars_dir() / name
        if not archive.is_file():
            # Not an error: Spark works without, only slower to start.
            print(terminal(f"{name}: this Java wrote none; Spark will start more slowly"), file=sys.stderr)
            continue
        print(terminal(f"{archive.name}: {archive.stat().st_size / 2**20:.0f} MB"))
    print(terminal(f"built in {time.monotonic() - started:.0f} s"))


if __name__ == "__main__":
    main()
