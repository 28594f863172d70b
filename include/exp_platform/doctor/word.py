"""Whether those who are to be told when something changes can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from exp_platform.config.environment import Environment, project_root
from exp_platform.config.loading import load_all
from exp_platform.doctor.finding import Finding, ok, warning
from exp_platform.errors import bounded

_MODULE = "exp_platform.orchestration.named_notifiers"  # which knows Airflow, as this room does not
_SECONDS = 120.0  # in which Airflow is imported on a busy machine


def notifiers(environment: Environment) -> Iterator[Finding]:
    """Whether the notifiers that specs and environment name are installed here, and their connections known to Airflow."""
    named = [one for experiment in load_all().experiments.values() for one in experiment.notify or ()]
    if not named and not environment.notify:
        return
    with tempfile.TemporaryDirectory() as nobodys:
        own = project_root() / ".airflow"
        home = os.environ.get("AIRFLOW_HOME") or (str(own) if own.is_dir() else nobodys)
        try:
            asked = subprocess.run(
                [sys.executable, "-m", _MODULE],
                env=os.environ | {"AIRFLOW_HOME": home},
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=True,
            )
            wrong = json.loads(asked.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            said = getattr(error, "stderr", None) or str(error)
            why = bounded(" ".join(str(said).split()[-40:]))
            yield warning(
                "notifiers",
                f"Airflow does not say whether they work: {why}",
                "see what keeps it from starting",
            )
            return
    for found, remedy in wrong:
        yield warning("notifiers", found, remedy)
    if not wrong:
        yield ok(
            "notifiers",
            "all that are named are installed, and their connections are known as far as can be seen from here",
        )
