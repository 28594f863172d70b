"""The hash of what an experiment computes: equal specs, equal hash, in any process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from exp_platform.config.experiment import Experiment

# Words for people, who is told, and the timetable change no number.
NOT_HASHED = (
    "owner",
    "description",
    "hypothesis",
    "tags",
    "schedule",
    "spec_file",
    "source_file",
    "retention_days",
    "provenance",
    "units",
    "notify",
)


def config_hash(experiment: Experiment) -> str:
    """SHA-256 (64 hex digits) of the experiment's canonical JSON, without the fields of `NOT_HASHED`."""
    content = {key: value for key, value in asdict(experiment).items() if key not in NOT_HASHED}
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """The one JSON text of fields of an experiment."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), default=_plain, allow_nan=False)


def _plain(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in an experiment has no canonical form")
