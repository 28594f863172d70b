"""Where raw data are and what is read of them: found, and their columns checked, before Spark starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import expand_location, place_of, tables_of, written
from exp_platform.config.sources import (
    REPLICATE,
    EventsSource,
    SyntheticSource,
    TableSource,
    UnitsSource,
)
from exp_platform.config.spec_sources import SYNTHETIC_ATTRIBUTES
from exp_platform.kernels.complete_rows import ATTRIBUTE, COVARIATE, OUTCOME
from exp_platform.stages.pieces import Piece
from exp_platform.stages.plan_files import plan_files
from exp_platform.stages.plan_iceberg import plan_iceberg
from exp_platform.stages.plan_sql import plan_sql
from exp_platform.stages.reading import Columns, Problem, Reading
from exp_platform.stages.wanted import wanted_of

if TYPE_CHECKING:
    from exp_platform.stages.refresh import Standing

NO_FILE: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Plan:
    """The pieces of all tables in order; with problems, what was found of them."""

    pieces: tuple[Piece, ...]
    problems: tuple[Problem, ...]

    def rows(self, *tables: str) -> int:
        """Expected number of rows of these tables."""
        return sum(piece.rows for piece in self.pieces if piece.table in tables)


def raw_folder(experiment: Experiment, environment: Environment) -> str:
    """Where an experiment's synthetic raw data are."""
    return f"{environment.raw_dir.rstrip('/')}/exp_platform/{experiment.id}"


def readings(experiment: Experiment, environment: Environment) -> tuple[Reading, ...]:
    """What is read of which tables. Raises ConfigError where a location may not be read, or names a variable that is not set."""
    source, rules = experiment.source, environment.source_rules
    keys = {place.table: place.key for place in written(experiment)}

    def located(name: str, table: TableSource) -> TableSource:
        if table.format in ("iceberg", "sql"):
            return table
        said = place_of(experiment, keys[name])
        place = expand_location(table.location, experiment.spec_file, said, rules)
        return replace(table, location=place)

    if not isinstance(source, SyntheticSource):
        return tuple(
            Reading(
                name,
                located(name, table),
                (*table.columns.items(), *_further(source, name)),
                wanted_of(experiment, name),
            )
            for name, _, table in tables_of(source)
        )
    folder = raw_folder(experiment, environment)
    shared = ("user_id", "event_id")
    names = (*SYNTHETIC_ATTRIBUTES, REPLICATE) if source.replicates > 1 else SYNTHETIC_ATTRIBUTES
    attributes = tuple((ATTRIBUTE + n, n) for n in names)
    exposures = (*((n, n) for n in (*shared, "variant_id", "exposed_at")), *attributes)
    outcomes = tuple((n, n) for n in (*shared, "event", "occurred_at", "value"))
    return tuple(
        Reading(
            table,
            TableSource("parquet", f"{folder}/{table}", {}),
            columns,
            remedy="generate it: --generate-synth",
        )
        for table, columns in (("exposures", exposures), ("outcomes", outcomes))
    )


def _further(source: EventsSource | UnitsSource, table: str) -> Columns:
    """What is read of a table besides the columns that it names itself."""
    if table not in ("exposures", "units"):
        return ()
    attributes = tuple((ATTRIBUTE + name, column) for name, column in source.attributes.items())
    if isinstance(source, EventsSource):
        return attributes
    outcomes = tuple((OUTCOME + name, name) for name in source.outcomes)
    return (*attributes, *outcomes, *((COVARIATE + name, name) for name in source.covariates))


def plan_reading(experiment: Experiment, environment: Environment, standing: Standing = NO_FILE) -> Plan:
    """Find all files, check their columns and cut them into pieces; no row is read, and no file opened that is among `standing`.

    What is missing, unreadable or of a wrong type comes back as problems, all of them at once. Of tables in databases rows are
    counted there. Raises ConfigError for a connection, DatabaseError for a database that is at fault.
    """
    pieces: list[Piece] = []
    problems: list[Problem] = []
    for reading in readings(experiment, environment):
        for item in pieces_of(experiment, reading, environment, standing):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                pieces.append(item)
    return Plan(tuple(pieces), tuple(problems))


def pieces_of(
    experiment: Experiment, reading: Reading, environment: Environment, standing: Standing = NO_FILE
) -> Iterator[Piece | Problem]:
    """The pieces of one input table, or what is wrong with it."""
    if reading.source.format == "iceberg":
        return plan_iceberg(reading, environment)
    if reading.source.format == "sql":
        return plan_sql(experiment, reading, environment)
    return plan_files(reading, environment, standing)
