"""Where data come from: the resolved sources, found and synthetic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from exp_platform.config.where import Condition

As = Literal["text", "number", "time"]
VALUE, DIMENSION = "value.", "dimension."  # how the columns of a fact's values and dimensions are called
DAY = "day"  # what is counted where a metric counts the local days that a user was active on

REPLICATE = "replicate"  # the attribute of a synthetic source with `replicates`


@dataclass(frozen=True)
class CsvDialect:
    """How CSV files are written, as far as the spec says it; None: as is usual, see `stages/csv_files.py`."""

    delimiter: str | None = None
    encoding: str | None = None  # one of Python's names, such as utf-16 or cp1252
    escape: Literal["quote", "backslash"] | None = None  # of a quote within a value
    decimal: Literal[",", "."] | None = None  # the mark before a number's decimals


@dataclass(frozen=True)
class SqlQuery:
    """What is read of a database: a `select`, or a table by its name."""

    sql: str | None = None  # may name the parameters :start and :end
    table: str | None = None
    watermark: str | None = None  # a query of one value that changes when the data do; None: always read
    split_by: str | None = None  # a numeric or date column to read in parts by; None: a hash of the user's id


@dataclass(frozen=True)
class TableSource:
    """One input table: files (`path`, a file, folder or glob), an Iceberg `table`, or what a query of a database returns.

    `columns` maps our names to theirs: a column, or a path into one such as `props.revenue`. For exposures the keys are
    user_id (or other_id), variant_id, exposed_at, event_id, experiment, and `attributes` go by their own list; for outcomes
    user_id, event, occurred_at, value, event_id; for facts what `Fact` says.
    """

    format: Literal["parquet", "csv", "json", "iceberg", "sql"]
    location: str  # of files the path, of an Iceberg table its name, of SQL the name of the connection
    columns: dict[str, str]
    csv: CsvDialect | None = None  # None where nothing is said
    types: dict[str, As] = field(
        default_factory=dict
    )  # our name -> what it is read as, where the spec says so
    timezone: str | None = None  # of times without a zone; None: the experiment's
    query: SqlQuery | None = None  # of SQL
    partitioned_by: str | None = None  # of files: the column of their folders that is the rows' date


@dataclass(frozen=True)
class SyntheticSource:
    """A complete synthetic spec (see `docs` on synthetic data); rows follow from (experiment_id, seed) alone."""

    n_users: int
    seed: int
    days: int
    pre_period_days: int
    exposure_rate: float
    base_conversion: float
    effect_lift_conversion: tuple[float, ...]  # absolute, one per treatment
    effect_lift_revenue: tuple[float, ...]  # relative change of order value, one per treatment
    revenue_mean: float
    revenue_sd: float
    revenue_tail: Literal["normal", "lognormal"] = "normal"
    # sd of the latent propensity on the logit scale; 0: pre-period and outcome independent; at 2.5 they correlate by
    # .3 to .5 for conversion and revenue, .75 for pageviews
    propensity_sd: float = 2.5
    duplicate_share: float = 0.0
    late_share: float = 0.0
    crossover_share: float = 0.0
    actual_shares: tuple[float, ...] | None = None  # a broken split: the shares really used
    pre_trend: float = 0.0  # relative drift per day of treated users' activity before exposure
    conversion_trend: float = (
        0.0  # change of all arms' conversion rates from the window's first users to its last
    )
    replicates: int = 1  # experiments in one: users have the attribute REPLICATE, their number modulo this
    arrival: Literal["evenly", "first_day"] = "evenly"  # when in the window users are exposed
    kind: Literal["synthetic"] = "synthetic"


@dataclass(frozen=True)
class Fact:
    """A table of events that metrics measure: one kind of event, or several that the column `event` tells apart.

    Its table's columns are user_id (or other_id), occurred_at, where they exist event and event_id, and of `value.<name>` and
    `dimension.<name>` those that a series reads.
    """

    name: str
    table: TableSource


@dataclass(frozen=True)
class Series:
    """The rows of a fact that a measure reads. They become rows of `outcomes` whose event is `name`, the printed definition."""

    name: str
    fact: str
    event: str | None = None  # which event of a fact with several; None: all its rows
    value: str | None = None  # the fact's value that is read; None: rows only count
    where: tuple[Condition, ...] = ()
    item: str | None = None  # the dimension whose distinct values are counted; never DAY


@dataclass(frozen=True)
class EventsSource:
    """Exposures, and outcomes as one table of events or as facts."""

    exposures: TableSource
    outcomes: TableSource | None  # None: of the facts
    attributes: dict[str, str]  # attribute -> column of exposures
    dedupe: Literal["event_id", "whole_row", "none"]
    # Where one of both has dates: whether an outcome on the day of exposure is after it, or before; None: nobody said
    same_day: Literal["after", "before"] | None = None
    kind: Literal["events"] = "events"
    facts: tuple[Fact, ...] = ()  # those that some series reads
    series: tuple[Series, ...] = ()
    key: str | None = None  # of exposures of many experiments: whose rows count, by the column `experiment`
    variants: dict[str, str] = field(
        default_factory=dict
    )  # value found in the variant column -> variant id, where they differ
    identities: TableSource | None = (
        None  # columns user_id and other_id: the ids of another space and whose they are
    )


@dataclass(frozen=True)
class UnitsSource:
    """One row per user. Outcome and covariate columns become events of the same name; null is missing."""

    table: TableSource  # columns: user_id (absent: the row number is the id), variant_id, exposed_at (absent: start)
    variants: dict[str, str]  # value found in the variant column -> variant id
    outcomes: tuple[str, ...]
    covariates: tuple[str, ...]
    attributes: dict[str, str]
    kind: Literal["units"] = "units"


Source = SyntheticSource | EventsSource | UnitsSource
