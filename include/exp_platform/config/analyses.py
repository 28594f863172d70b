"""The one list of analyses: what each is called, reads and asks for. Stages, YAML keys, flags, rows and views follow from it.

Every process that parses DAGs imports this, so nothing here imports NumPy. What an analysis computes is `analyse` in
`analyses/<name>.py`; how the memo's appendix shows it is `report/templates/sections/<nn>_<name>.md.j2`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from exp_platform.aggregates import Kind

Estimate = Literal["ab", "cuped", "post_stratified", "cuped_post_stratified"]  # methods that may decide
UNADJUSTED: Estimate = "ab"
BY_COVARIATES: Estimate = "cuped"

GUARDING = "guardrails"  # the method whose rows guard
SPLIT = "srm"  # ... whose rows tell how users were split
DECISIVE = "evidence"  # ... whose rows the decision rests on
RESULTS = "analysis_results"  # the table of every method that has none of its own


class _Plan(Protocol):
    @property
    def pre_period_days(self) -> int: ...
    @property
    def strata(self) -> Sized: ...


class _Source(Protocol):
    @property
    def kind(self) -> str: ...


class _Asked(Protocol):
    """What of a spec tells whether an analysis has something to do; `ExperimentSpec`, which reads the list below, has it."""

    @property
    def analyses(self) -> _Plan: ...
    @property
    def source(self) -> _Source: ...
    @property
    def segments(self) -> Sized: ...
    @property
    def guardrails(self) -> Sized: ...
    @property
    def trigger(self) -> object: ...


Remedy = Callable[[_Asked], str | None]


@dataclass(frozen=True)
class Method:
    """One kind of an analysis's rows: those of a table or, in `analysis_results`, those with its name as `method`."""

    name: str
    called: str = ""  # as the memo calls an estimate that may decide
    table: str = RESULTS
    twin: str | None = ""  # its key in the memo's JSON twin; "": its name; None: it is not in there
    covariates: bool = False  # takes out the variance that users' past explains ...
    strata: bool = False  # ... and that segments do

    @property
    def twin_key(self) -> str | None:
        """Its key in the memo's JSON twin; None where it is not in there."""
        return self.name if self.twin == "" else self.twin

    @property
    def adjusts(self) -> bool:
        """Whether it takes variance out."""
        return self.covariates or self.strata


@dataclass(frozen=True)
class Analysis:
    """One analysis. Without `options` it runs unless the spec says no, with them only where the spec gives them."""

    name: str
    doc: str
    required: bool = False  # the run fails with it; else it goes on
    reads: tuple[Kind, ...] = ("total",)  # the kinds of blocks it reads, which the kernels make for it
    after: tuple[str, ...] = ()  # the analyses whose rows it reads
    methods: tuple[Method, ...] = ()  # (): one, of its own name
    options: tuple[
        str, ...
    ] = ()  # keys under its name in the spec; each is `<name>_<option>` in AnalysisPlan
    idle: Remedy = lambda _: None  # what the spec lacks for it to have something to do
    needed: Remedy = lambda _: None  # why the spec cannot do without it

    @property
    def kinds_of_rows(self) -> tuple[Method, ...]:
        """Its methods, of which it has one at least."""
        return self.methods or (Method(self.name),)

    def estimates(self, estimate: str) -> bool:
        """Whether one of its methods is that estimate."""
        return estimate in (method.name for method in self.kinds_of_rows)


def _no_pre_period(spec: _Asked) -> str | None:
    return None if spec.analyses.pre_period_days else "it needs pre_period_days above 0"


def _nothing_to_adjust_by(spec: _Asked) -> str | None:
    return None if spec.analyses.strata else _no_pre_period(spec)


def _no_segments(spec: _Asked) -> str | None:
    return None if spec.segments else "name some under segments"


def _no_trigger(spec: _Asked) -> str | None:
    return (
        None if spec.trigger else "the spec has no trigger: the other rows are of all exposed users already"
    )


def _no_guardrails(spec: _Asked) -> str | None:
    return None if spec.guardrails else "name some under guardrails"


def _no_days(spec: _Asked) -> str | None:
    return "a units source has no days after exposure" if spec.source.kind == "units" else None


def _guarded(spec: _Asked) -> str | None:
    return "the spec has guardrails, and the decision rests on them" if spec.guardrails else None


def _stratified(spec: _Asked) -> str | None:
    return "post-stratification by analyses.strata is part of it" if spec.analyses.strata else None


ANALYSES: tuple[Analysis, ...] = (
    Analysis("srm", "Sample ratio mismatch: were users split as planned?", required=True),
    Analysis(
        "ab",
        "Welch's t test for every metric.",
        required=True,
        methods=(Method("ab", "unadjusted", twin="metrics"),),
    ),
    Analysis(
        "cuped",
        "The same with variance reduced by pre-period covariates and by strata.",
        methods=(
            Method("cuped", "CUPED-adjusted", covariates=True),
            Method("post_stratified", "post-stratified", strata=True),
            Method(
                "cuped_post_stratified",
                "post-stratified and CUPED-adjusted",
                covariates=True,
                strata=True,
            ),
        ),
        idle=_nothing_to_adjust_by,
        needed=_stratified,
    ),
    Analysis(
        "diluted",
        "Under a trigger the effect on all exposed users, beside that on those who reached it.",
        reads=("exposed",),
        idle=_no_trigger,
    ),
    Analysis(
        "did",
        "Difference in differences, post minus pre per user and day.",
        reads=("daily",),
        methods=(
            Method("did", table="did_results"),
            Method("event_study", table="did_event_study"),
            Method("did_sensitivity", table="did_sensitivity"),
        ),
        idle=_no_pre_period,
    ),
    Analysis(
        "pretrends",
        "Were both arms on parallel trends before exposure?",
        reads=("daily",),
        methods=(
            Method("pretrends", table="did_pretrend_tests"),
            Method("pretrend_deltas", table="did_pretrend_delta", twin=None),
        ),
        idle=_no_pre_period,
    ),
    Analysis("segments", "Exploratory effects within pre-exposure segments.", idle=_no_segments),
    Analysis(
        "stability",
        "Does the effect last, and is it the same for all exposure cohorts?",
        reads=("daily", "cohort"),
        idle=_no_days,
    ),
    Analysis(
        "guardrails",
        "Non-inferiority of the metrics that must not get worse.",
        required=True,
        idle=_no_guardrails,
        needed=_guarded,
    ),
    Analysis(
        "evidence",
        "What the decision rests on: which estimates decide, treatments against one another, sizes, late rows.",
        required=True,
        after=("ab", "cuped"),
        methods=(
            Method("evidence", twin=None),
            Method("sample_sizes", table="sample_sizes", twin=None),
            Method("late_days", table="late_days", twin=None),
        ),
        needed=lambda _: "the decision reads it",
    ),
    Analysis(
        "bayes",
        "Chance to beat control; shown, never deciding.",
        after=("evidence",),
        options=("prior_sd",),
    ),
)

METHODS: dict[str, Method] = {m.name: m for a in ANALYSES for m in a.kinds_of_rows}
ADJUSTED: dict[str, Method] = {name: m for name, m in METHODS.items() if m.adjusts}
NAMES: tuple[str, ...] = tuple(a.name for a in ANALYSES)


def analysis(name: str) -> Analysis:
    """The analysis of that name. Raises KeyError."""
    return {a.name: a for a in ANALYSES}[name]


def read_by(enabled: Iterable[str], kind: Kind) -> bool:
    """Whether one of these analyses reads blocks of that kind."""
    return any(kind in analysis(name).reads for name in enabled)
