"""Raw rows of one chunk of synthetic users: the same for every machine, core count and rerun.

Each purpose in each chunk of users has a random stream of its own: Philox, a counter-based generator, keyed by the
hash of (experiment id, seed, purpose, chunk). Chunks hold a fixed number of users, so how they are spread over
threads cannot matter, and a fault that is switched on leaves all other draws as they were.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import REPLICATE, SyntheticSource
from exp_platform.synth.propensity import (
    intercepts,
    intercepts_by_day,
    orders_of,
    sigmoid,
    synthetic_source,
    views_a_day,
)

CHUNK = 65_536  # users; part of what determines the rows

DEVICES = {"mobile": 0.55, "desktop": 0.35, "tablet": 0.10}
TIERS = {"free": 0.70, "plus": 0.22, "premium": 0.08}
USER_TYPES = ("new", "returning")  # returning users are those with the higher propensity, by chance

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP = pa.timestamp("us", "UTC")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ChunkRows:
    """Raw rows of one chunk; `late` are outcomes that arrive in a later file."""

    exposures: pa.Table
    outcomes: pa.Table
    late: pa.Table


@dataclass(frozen=True)
class _Users:
    """The exposed users of a chunk; times in microseconds since 1970 UTC."""

    number: Ints  # from 1
    z: Floats
    arm: Ints  # position in the spec's variants
    exposed_at: Ints
    columns: dict[str, pa.Array]


@dataclass(frozen=True)
class _Times:
    """Instants between which things happen, microseconds since 1970 UTC."""

    begin: int  # of the pre-period
    start: int  # of the window
    end: int  # of the window
    horizon: int  # of everything: the last metric window


@dataclass(frozen=True)
class _Events:
    user: Ints  # position in _Users
    time: Ints
    value: Floats
    purchase: bool


def chunks(source: SyntheticSource) -> int:
    """Number of chunks of users."""
    return -(-source.n_users // CHUNK)


def chunk_rows(experiment: Experiment, chunk: int, until: datetime | None = None) -> ChunkRows:
    """The raw rows of chunk number `chunk`, from 0, that occur before the aware instant `until` (None: all).

    A pure function of the experiment and that instant: a later one only adds rows.
    """
    source = synthetic_source(experiment)
    stream = _Streams(experiment.id, source.seed, chunk)
    times = _times(experiment)
    users = _users(experiment, source, stream, times)
    events = [
        _pageviews(source, users, times, stream("pageviews")),
        _orders_before(source, users, times, stream("orders before")),
        _orders_after(source, users, times, stream("orders after")),
    ]
    if source.pre_trend:
        events = [_with_trend(source, users, times, e, stream(f"trend {i}")) for i, e in enumerate(events)]
    outcomes = _repeat(
        _outcome_table(users, events, chunk), source.duplicate_share, stream("duplicate outcomes")
    )
    late = stream("late").random(len(outcomes)) < source.late_share
    exposures = _exposure_table(experiment, users, times, chunk, stream("crossovers"))
    return ChunkRows(
        exposures=_before(
            until, "exposed_at", _repeat(exposures, source.duplicate_share, stream("duplicate exposures"))
        ),
        outcomes=_before(until, "occurred_at", outcomes.filter(pa.array(~late)) if late.any() else outcomes),
        late=_before(until, "occurred_at", outcomes.filter(pa.array(late))),
    )


def _before(until: datetime | None, column: str, table: pa.Table) -> pa.Table:
    """Last of all, so that no draw and no id depends on it."""
    if until is None:
        return table
    return table.filter(pc.less(table[column], pa.scalar(until, _TIMESTAMP)))


@dataclass(frozen=True)
class _Streams:
    experiment_id: str
    seed: int
    chunk: int

    def __call__(self, purpose: str) -> np.random.Generator:
        text = "\x1f".join([self.experiment_id, str(self.seed), purpose, str(self.chunk)])
        key = hashlib.sha256(text.encode()).digest()[:16]
        return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8")))


def _times(experiment: Experiment) -> _Times:
    def instant(moment: datetime) -> int:
        return (moment - _EPOCH) // _MICROSECOND

    window = experiment.window
    start = instant(window.starts_at())
    before = synthetic_source(experiment).pre_period_days * _DAY
    end, horizon = instant(window.cutoff(window.end)), instant(window.cutoff(experiment.last_as_of))
    return _Times(start - before, start, end, horizon)


def _users(experiment: Experiment, source: SyntheticSource, stream: _Streams, times: _Times) -> _Users:
    first = stream.chunk * CHUNK
    n = min(CHUNK, source.n_users - first)
    exposed = stream("exposed").random(n) < source.exposure_rate
    traits = stream("traits")  # drawn for unexposed users as well: the exposure rate changes nobody else
    z, chance = traits.standard_normal(n), traits.random(n)
    device, tier = (
        _choice(tuple(DEVICES.values()), traits.random(n)),
        _choice(tuple(TIERS.values()), traits.random(n)),
    )
    returning = (traits.random(n) < sigmoid(z)).astype(np.int64)
    until = times.end if source.arrival == "evenly" else times.start + _DAY
    exposed_at = _between(np.full(n, times.start), np.full(n, until), traits.random(n))
    arm = _arms(experiment, source, exposed_at, chance)
    number = np.arange(first + 1, first + n + 1)
    columns = {
        "device_type": _strings(tuple(DEVICES), device[exposed]),
        "subscription_tier": _strings(tuple(TIERS), tier[exposed]),
        "user_type": _strings(USER_TYPES, returning[exposed]),
    }
    if source.replicates > 1:
        columns[REPLICATE] = pa.array(number[exposed] % source.replicates).cast(pa.string())
    return _Users(number[exposed], z[exposed], arm[exposed], exposed_at[exposed], columns)


def _arms(experiment: Experiment, source: SyntheticSource, exposed_at: Ints, chance: Floats) -> Ints:
    """Each user's arm by the shares of the allocation at exposure; a broken split has its own shares throughout."""
    if source.actual_shares:
        return _choice(source.actual_shares, chance)
    window = experiment.window
    starts = [
        (window.cutoff(a.start - timedelta(days=1)) - _EPOCH) // _MICROSECOND for a in experiment.allocations
    ]
    allocation = np.searchsorted(starts, exposed_at, side="right") - 1
    drawn = np.stack([_choice(a.shares, chance) for a in experiment.allocations])
    return np.asarray(drawn[allocation, np.arange(len(chance))], dtype=np.int64)


def _pageviews(source: SyntheticSource, users: _Users, times: _Times, rng: np.random.Generator) -> _Events:
    days = (times.horizon - times.begin) / _DAY
    user = np.repeat(np.arange(len(users.z)), rng.poisson(views_a_day(users.z, source.propensity_sd) * days))
    time = _between(np.full(len(user), times.begin), np.full(len(user), times.horizon), rng.random(len(user)))
    return _Events(user, time, np.ones(len(user)), purchase=False)


def _orders_before(
    source: SyntheticSource, users: _Users, times: _Times, rng: np.random.Generator
) -> _Events:
    orders = orders_of(intercepts(source)[0] + source.propensity_sd * users.z)
    days = (users.exposed_at - times.begin) / _DAY if source.pre_period_days else np.zeros(len(orders))
    user = np.repeat(np.arange(len(orders)), rng.poisson(orders * days / max(source.pre_period_days, 1)))
    time = _between(np.full(len(user), times.begin), users.exposed_at[user], rng.random(len(user)))
    return _Events(user, time, _order_values(source, np.zeros(len(user)), rng), purchase=True)


def _orders_after(source: SyntheticSource, users: _Users, times: _Times, rng: np.random.Generator) -> _Events:
    days = np.minimum((users.exposed_at - times.start) // _DAY, source.days - 1)  # clocks may add an hour
    orders = orders_of(intercepts_by_day(source)[days, users.arm] + source.propensity_sd * users.z)
    user = np.repeat(np.arange(len(orders)), rng.poisson(orders))
    time = _between(users.exposed_at[user], np.full(len(user), times.end), rng.random(len(user)))
    lift = np.array((0.0, *source.effect_lift_revenue))[users.arm[user]]
    return _Events(user, time, _order_values(source, lift, rng), purchase=True)


def _order_values(source: SyntheticSource, lift: Floats, rng: np.random.Generator) -> Floats:
    """Order values of mean revenue_mean * (1 + lift), in whole cents: the last bits of a float vary by processor."""
    normal = rng.standard_normal(len(lift))
    if source.revenue_tail == "lognormal":
        variance = np.log1p((source.revenue_sd / source.revenue_mean) ** 2)
        value = source.revenue_mean * np.exp(np.sqrt(variance) * normal - variance / 2)
    else:
        value = source.revenue_mean + source.revenue_sd * normal
    cents: Floats = np.maximum(np.round(value * (1 + lift), 2), 0.01)
    return cents


def _with_trend(
    source: SyntheticSource, users: _Users, times: _Times, events: _Events, rng: np.random.Generator
) -> _Events:
    """Thin treated users' events before exposure: activity drifts by `pre_trend` of its full level per day.

    A rising trend reaches the full level at exposure, a falling one leaves it when the history begins.
    """
    anchor = users.exposed_at[events.user] if source.pre_trend > 0 else times.begin
    level = np.clip(1 + source.pre_trend * (events.time - anchor) / _DAY, 0.0, 1.0)
    concerned = (users.arm[events.user] > 0) & (events.time < users.exposed_at[events.user])
    kept = ~concerned | (rng.random(len(events.user)) < level)
    return _Events(events.user[kept], events.time[kept], events.value[kept], events.purchase)


def _outcome_table(users: _Users, events: list[_Events], chunk: int) -> pa.Table:
    user = np.concatenate([e.user for e in events])
    time = np.concatenate([e.time for e in events])
    purchase = np.repeat([e.purchase for e in events], [len(e.user) for e in events]).astype(np.int64)
    return pa.table(
        {
            "user_id": user_ids(users.number).take(pa.array(user)),
            "event": _strings(("pageview", "purchase"), purchase),
            "occurred_at": pa.array(time).cast(_TIMESTAMP),
            "value": np.concatenate([e.value for e in events]),
            "event_id": _event_ids("o", chunk, len(user)),
        }
    )


def _exposure_table(
    experiment: Experiment, users: _Users, times: _Times, chunk: int, rng: np.random.Generator
) -> pa.Table:
    n, arms = len(users.number), len(experiment.variants)
    crossing = np.flatnonzero(rng.random(n) < synthetic_source(experiment).crossover_share)
    other = (users.arm[crossing] + rng.integers(1, arms, len(crossing))) % arms
    second = _between(
        users.exposed_at[crossing] + 1, np.full(len(crossing), times.end), rng.random(len(crossing))
    )
    row = np.concatenate([np.arange(n), crossing])
    return pa.table(
        {
            "user_id": user_ids(users.number).take(pa.array(row)),
            "variant_id": _strings(
                tuple(v.id for v in experiment.variants), np.concatenate([users.arm, other])
            ),
            "exposed_at": pa.array(np.concatenate([users.exposed_at, second])).cast(_TIMESTAMP),
            "event_id": _event_ids("x", chunk, len(row)),
            **{name: column.take(pa.array(row)) for name, column in users.columns.items()},
        }
    )


def _repeat(table: pa.Table, share: float, rng: np.random.Generator) -> pa.Table:
    if share == 0:
        return table
    return pa.concat_tables([table, table.filter(pa.array(rng.random(len(table)) < share))])


def _choice(shares: tuple[float, ...], uniform: Floats) -> Ints:
    bounds = np.cumsum(shares)[:-1]  # the last share takes what rounding leaves
    choice: Ints = np.searchsorted(bounds, uniform, side="right")
    return choice


def _between(low: Ints, high: Ints, uniform: Floats) -> Ints:
    """Instants in [low, high), to the microsecond."""
    instants: Ints = low + (uniform * np.maximum(high - low, 1)).astype(np.int64)
    return instants


def _strings(values: tuple[str, ...], codes: Ints) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values)).cast(
        pa.string()
    )


def user_ids(numbers: Ints) -> pa.Array:
    """Ids of users by number: `u0000001`, longer from ten million on."""
    if len(numbers) == 0:
        return pa.array([], pa.string())
    short = numbers[numbers < 10**7]
    long = pa.array([f"u{n}" for n in numbers[len(short) :]], pa.string())  # numbers ascend
    return pa.concat_arrays([_numbered(b"u", short, 7), long])


def _event_ids(letter: str, chunk: int, n: int) -> pa.Array:
    return _numbered(f"{letter}{chunk:05d}-".encode(), np.arange(n), 9)


def _numbered(prefix: bytes, numbers: Ints, digits: int) -> Any:
    """`prefix` and the number with leading zeros, built as one buffer: formatting millions one by one takes seconds."""
    n, width = len(numbers), len(prefix) + digits
    text = np.empty((n, width), dtype=np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    rest = numbers.astype(np.uint32)
    for position in range(width - 1, len(prefix) - 1, -1):
        rest, digit = np.divmod(rest, np.uint32(10))
        text[:, position] = digit + ord("0")
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(text))
