"""What the last publication of an experiment had, for new rows to be compared with: by the registry, of the same source."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import TypeAdapter

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.measured import Counts, Measured

EVENTS = "events"
_EXPERIMENT = TypeAdapter(Experiment)
_OF_METRICS = ("facts", "series")  # keys of a source that follow from metrics, and have no exposures


def published_rows(experiment: Experiment, registered: Mapping[str, Any] | None) -> int | None:
    """Exposures of the last publication; None where there is none, or it had another source."""
    if registered is None or not _same_source(experiment, registered):
        return None
    return int(registered["exposures_rows"])


def known(measured: Measured) -> dict[str, Counts]:
    """What a publication leaves for the next one to be compared with: users and outcomes by day, conversions by event and arm."""
    return measured.by_day() | {EVENTS: measured.by_event()}


def published_days(experiment: Experiment, registered: Mapping[str, Any] | None) -> dict[str, Counts]:
    """What was `known` of the last publication, as far as rows of the same source and spec would be of the same days now.

    Nothing where it had another source, window or variants, and of an identity map, by which users become one; no outcomes
    where other ones follow from other metrics.
    """
    if registered is None or not registered["days"] or not _same_source(experiment, registered):
        return {}
    if isinstance(experiment.source, EventsSource) and experiment.source.identities is not None:
        return {}
    stored, now = json.loads(registered["spec"]), _EXPERIMENT.dump_python(experiment, mode="json")
    window, was = now["window"], stored["window"]
    if window | {"end": was["end"]} != was or window["end"] < was["end"]:
        return {}
    if {v["id"] for v in stored["variants"]} - {v["id"] for v in now["variants"]}:
        return {}
    found: dict[str, Counts] = json.loads(registered["days"])
    if _said(stored["source"], ()) != _said(now["source"], ()):
        return {"users": found["users"]}
    # Where metrics' windows are shorter now, no rows are of later days
    last = experiment.last_as_of.isoformat()
    return found | {"outcomes": {day: n for day, n in found["outcomes"].items() if day <= last}}


def _same_source(experiment: Experiment, registered: Mapping[str, Any]) -> bool:
    """Whether rows were read of the same places; what follows from metrics has no exposures."""
    source = _EXPERIMENT.dump_python(experiment, mode="json")["source"]
    stored = json.loads(registered["spec"])["source"]
    return bool(_said(stored, _OF_METRICS) == _said(source, _OF_METRICS))


def _said(source: Any, but: Collection[str]) -> Any:
    """A source as JSON without some keys, and without what is null or empty: what an older version did not know of was not said of any source."""
    if isinstance(source, dict):
        return {
            key: _said(value, but)
            for key, value in source.items()
            if value not in (None, {}, []) and key not in but
        }
    return source
