"""The sentences of a report: how a decision and a row are put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exp_platform import numbers
from exp_platform.aggregates import ALL, Threshold
from exp_platform.analyses.interaction import TEST as INTERACTION
from exp_platform.analyses.rows import (
    WITH_VALUE,
    DidRow,
    DidSensitivityRow,
    EventStudyRow,
    LateRow,
    PretrendDeltaRow,
    PretrendTestRow,
    ResultRow,
    Row,
    SizeRow,
    Status,
)
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import METHODS, UNADJUSTED
from exp_platform.config.experiment import Experiment
from exp_platform.decision import Adequacy, Decision, Reason
from exp_platform.errors import shortened
from exp_platform.escaping import Markdown
from exp_platform.report.content import Report
from exp_platform.results.stored import DecidedDay
from exp_platform.stats.relative import Kind

_ACTIONS = {
    "ship": "ship",
    "stop": "stop",
    "extend": "keep running",
    "investigate": "investigate before deciding",
}

_CORRECTIONS = {
    "bonferroni": ("Bonferroni", ""),
    "holm": (
        "Holm",
        "An interval excludes zero exactly where Holm rejects; all of them together may miss more often. ",
    ),
    "bh": (
        "Benjamini and Hochberg",
        "At most that share of the significant results is expected to be false, and of their intervals to miss. ",
    ),
}

_RELATIVE = {
    "fieller": "",
    "delta": "the delta method",
    "log": "the delta method on the log of the ratio",
}


class RowsTold(NamedTuple):
    """One row account in words."""

    of: str
    read: str
    counted: str
    left_out: str


_LONG_VALUE = 200  # characters of a segment value that a page or terminal shows


def headline(decision: Decision | DecidedDay) -> str:
    """The decision in a few words."""
    if decision.action == "ship" and decision.winning_variant:
        return f"ship {decision.winning_variant}"
    return f"{decision.winner}, {_ACTIONS[decision.action]}"


def why(report: Report) -> str:
    """One sentence that says what was found."""
    decision = report.decision
    if stands := next((r for r in decision.reasons if r.code == "FINAL_STANDS"), None):
        return _of_final(decision, stands)
    row = decisive_row(report)
    if row is None or row.estimate is None:
        return f"No effect could be estimated as of {report.as_of_date}."
    found = f"{row.metric_id} went from {went(report, row)} ({relative(row)}) with {row.treatment_id}"
    if decision.trust != "ok":
        return f"{found}, but the data cannot be trusted: nothing follows from it yet."
    if decision.action == "ship":
        return f"{found}: significantly better."
    return f"{found}."


def went(report: Report, row: ResultRow) -> str:
    """From which level to which: control's and the treatment's."""
    return " to ".join(numbers.level(n, *report.scale(row)) for n in (row.mean_control, row.mean_treatment))


def _of_final(decision: Decision, stands: Reason) -> str:
    """What was found when it was decided: today's rows are of another spec."""
    found = f"{decision.decisive_metric}: {numbers.percent(decision.lift)} with {decision.reported_variant}"
    when = f"Decided as of {stands.data['read_as_of']}, by the spec as it was then"
    return f"{when}. {found}." if decision.lift is not None else f"{when}."


def decisive_row(report: Report) -> ResultRow | None:
    """The row that the decision reports: of its metric and variant, by the estimate that decides or, failing that, ab."""
    decision = report.decision
    rows = {
        (r.method, r.treatment_id): r
        for r in report.rows
        if r.metric_id == decision.decisive_metric and r.segment == ALL and r.status == Status.OK
    }
    reported = decision.reported_variant
    return (
        None
        if reported is None
        else rows.get((decision.estimate, reported)) or rows.get((UNADJUSTED, reported))
    )


def effect(report: Report, row: ResultRow | None) -> str:
    """The absolute effect with its interval; a dash where there is no row or no number."""
    found = row and numbers.with_interval(row.estimate, row.ci_low, row.ci_high, *report.scale(row))
    return found or numbers.DASH


def adjusted_by(row: ResultRow) -> str:
    """The covariates and strata that a row is adjusted by."""
    own = ", slopes per arm" if row.slopes == "per_arm" else ""
    strata = f"{row.strata} strata of {row.stratified_by}" if row.strata else None
    used = [f"{row.covariates}{own}" if row.covariates else None, strata]
    return "; ".join(u for u in used if u) or METHODS[row.method].called


def relative(row: ResultRow) -> str:
    """The relative effect with its interval, or why there is none."""
    if row.relative is None:
        return numbers.DASH
    if row.relative_low is None:
        return f"{numbers.percent(row.relative)} (interval {(row.relative_kind or 'unknown').lower()})"
    approximate = ", approximate" if row.relative_kind == Kind.APPROXIMATE else ""
    return f"{numbers.percent(row.relative)} {numbers.percent_interval(row.relative_low, row.relative_high)}{approximate}"


def reading(row: ResultRow) -> str:
    """What may be concluded from a row."""
    if row.status != Status.OK:
        return f"{row.status}: {row.message}" if row.message else str(row.status)
    if row.verdict is not None:  # guardrails, SRM
        return f"{row.severity}: {row.verdict.replace('_', ' ')}" if row.severity else row.verdict
    if not row.treatment_id:  # of all arms: no verdict of its own
        return row.message or numbers.DASH
    if row.chance_better is not None:
        return f"better with a chance of {numbers.share(row.chance_better)}"
    if row.always_valid_significant:
        return "significant, always-valid"
    if row.significant:
        return "significant"
    if row.significant_uncorrected:
        return "only before correction"
    return "not significant"


def segment(row: ResultRow) -> str:
    """Whom a row of a segment is about."""
    if row.test == INTERACTION:
        return f"{row.segment}, all values"
    return f"{row.segment} = {shortened(row.segment_value, _LONG_VALUE)}"


def differing(row: ResultRow) -> str:
    """The verdict of the test that an effect is the same in all values of a segment, and what to beware of."""
    if row.status != Status.OK:
        return reading(row)
    notes = [note for note in (row.message, row.caution) if note is not None]
    return "; ".join([row.verdict or "open until the planned end", *notes])


def frozen(segment: str, threshold: Threshold) -> str:
    """Who the top of a behavioural segment is, and since when that is fixed."""
    return (
        f"{segment} = top: at least {threshold.value:.6g} ({threshold.definition}), fixed as of {threshold.as_of_date} "
        f"when {numbers.share(threshold.share)} of {numbers.count(threshold.users)} users reached it"
    )


def pooled(report: Report) -> list[str]:
    """Which rarer values are one, in segments and in crossed strata."""
    return [
        f"{p.told(name)}{'' if name == segment else f' (in the strata {segment})'}"
        for segment, of in report.stored.pooled.items()
        for name, p in of.items()
    ]


def trend(row: PretrendTestRow) -> str:
    """The verdict of a pre-trends test."""
    if row.status != Status.OK:
        return f"{row.status}: {row.message}" if row.message else str(row.status)
    return "no evidence against parallel trends" if row.parallel else Markdown("**trends were not parallel**")


def sensitive(row: DidSensitivityRow) -> str:
    """What a violated trend would leave of an effect."""
    if row.status != Status.OK:
        return f"{row.status}: {row.message}" if row.message else str(row.status)
    if row.breakdown == 0:
        return "not told from 0 even with parallel trends"
    if row.breakdown is None:
        return "told from 0 whatever the steps"
    return f"told from 0 while steps stay below {row.breakdown:.2g} times the largest before"


def reading_of_days(report: Report, row: Row) -> str:
    """What may be concluded from a row that is none of `analysis_results`."""
    if isinstance(row, PretrendTestRow):
        return trend(row)
    if isinstance(row, DidSensitivityRow):
        return sensitive(row)
    if isinstance(row, SizeRow):
        return adequacy(report, row)
    if isinstance(row, LateRow):
        return f"{row.arm:,.0f} active users per day after {row.arm_before:,.0f}; in the other arms {row.others:,.0f} after {row.others_before:,.0f}"
    message = getattr(row, "message", None)
    if row.status == Status.OK:
        return message or numbers.DASH
    return f"{row.status}: {message}" if message else str(row.status)


def period(row: Row) -> str:
    """Which days, or which violation of the trend, a row that is none of `analysis_results` is about."""
    if isinstance(row, EventStudyRow):
        return f"day {row.first_day}" + (f" to {row.last_day}" if row.last_day != row.first_day else "")
    if isinstance(row, PretrendDeltaRow):
        return f"day {row.day}"
    if isinstance(row, DidSensitivityRow) and row.m_bar is not None:
        return f"steps up to {row.m_bar:g} times the largest before"
    if isinstance(row, LateRow):
        return f"since {row.since}"
    return ""


def adequacy(report: Report, size: Adequacy | SizeRow) -> str:
    """How many of the planned users are observed; how many days are left is said where the plan is known (`advice.standing`)."""
    if size.required_users is None:
        return f"{numbers.count(size.current_users)} users observed; no size was planned, so the window stands for it"
    of = f"{numbers.count(size.current_users)} of {numbers.count(size.required_users)} planned users observed"
    found = "" if size.power is None else f", which so many find with {numbers.share(size.power, 0)}"
    if size.mde is None:
        return of
    kinds = {metric.id: metric.kind for metric in report.experiment.metrics}
    scale = report.experiment.scale(size.metric_id, kinds.get(size.metric_id, ""))
    return f"{of} (to find an effect of {numbers.size(size.mde, *scale)} on {size.metric_id}{found})"


def significance(report: Report) -> str:
    """What the columns p and verdict mean in this report."""
    experiment = report.experiment
    size = len(experiment.family) * len(experiment.treatments)
    levels = sorted(
        {r.ci_level for r in report.of_method(UNADJUSTED) if r.ci_level is not None and r.role != "guardrail"}
    )
    shown = " and ".join(numbers.share(level, 2) for level in levels)
    if len(levels) > 2:
        shown = f"{numbers.share(levels[0], 2)} to {numbers.share(levels[-1], 2)}"
    name, covered = _CORRECTIONS[experiment.decision.correction]
    corrected = (
        f"{size} comparisons are corrected together ({name})"
        if experiment.decision.family == "all"
        else f"primary metrics are tested first, secondary ones only where all of them are significant ({name} in each)"
    )
    when = (
        "The planned decision date has come, so the fixed-horizon test counts."
        if report.decision.final
        else "Only always-valid evidence can be significant here, however small p is."
    )
    alpha = experiment.decision
    if alpha.sequential == "group_sequential":
        return (
            f"Intervals have a coverage of {shown}: {corrected} at alpha {alpha.alpha:.4g}. {_looks(report)}"
            f"{_approximate(report)}"
        )
    return (
        f"Intervals have a coverage of {shown}: {corrected} at {report.state.fixed_alpha_of(alpha):.4g} of alpha {alpha.alpha:.4g}; "
        f"{report.state.sequential_alpha_of(alpha):.4g} are for always-valid evidence. {covered}{when}{_counted(report)}"
        f"{_approximate(report)}"
    )


def _counted(report: Report) -> str:
    """Which rows are tested on counts; empty where all are Welch's."""
    names = {"score": "by the score test", "exact": "exactly, for want of outcomes"}
    found = {
        name: sorted({r.metric_id for r in report.of_method(UNADJUSTED) if r.test == name}) for name in names
    }
    told = [f"{', '.join(metrics)} {names[name]}" for name, metrics in found.items() if metrics]
    return f" Tested on counts: {'; '.join(told)}." if told else ""


def _approximate(report: Report) -> str:
    """What relative intervals that need not agree with the test are; empty where they are Fieller's."""
    name = _RELATIVE[report.experiment.analyses.relative_interval]
    return (
        name
        and f" Relative intervals called approximate are by {name}: p may disagree, and they decide nothing."
    )


def _looks(report: Report) -> str:
    """Where a group-sequential test stands."""
    dates = ", ".join(day.isoformat() for day in report.state.look_dates(report.experiment))
    spending = report.experiment.decision.spending.replace("obrien_fleming", "O'Brien-Fleming type")
    plan = f"Alpha is spent over the looks of {dates} ({spending} spending); on other days nothing can be significant."
    row = decisive_row(report)
    if row is None or row.look is None:
        return plan
    passed = "none can be" if row.boundary is None else f"|z| above {row.boundary:.3f} is"
    return (
        f"{plan} This is look {row.look}, at {numbers.share(row.information_fraction or 0, 0)} of the plan: {passed} significant on "
        f"{row.metric_id}, and {row.alpha_spent:.2g} of its alpha is spent."
    )


def did_windows(report: Report) -> str:
    """Which days the difference in differences compares."""
    row = next((r for r in report.of(DidRow) if r.pre_days is not None), None)
    if row is None:
        return ""
    return (
        f"The {row.post_days} whole days after each user's first exposure against the {row.pre_days} before it, "
        "only for users whose days are over."
    )


def absent(report: Report, stage: str) -> str:
    """Why a section is empty."""
    if stage not in report.experiment.analyses.enabled:
        return Markdown(f"The experiment does not ask for `{stage}`, or gives it nothing to do.")
    return Markdown(f"`{stage}` left no rows in this run; its task says why.")


def skips(report: Report) -> list[str]:
    """Which stages were skipped, and what stands in for each."""
    instead = {
        "quality": "the data was not judged, so no decision can be trusted",
        "aggregates": "the stored metric_aggregates_overall were used",
    }
    return [f"{s}: {instead.get(s, 'the stored rows were used')}" for s in report.stored.skipped]


def srm_line(row: ResultRow) -> str:
    """One line on the split between the arms."""
    p = numbers.p_value(row.p_value, row.log10_p)
    evidence = f"p {p}" if row.p_value is not None else (row.message or str(row.status))
    found = row.message if row.status == Status.OK and row.verdict is None else row.verdict or row.status
    users = f"by {row.segment}" if row.segment_value == ALL else row.segment_value
    if row.segment_value == WITH_VALUE:
        users = f"with a value of {row.metric_id}"
    return f"Split of users ({users}): {found}, {evidence}"


def ramp(experiment: Experiment) -> str:
    """Which shares the arms had, and since when; empty without a ramp."""
    names = [v.id for v in experiment.variants]
    return "; ".join(
        f"from {allocation.start} {', '.join(map(_share, names, allocation.shares))}"
        for allocation in experiment.ramp
    )


def _share(name: str, share: float) -> str:
    return f"{name} {numbers.share(share)}"


def quality(checks: Sequence[CheckResult]) -> str:
    """Which checks the data passed."""
    if not checks:
        return Markdown("**The data was not checked in this run.**")
    passed = [c.check for c in checks if c.status == "passed"]
    return f"{len(passed)} of {len(checks)} checks passed: {', '.join(passed)}."


def refreshed(report: Report) -> str:
    """Which refresh the results were made by, and why; empty where an older version made them."""
    return f"{made['kind'].capitalize()} refresh: {made['why']}." if (made := report.stored.refresh) else ""


def rows(report: Report) -> list[RowsTold]:
    """What became of the rows read of each table and of the users; of a metric's users only where some are not in it."""
    return [
        RowsTold(table, numbers.count(account.read), _told(account.counted), _told(account.left_out))
        for table, account in report.stored.rows.items()
        if account.left_out or " of " not in table
    ]


def _told(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{numbers.count(n)} {reason}" for reason, n in reasons.items()) or numbers.DASH
