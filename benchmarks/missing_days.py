"""How often `missing_days` tells of a day that was none, and of one that was, by simulation: docs/03_data_and_semantics/quality.md.

    PYTHONPATH=include python benchmarks/missing_days.py [experiments]

Experiments of one to six weeks are drawn that differ in traffic (1 to 5,000 users a day), weekends, a weaker weekday, growth, a pilot before
all users come, an end of the exposures, the metric's window, and in whether users are active evenly, on their first day, or less and
less. Days differ by a fifth besides. Each is judged on all its days, as a daily run does; then once more with a day's rows lost.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from exp_platform.aggregates import Aggregates, DailyRow
from exp_platform.analyses.missing_days import missing_days
from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_experiment
from exp_platform.config.metrics import DayWindow

Floats = Any  # arrays of shape (days,)
START, AFTER = date(2026, 3, 2), 14  # days that are judged after the window's end
ALIKE = 25  # the shape of days' means: they differ by 1 / sqrt(25) of themselves
PLACES = ("exposures", "exposures of an arm", "events", "events of an arm")
SPEC = Path("configs/examples/events.yaml")
ENDS = (None, 1, 3, 7, 14)


@dataclass(frozen=True)
class Drawn:
    """An experiment, and new and active users by arm and day, arrays of shape (arms, days)."""

    spec: Experiment
    new: Floats
    active: Floats
    usual: Floats  # active users that may be expected in each arm, shape (days,)


def main(experiments: int) -> None:
    """Print how many of them are told wrongly, and of the lost days how many are told within nine days."""
    os.environ.setdefault("EXP_DATA_DIR", ".")
    spec = load_experiment("signup_events", SPEC)
    rng = np.random.default_rng(7)
    told_wrongly = 0
    lost = {place: [0, 0] for place in PLACES}
    for _ in range(experiments):
        drawn = draw(rng, spec)
        days = drawn.new.shape[1]
        told_wrongly += any(judged(drawn, day) for day in range(1, days + 1))
        for place in PLACES:
            day = int(rng.integers(1, days - AFTER))
            if expected(drawn, place, day) >= 100:
                lost[place][0] += judged(without(drawn, place, day), min(day + 9, days))
                lost[place][1] += 1
    print(f"of {experiments:,} experiments {told_wrongly} are told of a day that lacks nothing")
    for place, (found, of) in lost.items():
        print(f"of {of:,} days whose {place} are lost (100 users and more are expected) {found:,} are told")


def draw(rng: np.random.Generator, spec: Experiment) -> Drawn:
    """One experiment."""
    start, days = START + timedelta(days=int(rng.integers(0, 7))), int(rng.integers(7, 43))
    end = ENDS[rng.integers(0, len(ENDS))]
    first = int(rng.choice([0, 0, 0, 1, 7]))
    window = DayWindow(first if end is None or first < end else 0, end)
    metric = replace(spec.metrics[0], window=window)
    spec = replace(
        spec,
        window=replace(spec.window, start=start, end=start + timedelta(days=days - 1)),
        metrics=(metric,),
    )
    day = np.arange(days + AFTER)
    week = np.ones(7)
    week[rng.integers(0, 7)] *= rng.choice([0.3, 0.6, 1.0])
    week[5:] = rng.choice([0.0, 0.01, 0.2, 0.6, 1.0, 2.0])
    of_day = week[(start.weekday() + day) % 7]
    users = 10 ** rng.uniform(0, 3.7) * of_day * rng.choice([1.0, 1.0, 0.9, 0.8, 1.1]) ** day
    if rng.random() < 0.2:
        users[: int(days * 0.3)] *= 0.05
    if rng.random() < 0.2:
        users[int(days * 0.6) :] *= rng.choice([0.0, 0.01, 0.05])
    users[days:] = 0
    users = users * rng.gamma(ALIKE, 1 / ALIKE, len(day))
    age = day[:, None] - day
    habit = [age >= 0, np.where(age == 0, 1.0, 0.01), 0.7 ** np.maximum(age, 0)][rng.integers(0, 3)]
    open_now = (age >= window.start) & (age <= (len(day) if end is None else end))
    new = rng.poisson(users / 2, (2, len(day)))
    rate = 10 ** rng.uniform(-3, -0.3) * of_day * rng.gamma(ALIKE, 1 / ALIKE, len(day))
    usual = new.mean(axis=0) @ (habit * open_now).T * rate
    return Drawn(spec, new, rng.poisson(new @ (habit * open_now).T * rate), usual)


def expected(drawn: Drawn, place: str, day: int) -> float:
    """How many users a day should have there."""
    return float(drawn.new[:, day].mean() if place.startswith("exposures") else drawn.usual[day])


def without(drawn: Drawn, place: str, day: int) -> Drawn:
    """The same without a day's rows."""
    new, active = drawn.new.copy(), drawn.active.copy()
    arms = slice(1, 2) if place.endswith("of an arm") else slice(None)
    (new if place.startswith("exposures") else active)[arms, day] = 0
    return replace(drawn, new=new, active=active)


def judged(drawn: Drawn, days: int) -> bool:
    """Whether days are told as missing after so many."""
    start, metric = drawn.spec.window.start, drawn.spec.metrics[0].id
    rows = tuple(
        DailyRow(start + timedelta(days=day), variant.id, metric, int(new[day]), int(active[day]), 0.0)
        for variant, new, active in zip(drawn.spec.variants, drawn.new, drawn.active, strict=True)
        for day in range(days)
    )
    found = missing_days(drawn.spec, Aggregates(start + timedelta(days=days - 1), {}, {}, daily=rows))
    return found.status == "failed"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1500)
