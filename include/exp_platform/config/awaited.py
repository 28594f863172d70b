"""What a scheduled run waits for before it starts: data on S3, or the marker of their delivery."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import expand_location, place_of, written
from exp_platform.config.source_rules import SourceRules
from exp_platform.errors import ConfigError

WAIT_FOR = "schedule.wait_for"

_S3 = re.compile(r"s3[an]?://")


@dataclass(frozen=True)
class Awaited:
    """Objects on S3: `location` is a file, a folder or a glob, and `what` says in the spec's words what lies there."""

    what: str  # exposures, outcomes, units; or schedule.wait_for
    location: str  # variables filled in
    format: str | None  # of data; None: any object is welcome, and the location may hold {as_of}
    written: str = ""  # the location as the spec has it

    @property
    def told(self) -> str:
        """The location for people: not what its variables hold."""
        return self.written or self.location

    def at(self, as_of: date) -> Awaited:
        """The same of one day."""
        if self.format is not None:
            return self
        location, written = (
            one.replace("{as_of}", as_of.isoformat()) for one in (self.location, self.written)
        )
        return replace(self, location=location, written=written)


def awaited(experiment: Experiment, rules: SourceRules) -> tuple[Awaited, ...]:
    """What `schedule.wait_for` names, else the source's own files, as far as they lie on S3; nothing `after` an asset.

    A location that names a variable that is not set, or that the rules refuse, is left out: `check` says so at once. Reads the
    environment's variables.
    """
    if experiment.schedule.after is not None:
        return ()
    if experiment.schedule.wait_for is None:
        return files_on_s3(experiment, rules)
    return _on_s3(experiment, rules, markers=True)


def files_on_s3(experiment: Experiment, rules: SourceRules) -> tuple[Awaited, ...]:
    """The source's tables that are files on S3."""
    return _on_s3(experiment, rules, markers=False)


def _on_s3(experiment: Experiment, rules: SourceRules, *, markers: bool) -> tuple[Awaited, ...]:
    found = []
    for key, what, location, kind in written(experiment):
        if (kind is None) is markers:
            with suppress(ConfigError):
                place = expand_location(location, experiment.spec_file, place_of(experiment, key), rules)
                found.append(Awaited(what, place, kind, location))
    return tuple(item for item in found if _S3.match(item.location))
