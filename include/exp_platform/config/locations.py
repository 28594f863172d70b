"""Where a spec says that data lie: variables filled in where they may be, and told without their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from exp_platform.config.environment import load_environment, project_root
from exp_platform.config.experiment import Experiment
from exp_platform.config.faults import Fault, Key, Words, render_key
from exp_platform.config.source_rules import NOTHING_DECLARED, OWN, SourceRules
from exp_platform.config.sources import EventsSource, Source, TableSource, UnitsSource
from exp_platform.config.variables import filled, named, through_last
from exp_platform.errors import ConfigError


class Written(NamedTuple):
    """A location as a spec has it: under which key, and of which table; `format` None: a marker's."""

    key: Key
    table: str
    location: str
    format: str | None


def written(experiment: Experiment) -> Iterator[Written]:
    """The locations of a spec's files, then of its markers. Iceberg tables have names instead."""
    source = experiment.source
    for name, key, table in tables_of(source):
        if table.format not in ("iceberg", "sql"):
            yield Written((*key, "path"), name, table.location, table.format)
    for number, location in enumerate(experiment.schedule.wait_for or ()):
        yield Written(("schedule", "wait_for", number), "schedule.wait_for", location, None)


def tables_of(source: Source) -> Iterator[tuple[str, Key, TableSource]]:
    """The input tables of a source: what each is called (a fact by its own name), and the key that it is written under."""
    if isinstance(source, UnitsSource):
        yield "units", ("source",), source.table
    elif isinstance(source, EventsSource):
        yield "exposures", ("source", "exposures"), source.exposures
        if source.outcomes is not None:
            yield "outcomes", ("source", "outcomes"), source.outcomes
        for fact in source.facts:
            yield fact.name, ("source", "facts", fact.name), fact.table
        if source.identities is not None:
            yield "identities", ("source", "identities"), source.identities


def always_read(experiment: Experiment) -> Iterator[Key]:
    """Where a spec names a table of a database without a watermark: nothing tells whether it changed, so every run reads it."""
    for _, key, table in tables_of(experiment.source):
        if table.query is not None and table.query.watermark is None:
            yield key


def current_rules(environment: str | None = None) -> SourceRules:
    """The rules of an environment (default: the one that is set); without declarations where it cannot be read."""
    try:
        return load_environment(environment).source_rules
    except ConfigError:  # whoever needs more of it tells what is wrong with it
        return NOTHING_DECLARED


def variable_faults(experiment: Experiment, rules: Callable[[], SourceRules]) -> Iterator[Fault]:
    """Variables that a location may not name. Their values are not looked at, and the rules only where there are any."""
    for key, _, location, _ in written(experiment):
        for name in named(location):
            if not rules().may_name(name):
                yield Fault(key, Words(f"${{{name}}}"), _not_allowed(name, rules()))


def place_of(experiment: Experiment, key: Key) -> str:
    """Where a key is written: in the spec or, of a source that it uses, in the library's file."""
    if experiment.source_file and key[:1] == ("source",):
        return f"{experiment.source_file}: {render_key(key[1:])}"
    return f"{experiment.spec_file}: {render_key(key)}"


def expand_location(location: str, spec_file: str, place: str, rules: SourceRules) -> str:
    """Where files are: `${VARIABLES}` filled in, relative paths taken from the spec file's folder; URIs stay.

    `place` is where the location is written, for messages.

    Raises ConfigError for a variable that is not set or may not be named, and for a place outside of the roots. It tells the
    location as it is written.
    """
    for name in named(location):
        if not rules.may_name(name):
            raise ConfigError(f"{place}: found ${{{name}}}; {_not_allowed(name, rules)}")
    found = _absolute(filled(location, place), spec_file)
    if not rules.allow(found):
        raise ConfigError(f"{place}: {location} {outside(rules)}")
    return found


def outside(rules: SourceRules) -> str:
    """What is said of a place outside of the roots."""
    return (
        f"lies outside of the source_roots in {rules.file} (links and `..` are followed): deliver the data under one of them, or "
        "have a root added"
    )


def without_values(text: str, experiment: Experiment) -> str:
    """The text, such as a library's message that quotes a path, with the experiment's locations as they are written."""
    for _, _, location, _ in written(experiment):
        start = through_last(location)
        try:
            value = _absolute(filled(start, ""), experiment.spec_file)
        except ConfigError:  # not set: nothing of it can stand anywhere
            continue
        for said, instead in (
            (value, start),
            (value.partition("://")[2], start.partition("://")[2] or start),
        ):
            if start and "/" in said:
                place = rf"(?<![\w./-]){re.escape(said.rstrip('/'))}(?![\w-])"
                text = re.sub(place, instead.replace("\\", r"\\"), text)
    return text


def _absolute(location: str, spec_file: str) -> str:
    if "://" in location:
        return location
    return str((project_root() / spec_file).parent / Path(location).expanduser())


def _not_allowed(name: str, rules: SourceRules) -> str:
    if name in rules.secrets:
        return f"{rules.file} says that it holds a secret, so no location may name it"
    remedy = f"or have {name} added to `variables` in {rules.file}"
    return f"allowed are variables that begin with {OWN} and do not sound like a secret: name such a one, {remedy}"
