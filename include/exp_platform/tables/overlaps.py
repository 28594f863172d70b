"""How many users pairs of experiments share, as maintenance counted it last: one small file, `<runs_dir>/.overlaps.json`.

It holds counts and no id, nor anything made of one. Where it is lost, the next maintenance counts anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from exp_platform.config.environment import Environment
from exp_platform.json_file import write_whole

_FILE = ".overlaps.json"  # no experiment's id begins with a point


@dataclass(frozen=True)
class Counted:
    """An experiment whose users were compared with those of others."""

    users: int  # exposed within its window, each once
    files: str = ""  # tells what was read from anything else
    same_ids: str = (
        ""  # the fingerprint of the key of its pseudonyms: only equal ones can be compared; empty: plain ids
    )


@dataclass(frozen=True)
class Overlap:
    """Two experiments, the one whose id comes first first, and the users that both exposed."""

    first: str
    second: str
    users: int
    estimated: bool = False  # from a sample by hash, as one of both has more users than are held at once


@dataclass(frozen=True)
class Overlaps:
    """What was counted; `not_compared` says of the experiments that were left out why."""

    counted_at: datetime
    experiments: dict[str, Counted] = field(default_factory=dict)
    pairs: tuple[Overlap, ...] = ()
    not_compared: dict[str, str] = field(default_factory=dict)

    def without(self, experiment_id: str) -> Overlaps:
        """The same without one experiment."""
        return Overlaps(
            self.counted_at,
            {id: one for id, one in self.experiments.items() if id != experiment_id},
            tuple(pair for pair in self.pairs if experiment_id not in (pair.first, pair.second)),
            {id: why for id, why in self.not_compared.items() if id != experiment_id},
        )

    @property
    def by_pair(self) -> dict[tuple[str, str], Overlap]:
        """The pairs by both ids."""
        return {(pair.first, pair.second): pair for pair in self.pairs}


def counted_overlaps(environment: Environment) -> Overlaps | None:
    """What was counted last; None where nothing was, it cannot be read, or this process does not see the folder."""
    try:
        return _of_json(json.loads(_path(environment).read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def note_overlaps(environment: Environment, found: Overlaps) -> None:
    """Remember it in place of what was counted before. Raises OSError."""
    plain = {
        "counted_at": found.counted_at.isoformat(),
        "experiments": {id: asdict(one) for id, one in found.experiments.items()},
        "pairs": [astuple(pair) for pair in found.pairs],  # of 200 experiments they are 20,000
        "not_compared": found.not_compared,
    }
    write_whole(_path(environment), json.dumps(plain))


def forget_overlaps(environment: Environment, experiment_id: str) -> None:
    """Forget what was counted of an experiment that is deleted. Raises OSError."""
    found = counted_overlaps(environment)
    if found is not None and found.without(experiment_id) != found:
        note_overlaps(environment, found.without(experiment_id))


def _of_json(found: dict[str, Any]) -> Overlaps:
    return Overlaps(
        datetime.fromisoformat(found["counted_at"]),
        {str(id): Counted(**one) for id, one in found["experiments"].items()},
        tuple(Overlap(*pair) for pair in found["pairs"]),
        {str(id): str(why) for id, why in found["not_compared"].items()},
    )


def _path(environment: Environment) -> Path:
    return environment.runs_dir / _FILE
