"""Which events were told of an experiment and held when it was looked last: a small file each, `<runs_dir>/.told/<experiment_id>`.

It is written by who holds the experiment's lease, so that no two tasks tell at once. Where it is lost, what holds is told once more.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.json_file import write_json

log = logging.getLogger(__name__)

_FOLDER = ".told"  # no experiment's id begins with a point


def told_of(environment: Environment, experiment_id: str) -> frozenset[tuple[str, str]]:
    """Kind and subject of each of these events; none where nothing was told, or the file cannot be read."""
    path = _file(environment, experiment_id)
    try:
        return frozenset((str(kind), str(about)) for kind, about in json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, TypeError) as error:
        log.warning("what was told of %s cannot be read, so it is told again: %s", experiment_id, error)
        return frozenset()


def note_told(environment: Environment, experiment_id: str, told: frozenset[tuple[str, str]]) -> None:
    """Remember these in place of those before. Raises OSError."""
    write_json(_file(environment, experiment_id), sorted(told))


def forget_told(environment: Environment, experiment_id: str) -> None:
    """Forget what was told of an experiment that is deleted."""
    _file(environment, experiment_id).unlink(missing_ok=True)


def _file(environment: Environment, experiment_id: str) -> Path:
    return environment.runs_dir / _FOLDER / experiment_id
