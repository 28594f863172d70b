"""Raw data of a shop whose truth is known, for situations that the synthetic source does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
DAYS = 14

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

_DAY = 86_400_000_000  # microseconds
_BEGIN = int(START.timestamp()) * 1_000_000
_END = _BEGIN + DAYS * _DAY
_TIME = pa.timestamp("us", "UTC")


@dataclass
class Shop:
    """`n` visitors, exposed at uniform instants of the window, and what they do; all randomness follows from the seed.

    `treated` is the chance of each visitor to be in the treatment.
    """

    seed: int
    n: int
    treated: float | Floats = 0.5
    rng: np.random.Generator = field(init=False)
    arm: Ints = field(init=False)  # 1: treatment
    exposed_at: Ints = field(init=False)  # microseconds since 1970
    _events: list[pa.Table] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.arm = (self.rng.random(self.n) < self.treated).astype(np.int64)
        self.exposed_at = _BEGIN + (self.rng.random(self.n) * DAYS * _DAY).astype(np.int64)

    def once(self, event: str, chance: Floats, value: Floats | float = 1.0) -> None:
        """Each visitor does it with this chance, once, at a uniform instant of the next three days of the window."""
        who = np.flatnonzero(self.rng.random(self.n) < chance)
        left = np.minimum(3 * _DAY, _END - self.exposed_at[who])
        at = self.exposed_at[who] + (self.rng.random(len(who)) * left).astype(np.int64)
        self._add(event, who, at, np.broadcast_to(value, self.n)[who])

    def daily(self, event: str, rate: Floats, days: range) -> None:
        """Poisson events on days since exposure; `rate` a day has shape (n,), or (n, days)."""
        a_day = np.broadcast_to(rate.T, (len(days), self.n)).T
        counts = self.rng.poisson(a_day)
        who, position = (
            np.repeat(index, counts.ravel()) for index in np.indices(counts.shape).reshape(2, -1)
        )
        at = self.exposed_at[who] + ((days.start + position + self.rng.random(len(who))) * _DAY).astype(
            np.int64
        )
        self._add(event, who, at, np.ones(len(who)))

    def exposures(self, **attributes: NDArray[Any]) -> pa.Table:
        """An exposure a visitor, with attributes."""
        return self.exposed(np.arange(self.n), self.arm, self.exposed_at, "x", attributes)

    def exposed(
        self,
        who: Ints,
        arm: Ints,
        at: Ints,
        letter: str,
        attributes: Mapping[str, NDArray[Any]] | None = None,
    ) -> pa.Table:
        """Exposures of these visitors, by number, to these arms."""
        return pa.table(
            {
                "user_id": _ids("user-", who),
                "variant_id": np.where(arm == 1, "treatment", "control"),
                "exposed_at": pa.array(at).cast(_TIME),
                "event_id": _ids(letter, who),
                **{name: values[who] for name, values in (attributes or {}).items()},
            }
        )

    def outcomes(self) -> pa.Table:
        """All that happened, in the order it was added."""
        events = pa.concat_tables(self._events)
        return events.append_column("event_id", _ids("o", np.arange(len(events))))

    def _add(self, event: str, who: Ints, at: Ints, value: Floats) -> None:
        rows = {
            "user_id": _ids("user-", who),
            "event": [event] * len(who),
            "occurred_at": pa.array(at).cast(_TIME),
            "value": pa.array(np.round(value, 2), pa.float64()),
        }
        self._events.append(pa.table(rows))


def deliver(folder: Path, exposures: pa.Table | None, outcomes: pa.Table, part: str = "part-0") -> None:
    """Write files of a delivery beside those that are there."""
    for name, table in (("exposures", exposures), ("outcomes", outcomes)):
        if table is not None:
            (folder / name).mkdir(exist_ok=True)
            pq.write_table(table, folder / name / f"{part}.parquet", store_schema=False)


def read(folder: Path, name: str) -> Any:
    """A delivered table as a pandas frame."""
    return pq.read_table(folder / name).to_pandas()


def lognormal(rng: np.random.Generator, n: int, mean: float, sd: float) -> Floats:
    """Values of that mean and standard deviation."""
    variance = np.log1p((sd / mean) ** 2)
    return np.asarray(mean * np.exp(np.sqrt(variance) * rng.standard_normal(n) - variance / 2))


def _ids(prefix: str, numbers: Ints) -> pa.Array:
    return pa.array([f"{prefix}{number:06d}" for number in numbers.tolist()], pa.string())
