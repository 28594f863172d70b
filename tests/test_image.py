"""The image of Airflow and Spark: what it copies before a step is what the step needs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEP = "python -m exp_platform.spark.archive"


def copied_before(step: str) -> Iterator[tuple[str, str]]:
    """Source and target of the image's COPY lines of the stage that runs `step`, up to it."""
    lines = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    until = next(number for number, line in enumerate(lines) if step in line)
    begins = max(number for number, line in enumerate(lines[:until]) if line.startswith("FROM "))
    for line in lines[begins:until]:
        if line.startswith("COPY ") and "--from" not in line:
            *sources, target = shlex.split(line)[1:]
            yield from ((source, target) for source in sources)


def test_the_start_up_archives_are_made_from_the_code_that_is_there_by_then(tmp_path: Path) -> None:
    """They are a layer of their own, so that a change of other code does not make them anew."""
    for source, target in copied_before(STEP):
        path, to = ROOT / source, tmp_path / target
        to = to / path.name if target.endswith("/") else to
        if path.is_dir():
            shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    done = subprocess.run(
        [sys.executable, "-c", "import exp_platform.spark.archive as it; print(it.__file__)"],
        env={"PYTHONPATH": str(tmp_path / "include"), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
