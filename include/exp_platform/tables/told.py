"""Which events were told of an experiment and held when it was looked last: a small file each, `<runs_dir>/.told/<experiment_id>`.

Of an event that some have missed it says who heard it. It is written by who holds the experiment's lease, so that no two tasks tell at once. Where it is lost, what holds is told once more.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.json_file import write_json

Key = tuple[str, str]  # kind and subject of an event

log = logging.getLogger(__name__)

_FOLDER = ".told"  # no experiment's id begins with a point


def told_of(environment: Environment, experiment_id: str) -> frozenset[Key]:
    """Kind and subject of each of these events; none where nothing was told, or the file cannot be read."""
    return frozenset(_read(environment, experiment_id))


def heard_of(environment: Environment, experiment_id: str) -> dict[Key, frozenset[str]]:
    """Of the events that not everybody heard who should have: by whom they were heard."""
    return {key: names for key, names in _read(environment, experiment_id).items() if names is not None}


def note_told(
    environment: Environment,
    experiment_id: str,
    told: frozenset[Key],
    heard: Mapping[Key, frozenset[str]] | None = None,
) -> None:
    """Remember these in place of those before; `heard`: of those that some have missed, who heard them. Raises OSError."""
    some = heard or {}
    lines = [[*key, sorted(some[key])] if key in some else list(key) for key in sorted(told)]
    write_json(_file(environment, experiment_id), lines)


def forget_told(environment: Environment, experiment_id: str) -> None:
    """Forget what was told of an experiment that is deleted."""
    _file(environment, experiment_id).unlink(missing_ok=True)


def _read(environment: Environment, experiment_id: str) -> dict[Key, frozenset[str] | None]:
    """Each event, and who heard it where some have missed it."""
    path = _file(environment, experiment_id)
    try:
        found = [
            (str(kind), str(about), *names) for kind, about, *names in json.loads(path.read_text("utf-8"))
        ]
        return {(kind, about): frozenset(names[0]) if names else None for kind, about, *names in found}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        log.warning("what was told of %s cannot be read, so it is told again: %s", experiment_id, error)
        return {}


def _file(environment: Environment, experiment_id: str) -> Path:
    return environment.runs_dir / _FOLDER / experiment_id
