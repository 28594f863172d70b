"""Whether the tables know what this experiment's runs have decided; those of a backup that came back may not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError
from exp_platform.results.reader import StoredDecision


def refuse_older(environment: Environment, experiment_id: str, stored: Sequence[StoredDecision]) -> None:
    """Raise ConfigError where the newest run that has decided is newer than any of the stored decisions.

    What was read, edited and final since would be forgotten, and a test be taken twice. A run's folder holds decision.json
    only after its commits, and ids of runs sort by time.
    """
    known = max((decision.run_id for decision in stored), default="")
    decided = (environment.runs_dir / experiment_id).glob("*/decision.json")
    newer = [path.parent for path in decided if path.parent.name > known]
    for folder in sorted(newer, reverse=True):
        if _environment_of(folder) != environment.name:  # a laptop's runs beside those on a cluster's tables
            continue
        raise ConfigError(
            f"{experiment_id}: run {folder.name} has decided, and the tables do not know of it: an older catalog seems to be in "
            "use. `exp repair --forward` brings the tables up to what lies in the warehouse; what they do not remember, "
            "such as a test that was taken, would count as never done. To go on without it all the same, force the run"
        )


def _environment_of(run: Path) -> str | None:
    try:
        return str(json.loads((run / "run.json").read_text())["environment"])
    except (OSError, ValueError, KeyError):  # being removed
        return None
