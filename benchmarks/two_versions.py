"""The DAG of 30,000 users by two versions of the platform, in turn: `python benchmarks/two_versions.py OLD NEW [PAIRS]`.

OLD and NEW are folders with a version each, set up by `make setup`. Wall seconds, and CPU seconds of the processes that the run
started and waited for: other load counts for both, and ratios of neighbours for little. Linux, macOS.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

EXPERIMENT = "exp_checkout_button_001"
IN_AIRFLOW = 'cd "$1" && . scripts/airflow-env.sh && shift && exec "$@"'
OWN = ("AIRFLOW", "EXP_", "PYTHON", "SPARK", "PYSPARK", "VIRTUAL_ENV")  # of this process's own version


def in_airflow(version: Path, state: Path, *command: str) -> None:
    """Run a command in a version's environment of Airflow. Raises RuntimeError with the end of its output where it fails."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    theirs |= {"EXP_STATE_DIR": str(state / "data"), "AIRFLOW_HOME": str(state / "airflow")}
    done = subprocess.run(
        ["bash", "-c", IN_AIRFLOW, "bash", str(version), *command],
        env=theirs,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{version}: {command}\n{(done.stdout + done.stderr)[-3000:]}")


def one_run(version: Path, state: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a run of the DAG."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    in_airflow(version, state, "airflow", "dags", "test", f"exp__{EXPERIMENT}", "-c", '{"force": true}')
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line per pair, and the medians of the ratios."""
    versions = [Path(argument).resolve() for argument in sys.argv[1:3]]
    pairs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        states = [Path(scratch, name) for name in ("old", "new")]
        for version, state in zip(versions, states, strict=True):
            state.mkdir()
            in_airflow(version, state, "scripts/airflow-init.sh")
        for number in range(pairs):
            order = (0, 1) if number % 2 == 0 else (1, 0)  # neither is always the first
            took = {which: one_run(versions[which], states[which]) for which in order}
            (old_wall, old_cpu), (new_wall, new_cpu) = took[0], took[1]
            ratios.append((new_wall / old_wall, new_cpu / old_cpu))
            print(
                f"wall {old_wall:.1f} -> {new_wall:.1f} s ({ratios[-1][0]:.2f})   "
                f"CPU {old_cpu:.1f} -> {new_cpu:.1f} s ({ratios[-1][1]:.2f})",
                flush=True,
            )
    wall, cpu = (median(ratio) for ratio in zip(*ratios, strict=True))
    print(f"medians of the ratios: wall {wall:.2f}, CPU {cpu:.2f}")


if __name__ == "__main__":
    main()
