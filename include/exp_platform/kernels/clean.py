"""One bucket's raw rows -> the rows to stage, and what quality judges. A bucket holds all rows of its users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa

from exp_platform.config.experiment import Experiment
from exp_platform.config.privacy import Key
from exp_platform.kernels.base import Base
from exp_platform.kernels.complete_rows import complete_rows
from exp_platform.kernels.in_context import Cleaned, in_context


def clean_bucket(
    raw: Mapping[str, Sequence[pa.Table]],
    experiment: Experiment,
    now: datetime,
    base: Base | None = None,
    secret: Key | None = None,
) -> Cleaned:
    """Cast, deduplicate and measure one bucket; a pure function.

    `raw` maps exposures and outcomes, or units, to their parts in a fixed order. Rows without a user, a time, a
    variant or an event are dropped and counted; so are duplicates, and outcomes of users without any exposure or
    from before the history that an analysis can reach lie aside. `now` is when the run began. With a base the raw rows are
    those that it does not have. `secret` is that of pseudonyms, see `kernels.duplicates`. Raises NotExactError where the rows
    cannot be added to the base.
    """
    return in_context(complete_rows(raw, experiment, base), experiment, now, base, secret)
