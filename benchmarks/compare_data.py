"""The data of `compare.py`: an experiment's raw files as a company's lake has them, and the spec that goes with them.

    python benchmarks/compare_data.py --users 1000000 --out DIR [--days 28] [--seed 15] [--dedupe event_id]

    DIR/exposures/day=2026-03-02.parquet ...   user_id, variant_id, exposed_at, device
    DIR/outcomes/day=2026-02-16.parquet ...    user_id, event, occurred_at, value, event_id
    DIR/compare.yaml                           four metrics with covariates

Users are exposed in the first half of the window, one in six of them again later, one in 500 to the other arm. They have 7.4
outcomes each over the 14 days before the window and its 28 days, of four events; how active a user is, and what an
order is worth, is lognormal. A row in a thousand was delivered twice. Ids are UUIDs as text. A file is one day in the order of
its times. The same seed gives the same rows; memory is that of one day's rows and of 25 bytes per user.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = date(2026, 3, 2)
PRE_DAYS = 14
OUTCOMES_PER_USER, OVER_DAYS = 7.4, 42
DAY = 86_400_000_000  # microseconds
AGAIN, CROSSOVERS, TWICE = 1 / 6, 1 / 500, 1 / 1000
EVENTS = ("pageview", "add_to_cart", "purchase", "refund")
SHARES = (0.68, 0.15, 0.15, 0.02)
MORE_PURCHASES = 0.01  # of a treated user's events, at the cost of page views
VARIANTS = ("control", "treatment")
DEVICES = ("desktop", "mobile", "tablet")
ID = "compare"

SPEC = """\
id: {id}
owner: benchmarks
hypothesis: More purchases per user.
variants: [{{id: control, control: true}}, {{id: treatment}}]
window: {{start: {start}, days: {days}, timezone: UTC}}
source:
  kind: events
  exposures: {{path: {out}/exposures}}
  outcomes: {{path: {out}/outcomes{event_id}}}
  dedupe: {dedupe}
metrics:
  - {{id: conversion, type: proportion, event: purchase, role: primary, window: {{to_day: 7}}}}
  - {{id: revenue, type: mean, event: purchase}}
  - {{id: pageviews, type: count, event: pageview}}
  - {{id: order_value, type: ratio, numerator: {{sum: purchase}}, denominator: {{count: purchase}}}}
"""


def main() -> None:
    """Make the files that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=28, help="of the window")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--dedupe", choices=("event_id", "none"), default="event_id")
    asked = parser.parse_args()
    rows = make(asked.out, asked.users, asked.days, asked.seed, asked.dedupe)
    size = sum(file.stat().st_size for file in asked.out.rglob("*.parquet"))
    print(
        ", ".join(f"{count:,} {name}" for name, count in rows.items()),
        f"in {size / 1e6:,.0f} MB: {asked.out}",
    )


def make(
    out: Path, users: int, days: int = 28, seed: int = 15, dedupe: str = "event_id", upto: int | None = None
) -> dict[str, int]:
    """Write both tables into an empty or absent folder, days before `upto` (of the window, from 0) alone; the rows of each."""
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out}: is not empty. Name a folder that is.")
    people = People.drawn(users, days, seed)
    last = days if upto is None else upto
    rows = {
        "exposures": _write(out / "exposures", range(last), people.exposures),
        "outcomes": _write(out / "outcomes", range(-PRE_DAYS, last), people.outcomes),
    }
    write_spec(out, days, dedupe)
    return rows


def write_spec(out: Path, days: int, dedupe: str, more: str = "") -> Path:
    """Write the spec of the data in a folder, with lines of more metrics; its path."""
    event_id = ", columns: {event_id: event_id}" if dedupe == "event_id" else ""
    path = out / f"{ID}.yaml"
    path.write_text(
        SPEC.format(id=ID, start=START, days=days, out=out.resolve(), dedupe=dedupe, event_id=event_id) + more
    )
    return path


def _write(folder: Path, days: range, rows: Any) -> int:
    folder.mkdir(parents=True)
    written = 0
    for day in days:
        table = rows(day)
        if not len(table):
            continue
        beside = folder / f".{day}"  # renamed: who looks meanwhile sees whole files only
        plain = [name for name in table.column_names if name not in ("event", "variant_id", "device")]
        coded = [name for name in table.column_names if name not in plain]
        pq.write_table(table, beside, compression="zstd", use_dictionary=coded)
        shutil.move(beside, folder / f"day={START + timedelta(days=day)}.parquet")
        written += len(table)
    return written


@dataclass(frozen=True)
class People:
    """Who they are: arrays with an element per user."""

    seed: int
    days: int
    treated: Any  # bool
    exposed_at: Any  # int64, microseconds since the window's start
    again_at: Any  # int64; -1: never
    crosses: Any  # bool
    rate: Any  # float32, outcomes a day

    @staticmethod
    def drawn(users: int, days: int, seed: int) -> People:
        """Draw that many users."""
        dice = np.random.default_rng((seed, users))
        exposed_at = dice.integers(0, max(1, days // 2) * DAY, users)
        again = dice.random(users) < AGAIN
        again_at = np.where(
            again, exposed_at + (dice.random(users) * (days * DAY - exposed_at)).astype(int), -1
        )
        rate = dice.lognormal(-0.5, 1, users).astype(np.float32) * np.float32(OUTCOMES_PER_USER / OVER_DAYS)
        crosses = again & (dice.random(users) < CROSSOVERS / AGAIN)
        return People(seed, days, dice.random(users) < 0.5, exposed_at, again_at, crosses, rate)

    def exposures(self, day: int) -> pa.Table:
        """The exposures of one day."""
        first, again = self._of_day(self.exposed_at, day), self._of_day(self.again_at, day)
        users = np.concatenate([first, again])
        at = np.concatenate([self.exposed_at[first], self.again_at[again]])
        treated = np.concatenate([self.treated[first], self.treated[again] ^ self.crosses[again]])
        order = np.argsort(at, kind="stable")
        users = users[order]
        return pa.table(
            {
                "user_id": uuids(users),
                "variant_id": _coded(treated[order], VARIANTS),
                "exposed_at": _instants(at[order]),
                "device": _coded(users % len(DEVICES), DEVICES),
            }
        )

    def _of_day(self, at: Any, day: int) -> Any:
        return np.flatnonzero((at >= day * DAY) & (at < (day + 1) * DAY))

    def outcomes(self, day: int) -> pa.Table:
        """The outcomes of one day, before the window where it is negative."""
        dice = np.random.default_rng((self.seed, day + PRE_DAYS, len(self.rate)))
        users = dice.permutation(np.repeat(np.arange(len(self.rate)), dice.poisson(self.rate)))
        at = np.sort(day * DAY + dice.integers(0, DAY, len(users)))
        affected = self.treated[users] & (at >= self.exposed_at[users])
        uniform = dice.random(len(users))
        event = np.searchsorted(np.cumsum(SHARES)[:-1], uniform, side="right")
        event[affected & (uniform < MORE_PURCHASES)] = EVENTS.index("purchase")
        valued = event >= EVENTS.index("purchase")
        value = np.round(dice.lognormal(3, 1.2, len(users)), 2)
        # Places of the rows in the file: now and then a row stands twice, one behind the other.
        rows = np.repeat(np.arange(len(users)), 1 + (dice.random(len(users)) < TWICE))
        number = ((day + PRE_DAYS) << 40) + rows
        return pa.table(
            {
                "user_id": uuids(users[rows]),
                "event": _coded(event[rows], EVENTS),
                "occurred_at": _instants(at[rows]),
                "value": pa.array(value[rows], mask=~valued[rows]),
                "event_id": _text(_hexadecimal(_mixed(number)), 16),
            }
        )


def _instants(at: Any) -> pa.Array:
    return pa.array(np.datetime64(START, "us") + at, pa.timestamp("us", "UTC"))


def _coded(numbers: Any, names: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(numbers.astype(np.int8), list(names))


# ---------------------------------------------------------------- ids
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)
_PLACES = [place for place in range(36) if place not in (8, 13, 18, 23)]


def uuids(users: Any) -> pa.Array:
    """An id for each number of a user: a UUID of version 4 as text, the same for the same number."""
    digits = np.hstack([_hexadecimal(_mixed(users)), _hexadecimal(_mixed(users + (1 << 40)))])
    digits[:, 12] = ord("4")
    digits[:, 16] = np.frombuffer(b"89ab", np.uint8)[digits[:, 16] % 4]
    text = np.full((len(users), 36), ord("-"), np.uint8)
    text[:, _PLACES] = digits
    return _text(text, 36)


def _mixed(numbers: Any) -> Any:
    """SplitMix64 (Steele, Lea and Flood 2014): 64 bits that look random, different for different numbers."""
    with np.errstate(over="ignore"):
        z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _hexadecimal(numbers: Any) -> Any:
    """Sixteen hexadecimal digits of each, as a matrix of bytes."""
    return _HEX[numbers.astype(">u8").view(np.uint8).reshape(-1, 8)].reshape(-1, 16)


def _text(digits: Any, length: int) -> pa.Array:
    offsets = np.arange(0, digits.size + 1, length, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(digits), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits))
    )


if __name__ == "__main__":
    main()
