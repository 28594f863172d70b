"""What people do with an experiment that has no effect, once they have seen its numbers: how often it ends in a ship.

A behaviour is a function of what was seen to the next spec and reading. Each reading is analysed and decided by the
platform's own functions, in memory of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from exp_platform.aggregates import Aggregates, Block
from exp_platform.analyses import ab, evidence, srm
from exp_platform.analyses.readings import remembering
from exp_platform.analyses.rows import ResultRow, Row
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Measure, Metric, Role
from exp_platform.config.plans import DecisionPlan, QualityThresholds
from exp_platform.config.readings import Memory
from exp_platform.config.sources import EventsSource, TableSource, UnitsSource
from exp_platform.decision import Decision, decide
from exp_validation.bands import Check
from exp_validation.drawn import chunks, random_numbers
from exp_validation.methods import LEVEL
from exp_validation.populations import Draws, Normal

START, LOOKS = date(2026, 1, 5), 7  # a look every second day of two weeks
DAILY = 60  # users of an arm that come between two looks
ARMS = ("control", "treatment")
METRICS = ("orders", "visits", "spend", "refunds")
MOST = 2_000  # replicates: each is some ten readings of more than a millisecond
_TABLE = TableSource("parquet", "nowhere", {})
EVENTS = EventsSource(_TABLE, _TABLE, {}, "none")
# No exposure times: every day counts all that is there
GROWING = UnitsSource(_TABLE, {}, METRICS[:1], (), {})
_POPULATION = Normal.of(10.0, 3.0)


def day(look: int) -> date:
    """The last day of a look's two, from look 1 on."""
    return START + timedelta(days=2 * look - 1)


END = day(LOOKS)


@dataclass(frozen=True)
class Seen:
    """What a reading showed."""

    decision: Decision
    rows: dict[str, ResultRow]  # metric -> its comparison

    def p(self, metric_id: str = METRICS[0]) -> float:
        """The plain p-value, that every memo shows."""
        found = self.rows[metric_id].p_value
        return 1.0 if found is None else found


@dataclass(frozen=True)
class Read:
    """A reading: by which spec, as of when, on the users that had come by which look in control and treatment."""

    spec: Experiment
    as_of: date
    looks: tuple[int, int]
    passes: bool = True  # whether the data pass their checks
    skipped: tuple[str, ...] = ()


Act = Generator[Read, Seen, None]


def plan(source: EventsSource | UnitsSource = EVENTS, **decision: object) -> Experiment:
    """One primary metric and three that only inform, two weeks, two arms."""
    return Experiment(
        id="exp_validation",
        owner="validation",
        hypothesis="drawn",
        variants=tuple(Variant(arm, 0.5) for arm in ARMS),
        window=Window(START, END),
        source=source,
        metrics=tuple(
            Metric(id, "mean", Role.INFORMATIONAL if i else Role.PRIMARY, 1, Measure(id, "sum"))
            for i, id in enumerate(METRICS)
        ),
        decision=DecisionPlan(**decision),  # type: ignore[arg-type]
    )


def _ending(spec: Experiment, end: date) -> Experiment:
    return replace(spec, window=replace(spec.window, end=end))


def _at(spec: Experiment, look: int) -> Read:
    return Read(spec, day(look), (look, look))


def looked_at_daily() -> Act:
    """Every look is read, and the end as planned."""
    for look in range(1, LOOKS + 1):
        yield _at(plan(), look)


def end_moved_to_today() -> Act:
    """Once p is small the end is moved to the day that is over."""
    for look in range(1, LOOKS + 1):
        seen = yield _at(plan(), look)
        if seen.p() < LEVEL:
            yield _at(_ending(plan(), day(look)), look)


def shortened_after_the_end() -> Act:
    """Read at the end, then of every shorter window."""
    for look in range(LOOKS, 0, -1):
        yield _at(_ending(plan(), day(look)), look)


def extended_while_not_significant() -> Act:
    """Before the end comes, it is put off unless p is small."""
    end = 2
    for look in range(1, LOOKS + 1):
        seen = yield _at(_ending(plan(), day(end)), look)
        if seen.p() >= LEVEL and look >= end - 1:
            end = min(end + 1, LOOKS)


def set_back_when_it_pays() -> Act:
    """A table that grows is read of a longer window, and the planned one is put back once p is small."""
    spec = plan(GROWING)
    for look in range(1, LOOKS + 1):
        seen = yield Read(_ending(spec, END + timedelta(days=1)), END, (look, look))
        if seen.p() < LEVEL:
            yield Read(spec, END, (look, look))


def looks_added() -> Act:
    """A group-sequential test of one declared look; a day on which p is small becomes another."""
    declared = plan(
        sequential="group_sequential",
        sequential_share=0.0,
        looks=(day(3),),
        required_sample_size=2 * DAILY * LOOKS,
    )
    spec = declared
    for look in range(1, LOOKS + 1):
        seen = yield _at(spec, look)
        if seen.p() < LEVEL and day(look) not in spec.decision.looks and look < LOOKS:
            looks = tuple(sorted((*spec.decision.looks, day(look))))
            spec = replace(spec, decision=replace(spec.decision, looks=looks, spending="pocock"))
            yield _at(spec, look)
            spec = replace(spec, decision=replace(spec.decision, spending=declared.decision.spending))
            yield _at(spec, look)


def alpha_raised() -> Act:
    """Read at the end; then with more alpha, and with a larger share of it for always-valid evidence."""
    yield _at(plan(), LOOKS)
    for alpha, share in ((0.6, 0.1), (0.6, 0.9), (0.05, 0.0)):
        yield _at(plan(alpha=alpha, sequential_share=share), LOOKS)


def primary_swapped() -> Act:
    """At every look the metric with the smallest p is made the primary one."""
    spec = plan()
    for look in range(1, LOOKS + 1):
        seen = yield _at(spec, look)
        best = min(METRICS, key=seen.p)
        roles = {id: Role.PRIMARY if id == best else Role.INFORMATIONAL for id in METRICS}
        spec = replace(spec, metrics=tuple(replace(m, role=roles[m.id]) for m in spec.metrics))
    yield _at(spec, LOOKS)


def table_that_grows() -> Act:
    """Delivered again and again, and read at the planned end each time."""
    for look in range(1, LOOKS + 1):
        yield Read(plan(GROWING), END, (look, look))


def late_in_one_arm() -> Act:
    """At the end a look's worth of the treatment's users is missing; it comes later, each time read again."""
    for late in range(LOOKS - 1, 2 * LOOKS - 1):
        yield Read(plan(), END, (late, late + 1))


def unchecked_until_it_pays() -> Act:
    """A table that grows is read without its checks, and with them once p is small."""
    for look in range(1, LOOKS + 1):
        seen = yield Read(plan(GROWING), END, (look, look), skipped=("quality",))
        if seen.p() < LEVEL:
            yield Read(plan(GROWING), END, (look, look))


def thresholds_loosened() -> Act:
    """Half of the users fail the checks. Their result is taken by other thresholds if it pleases, else they are completed."""
    spec, half = plan(), (LOOKS // 2, LOOKS // 2)
    seen = yield Read(spec, END, half, passes=False)
    if seen.p() < LEVEL:
        yield Read(replace(spec, quality=QualityThresholds(max_duplicate_share=1.0)), END, half)
    yield _at(spec, LOOKS)


@dataclass(frozen=True)
class Behaviour:
    """What is done, how often in vain; without memory it is known to find far too much."""

    told: str
    act: Callable[[], Act]
    remembers: bool = True

    @property
    def name(self) -> str:
        """The cell's name."""
        return f"behaviours{'' if self.remembers else ' without memory'}: {self.told}"

    def checks(self, replicates: int) -> list[Check]:
        """Any ship, and any winner at all, where nothing has an effect."""
        found = [self._carried_out(world) for world in _worlds(self.told, min(replicates, MOST))]
        ships, calls = np.mean(found, axis=0)
        return [
            Check(self.name, "false ships", float(ships), len(found), LEVEL, "at most"),
            Check(self.name, "false winners", float(calls), len(found), LEVEL, "at most"),
        ]

    def _carried_out(self, world: World) -> tuple[bool, bool]:
        act, memory, decisions = self.act(), Memory(), list[Decision]()
        read = next(act)
        try:
            while True:
                seen = _seen(read, world, memory)
                decisions.append(seen.decision)
                memory = seen.decision.memory if self.remembers else Memory()
                read = act.send(seen)
        except StopIteration:
            pass
        return any(d.action == "ship" for d in decisions), any(d.winner in ARMS for d in decisions)


World = Sequence[dict[str, tuple[Block, ...]]]  # after each look: arm -> its blocks


def _seen(read: Read, world: World, memory: Memory) -> Seen:
    """The reading, as `exp run` makes it."""
    blocks = [block for arm, look in zip(ARMS, read.looks, strict=True) for block in world[look - 1][arm]]
    users = {block.variant_id: block.moments.n for block in blocks}
    aggregates = Aggregates(read.as_of, users, {}, tuple(blocks))
    experiment = read.spec
    state = remembering(experiment, memory, str(read.looks), END + timedelta(days=1))
    rows: list[Row] = [
        *ab.analyse(experiment, aggregates, state),
        *srm.analyse(experiment, aggregates, state),
    ]
    rows += evidence.analyse(experiment, aggregates, state, rows)
    status = "passed" if read.passes else "failed"
    check = CheckResult(read.as_of, "row_drop", "error", status, 0.0, 0.0, "drawn")  # type: ignore[arg-type]
    decision = decide(experiment, state, rows, [check], read.skipped)
    return Seen(
        decision, {r.metric_id: r for r in rows if isinstance(r, ResultRow) and r.method == ab.METHOD}
    )


def _worlds(key: str, replicates: int) -> Iterator[World]:
    """The users of every replicate, all looks after one another; twice as many looks as planned for those who wait."""
    looks = 2 * LOOKS
    for chunk, r in chunks(replicates, 2 * DAILY * looks * len(METRICS)):
        rng = random_numbers(f"behaviours: {key}", chunk)
        after: list[dict[tuple[str, str], list[Block]]] = []
        whole: dict[tuple[str, str], Draws] = {}
        for look in range(looks):
            for arm in ARMS:
                for metric_id in METRICS:
                    new = _POPULATION.draw(rng, _users(look), r, 0.0)
                    whole[arm, metric_id] = whole[arm, metric_id].merge(new) if look else new
            after.append({key: _blocks(*key, draws) for key, draws in whole.items()})
        for i in range(r):
            yield [{arm: tuple(of[arm, m][i] for m in METRICS) for arm in ARMS} for of in after]


def _users(look: int) -> int:
    """Users of an arm that come with a look; after the planned end few."""
    return DAILY if look < LOOKS else DAILY // 5


def _blocks(arm: str, metric_id: str, draws: Draws) -> list[Block]:
    return [
        Block("total", metric_id, arm, "all", "all", ("value",), moments, successes=draws.n)
        for moments in draws
    ]


def behaviours() -> list[Behaviour]:
    """Every behaviour, in the order of the page."""
    return [
        Behaviour("looked at daily", looked_at_daily),
        Behaviour("the end moved to today", end_moved_to_today),
        Behaviour("the end moved back after it was read", shortened_after_the_end),
        Behaviour("the end put off while p is large", extended_while_not_significant),
        Behaviour("another end, set back when it pays", set_back_when_it_pays),
        Behaviour("looks added, and another spending function", looks_added),
        Behaviour("alpha raised after the end", alpha_raised),
        Behaviour("the primary metric swapped for the best", primary_swapped),
        Behaviour("a table that grows with each delivery", table_that_grows),
        Behaviour("one arm's users come late", late_in_one_arm),
        Behaviour("unchecked until it pays", unchecked_until_it_pays),
        Behaviour("thresholds loosened when it pays", thresholds_loosened),
    ]


def forgetful() -> list[Behaviour]:
    """Those that a platform without memory rewards: what the memory is for."""
    known = {b.told: b for b in behaviours()}
    told = (
        "the end moved to today",
        "the end moved back after it was read",
        "looks added, and another spending function",
        "alpha raised after the end",
        "the primary metric swapped for the best",
        "a table that grows with each delivery",
    )
    return [replace(known[name], remembers=False) for name in told]
