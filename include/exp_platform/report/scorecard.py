"""The scorecard: each metric and treatment with the estimates that tell of it, ready to be drawn. Data only, no words of a page.

Metrics stand in the spec's order within their groups, and nothing is sorted by what was found: nobody shops for a result here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from exp_platform import numbers
from exp_platform.aggregates import ALL
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.analyses import ADJUSTED, GUARDING, METHODS, UNADJUSTED
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric, Role
from exp_platform.report.content import Report
from exp_platform.report.missing import WORDS, sentences


class Tone(StrEnum):
    """How a row is coloured, which is never told by colour alone."""

    GOOD = "good"
    BAD = "bad"
    WARN = "warn"  # beyond a margin, not proven
    OPEN = "open"  # nothing is shown, or it does not count yet
    MUTED = "muted"  # the data cannot be trusted


_VERDICTS = {
    "proven_breach": ("worse than its margin allows, proven", Tone.BAD),
    "observed_breach": ("beyond its margin, not proven", Tone.WARN),
    "non_inferior": ("not worse than its margin allows, proven", Tone.GOOD),
    "unproven": ("within its margin, not proven", Tone.OPEN),
}
_TITLES = {
    Role.PRIMARY: ("Primary metrics", "They decide."),
    Role.GUARDRAIL: (
        "Guardrails",
        "They must not get worse by more than their margin, the line in the picture.",
    ),
    Role.SECONDARY: (
        "Secondary metrics",
        "They share the error rate with the primary ones, and do not decide.",
    ),
    Role.INFORMATIONAL: ("For information", "Uncorrected, for context; they decide nothing."),
}


@dataclass(frozen=True)
class Line:
    """One estimate of one comparison. `margin` is a guardrail's, as a fraction of control's mean, signed like the effect."""

    row: ResultRow
    called: str  # how it was estimated
    part: str  # decides, counts, guards, or "" where it stands beside the one that does
    tone: Tone
    reading: str
    margin: float | None = None

    @property
    def estimated(self) -> bool:
        """Whether it has numbers."""
        return self.row.status == Status.OK and self.row.estimate is not None


@dataclass(frozen=True)
class Compared:
    """One treatment's estimates on one metric, the one that counts first."""

    treatment_id: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class OfMetric:
    """One metric's treatments."""

    metric: Metric
    compared: tuple[Compared, ...]


@dataclass(frozen=True)
class Group:
    """Metrics of one role. `without` tells in a sentence each of those that have no number; `bare` are those that have none at all."""

    role: Role
    title: str
    says: str
    metrics: tuple[OfMetric, ...]
    without: tuple[str, ...]
    bare: tuple[Metric, ...]

    @property
    def lines(self) -> list[Line]:
        """Every line, in order."""
        return [line for of in self.metrics for compared in of.compared for line in compared.lines]

    @property
    def level(self) -> str:
        """The coverage of its intervals in words; empty where it has none."""
        return level_of([line.row for line in self.lines])


@dataclass(frozen=True)
class Scale:
    """The one scale of relative effects on which all intervals are drawn, zero included; what lies beyond it is cut off."""

    low: float
    high: float

    def place(self, value: float | None, open_side: float) -> float:
        """Where a value lies between 0 and 1; None is an open side, at -inf or inf."""
        position = ((open_side if value is None else value) - self.low) / (self.high - self.low)
        return min(max(position, 0.0), 1.0)

    def beyond(self, value: float | None) -> bool:
        """Whether a value is cut off; an open side is."""
        return value is None or not self.low <= value <= self.high

    @property
    def ticks(self) -> list[float]:
        """Round values to label, zero among them."""
        step = _round_step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * i for i in range(first, last + 1)]


@dataclass(frozen=True)
class Scorecard:
    """All groups on one scale; `muted` where the data cannot be trusted, so that no effect may be read."""

    groups: tuple[Group, ...]
    scale: Scale
    muted: bool

    @property
    def lines(self) -> list[Line]:
        """Every line, in order."""
        return [line for group in self.groups for line in group.lines]


def scorecard(report: Report) -> Scorecard:
    """The scorecard of a report: primary metrics, guardrails, secondary and informational ones, each in the spec's order."""
    groups = [group for role in _TITLES if (group := _group(report, role)) is not None]
    lines = [line for group in groups for line in group.lines]
    return Scorecard(tuple(groups), scale_of(lines), report.decision.trust != "ok")


def _group(report: Report, role: Role) -> Group | None:
    guarding = role == Role.GUARDRAIL
    guarded = {row.metric_id for row in report.of_method(GUARDING)}
    metrics = [
        OfMetric(
            metric, tuple(_compared(report, metric, t.id, guarding) for t in report.experiment.treatments)
        )
        for metric in report.experiment.metrics
        if (metric.id in guarded if guarding else metric.role == role)
    ]
    metrics = [OfMetric(m.metric, tuple(c for c in m.compared if c.lines)) for m in metrics]
    metrics = [of_metric for of_metric in metrics if of_metric.compared]
    if not metrics:
        return None
    kept, without = _without_numbers(report.experiment, metrics)
    title, says = _TITLES[role]
    shown = {of_metric.metric.id for of_metric in kept}
    bare = tuple(of_metric.metric for of_metric in metrics if of_metric.metric.id not in shown)
    return Group(role, title, says, tuple(kept), tuple(without), bare)


def _compared(report: Report, metric: Metric, treatment_id: str, guarding: bool) -> Compared:
    rows = {
        row.method: row
        for row in report.rows
        if (row.metric_id, row.treatment_id, row.segment) == (metric.id, treatment_id, ALL)
        and row.control_id == report.experiment.control.id
    }
    if guarding:
        found = [_guarding(report, rows[GUARDING])] if GUARDING in rows else []
        return Compared(treatment_id, tuple(found))
    deciding = _deciding(report.experiment, rows)
    methods = [deciding, *(m for m in (UNADJUSTED, *ADJUSTED) if m != deciding)]
    lines = [
        _line(report, metric, rows[method], method == deciding)
        for method in methods
        if method in rows and (method == deciding or rows[method].status == Status.OK)
    ]
    return Compared(treatment_id, tuple(lines))


def _deciding(experiment: Experiment, rows: dict[str, ResultRow]) -> str:
    """The method whose row counts: the unadjusted one where the estimate that decides has nothing to adjust by."""
    estimate = experiment.decision.estimate
    return estimate if estimate in rows and rows[estimate].status == Status.OK else UNADJUSTED


def _line(report: Report, metric: Metric, row: ResultRow, counts: bool) -> Line:
    part = "" if not counts else "decides" if metric.role == Role.PRIMARY else "counts"
    if metric.role == Role.INFORMATIONAL:
        part = ""
    reading, tone = _reading(report, metric, row, counts)
    return _muted(report, Line(row, METHODS[row.method].called, part, tone, reading))


def _guarding(report: Report, row: ResultRow) -> Line:
    reading, tone = _VERDICTS.get(row.verdict or "", (_no_number(row), Tone.OPEN))
    return _muted(report, Line(row, f"{row.severity} guardrail", "guards", tone, reading, _margin(row)))


def _muted(report: Report, line: Line) -> Line:
    """The line as it is, or without any claim where the data cannot be trusted."""
    if report.decision.trust == "ok":
        return line
    return replace(line, tone=Tone.MUTED, reading="not to be read" if line.estimated else line.reading)


def _margin(row: ResultRow) -> float | None:
    """A guardrail's margin on the scale of relative effects."""
    if row.margin_relative is not None:
        return row.margin_relative
    return None if row.margin is None or not row.mean_control else row.margin / abs(row.mean_control)


def _reading(report: Report, metric: Metric, row: ResultRow, counts: bool) -> tuple[str, Tone]:
    """What may be concluded from a row, in words and as a tone: no colour before its evidence counts."""
    if row.status != Status.OK or row.estimate is None:
        return _no_number(row), Tone.OPEN
    if metric.role == Role.INFORMATIONAL:
        return "for context", Tone.OPEN
    if not (row.significant or row.always_valid_significant):
        only = "better or worse only before correction" if row.significant_uncorrected else ""
        return only or (
            "no difference shown" if report.decision.final else "no difference shown so far"
        ), Tone.OPEN
    better = row.estimate * metric.direction > 0
    if better and _too_small(report, row):
        return "better, by less than is worth having", Tone.OPEN
    said = "significantly better" if better else "significantly worse"
    if not counts:
        return f"{said}, and does not decide", Tone.OPEN
    return said, Tone.GOOD if better else Tone.BAD


def _too_small(report: Report, row: ResultRow) -> bool:
    """Whether the decision says of this treatment and metric that the effect is not worth having."""
    key = (row.treatment_id, row.metric_id, "below_practical")
    return key in {(t.treatment_id, t.metric_id, t.outcome) for t in report.decision.treatments}


def _no_number(row: ResultRow) -> str:
    return WORDS.get(row.status, "no estimate")


def _without_numbers(experiment: Experiment, metrics: Sequence[OfMetric]) -> tuple[list[OfMetric], list[str]]:
    """The metrics with the comparisons that have numbers, and one sentence for each reason why others have none."""
    missing: list[tuple[str, ResultRow]] = []
    kept = []
    several = len(experiment.treatments) > 1
    for of_metric in metrics:
        there = [c for c in of_metric.compared if c.lines[0].estimated]
        if there:
            kept.append(OfMetric(of_metric.metric, tuple(there)))
        for compared in of_metric.compared:
            if compared not in there:
                of = f" ({compared.treatment_id})" if several else ""
                missing.append((of_metric.metric.id + of, compared.lines[0].row))
    return kept, sentences(missing)


def scale_of(lines: Iterable[Line]) -> Scale:
    """A scale on which most intervals are whole: one that is many times as wide as the others is cut off, not they squeezed."""
    drawn = [line for line in lines if line.estimated and line.row.relative is not None]
    points = [abs(line.row.relative or 0.0) for line in drawn]
    points += [abs(line.margin) for line in drawn if line.margin is not None]
    ends = [e for line in drawn for e in (line.row.relative_low, line.row.relative_high) if e is not None]
    if not points:
        return Scale(-0.1, 0.1)
    sizes = sorted(abs(e) for e in ends) or sorted(points)
    most = max(4 * sizes[len(sizes) // 2], 1.15 * max(points), 1e-4)
    most = max(most, sizes[-1]) if sizes[-1] <= 2 * most else most  # for so little nothing is cut off
    inside = [
        *ends,
        *(line.row.relative or 0.0 for line in drawn),
        *(line.margin or 0.0 for line in drawn),
        0.0,
    ]
    low, high = max(min(inside), -most), min(max(inside), most)
    room = 0.06 * (high - low) or 0.1
    return Scale(low - room, high + room)


def _round_step(step: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def level_of(rows: Sequence[Any]) -> str:
    """The coverage of rows' intervals in words, a range where they differ; empty where none has one."""
    levels = sorted({row.ci_level for row in rows if row.ci_level is not None})
    shown = list(dict.fromkeys(f"{100 * level:.4g} %" for level in levels))
    return shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}" if shown else ""


def margin_told(report: Report, line: Line) -> str:
    """A guardrail's margin as it was given: relative or in the metric's unit."""
    row = line.row
    if row.margin_relative is not None:
        return numbers.percent(row.margin_relative)
    return numbers.change(row.margin, *report.scale(row))
