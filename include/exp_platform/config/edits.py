"""Edits of a spec in the middle of its experiment: what differs from the one that was published before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from datetime import date
from typing import Any

from exp_platform.config.experiment import Experiment
from exp_platform.config.hashing import NOT_HASHED
from exp_platform.config.readings import Change, Edit

NOT_TOLD = frozenset(NOT_HASHED) - {"hypothesis"}  # a hypothesis that is written after a look is none
_FOLLOWS = "source.series"  # from what metrics measure, by which it is told


def edits_since(
    published: dict[str, Any] | None, experiment: Experiment, on: date, *, upgraded: bool = False
) -> tuple[Edit, ...]:
    """All edits of a spec: those that the row of `experiment_registry` knows, and the one that a run of day `on` brings.

    Fields that the platform has got since that row was written are no edit. `upgraded`: other code wrote that row.
    """
    if published is None:
        return ()
    known = tuple(Edit.from_json(edit) for edit in json.loads(published["edits"] or "[]"))
    now = json.loads(json.dumps(asdict(experiment), default=str))
    changes = tuple(
        change
        for change in _differences(json.loads(published["spec"]), now, experiment)
        if change.key.split(".")[0] not in NOT_TOLD and not change.key.startswith(_FOLLOWS)
    )
    return (*known, Edit(on, changes, upgraded)) if changes else known


def _differences(before: Any, now: Any, typed: Any, key: str = "") -> Iterator[Change]:
    """The leaves in which two plain values differ; `typed` is what `now` was made from.

    Of a dataclass only fields that both have are compared, of a list of things with an id those of the same id.
    """
    before, now, typed = _by_id(before), _by_id(now), _by_id(typed)
    if not (isinstance(before, dict) and isinstance(now, dict)):
        if before != now:
            yield Change(key, before, now)
    elif is_dataclass(typed):
        for name in (field.name for field in fields(typed) if field.name in before):
            yield from _differences(before[name], now[name], getattr(typed, name), _below(key, name))
    else:
        for name in dict.fromkeys((*before, *now)):
            of = typed.get(name) if isinstance(typed, dict) else None
            yield from _differences(before.get(name), now.get(name), of, _below(key, name))


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _by_id(values: Any) -> Any:
    """A list of things with an id, or else a name, as a mapping by it; anything else as it is."""
    if not isinstance(values, (list, tuple)) or not values:
        return values
    for key in ("id", "name"):
        ids = [value.get(key) if isinstance(value, dict) else getattr(value, key, None) for value in values]
        if all(isinstance(id, str) for id in ids):
            return dict(zip(ids, values, strict=True))
    return values
