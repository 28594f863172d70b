"""What a scheduled run waits for before it starts: data on S3, or the marker of their delivery."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

from exp_platform.config.experiment import EventsSource, Experiment, UnitsSource
from exp_platform.config.loading import expand_location
from exp_platform.errors import ConfigError

WAIT_FOR = "schedule.wait_for"

_S3 = re.compile(r"s3[an]?://")


@dataclass(frozen=True)
class Awaited:
    """Objects on S3: `location` is a file, a folder or a glob, and `what` says in the spec's words what lies there."""

    what: str  # exposures, outcomes, units; or schedule.wait_for
    location: str  # variables filled in
    format: str | None  # of data; None: any object is welcome, and the location may hold {as_of}

    def at(self, as_of: date) -> Awaited:
        """The same of one day."""
        if self.format is not None:
            return self
        return replace(self, location=self.location.replace("{as_of}", as_of.isoformat()))


def awaited(experiment: Experiment) -> tuple[Awaited, ...]:
    """What `schedule.wait_for` names, else the source's own files, as far as they lie on S3; nothing `after` an asset.

    A location whose variable is not set is left out: `ingest` says so at once. Reads the environment's variables.
    """
    if experiment.schedule.after is not None:
        return ()
    wanted = experiment.schedule.wait_for
    if wanted is None:
        return files_on_s3(experiment)
    return _on_s3(experiment, ((WAIT_FOR, location, None) for location in wanted))


def files_on_s3(experiment: Experiment) -> tuple[Awaited, ...]:
    """The source's tables that are files on S3."""
    source = experiment.source
    tables = {}
    if isinstance(source, EventsSource):
        tables = {"exposures": source.exposures, "outcomes": source.outcomes}
    elif isinstance(source, UnitsSource):
        tables = {"units": source.table}
    return _on_s3(
        experiment, ((name, t.location, t.format) for name, t in tables.items() if t.format != "iceberg")
    )


def _on_s3(experiment: Experiment, places: Iterable[tuple[str, str, str | None]]) -> tuple[Awaited, ...]:
    found = []
    for what, location, kind in places:
        with suppress(ConfigError):  # a variable that is not set
            found.append(Awaited(what, expand_location(location, experiment.spec_file), kind))
    return tuple(item for item in found if _S3.match(item.location))
