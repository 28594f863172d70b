"""The keys that a log of many experiments has, where none is the one that the spec names."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import replace

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.canonical_text import text
from exp_platform.stages.reading import Problem
from exp_platform.stages.sources import pieces_of, readings
from exp_platform.stages.wanted import EVERYTHING

_MOST = 5  # keys that are told
_PIECES = 100  # that are looked into


def no_such_key(experiment: Experiment, environment: Environment, rows: int) -> list[Problem]:
    """The problem of a log whose rows are all of other experiments, with the keys there are; none where `rows` have the key."""
    source = experiment.source
    if rows or not isinstance(source, EventsSource) or source.key is None:
        return []
    keys = _keys(experiment, environment)
    if not keys:
        return []
    near = difflib.get_close_matches(source.key, keys, _MOST, cutoff=0.0)
    listed = ", ".join(f"{key!r} ({keys[key]:,} rows)" for key in near)
    more = f" and {len(keys) - len(near):,} more" if len(keys) > len(near) else ""
    column = source.exposures.columns["experiment"]
    told = (
        f"{experiment.spec_file}: source.key: no row of exposures has {source.key!r} in its column {column}; there are {listed}{more}: "
        "correct the key, or deliver the experiment's exposures"
    )
    return [Problem("source", told)]


def _keys(experiment: Experiment, environment: Environment) -> Counter[str]:
    (exposures,) = (one for one in readings(experiment, environment) if one.table == "exposures")
    columns = tuple(pair for pair in exposures.columns if pair[0] == "experiment")
    pieces = [
        piece
        for piece in pieces_of(
            experiment, replace(exposures, columns=columns, wanted=EVERYTHING), environment
        )
        if not isinstance(piece, Problem)
    ]
    keys: Counter[str] = Counter()
    for piece in pieces[:_PIECES]:
        for part in piece.parts():
            found = text(part.rows["experiment"]).drop_null().value_counts()
            keys.update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))
    return keys
