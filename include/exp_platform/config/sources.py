"""Where data come from: the resolved sources, found and synthetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

REPLICATE = "replicate"  # the attribute of a synthetic source with `replicates`


@dataclass(frozen=True)
class CsvDialect:
    """How CSV files are written, as far as the spec says it; None: as is usual, see `stages/csv_files.py`."""

    delimiter: str | None = None
    encoding: str | None = None  # one of Python's names, such as utf-16 or cp1252
    escape: Literal["quote", "backslash"] | None = None  # of a quote within a value


@dataclass(frozen=True)
class TableSource:
    """One input table: files (`path`, a file, folder or glob) or an Iceberg `table`; `columns` maps ours to theirs.

    For exposures the keys are user_id, variant_id, exposed_at, event_id and `attributes` go by their own list;
    for outcomes user_id, event, occurred_at, value, event_id.
    """

    format: Literal["parquet", "csv", "iceberg"]
    location: str
    columns: dict[str, str]
    csv: CsvDialect | None = None  # None where nothing is said


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
class EventsSource:
    """Exposures and outcomes as two tables of events."""

    exposures: TableSource
    outcomes: TableSource
    attributes: dict[str, str]  # attribute -> column of exposures
    dedupe: Literal["event_id", "whole_row", "none"]
    # Where one of both has dates: whether an outcome on the day of exposure is after it, or before; None: nobody said
    same_day: Literal["after", "before"] | None = None
    kind: Literal["events"] = "events"


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
