"""What many replicates of one experiment say, each with its rows and its decision, against what is true of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from exp_platform.analyses.rows import DidRow, PretrendTestRow, ResultRow, Row, Status
from exp_platform.analyses.srm import ALPHA as SRM_LEVEL
from exp_platform.config.experiment import Experiment
from exp_platform.config.plans import DecisionPlan
from exp_platform.decision import Decision
from exp_platform.stats.power import of_proportions, power
from exp_platform.synth.propensity import synthetic_source, truths
from exp_validation.bands import Check, Side
from exp_validation.methods import LEVEL

DECIDED, ALWAYS, ALARMED = "decided wrongly", "always-valid evidence wrong", "false alarms, srm"
FIXED = "fixed-horizon p below 5 %, which the platform never calls"
BY_DAY = ", by day "
SEQUENTIAL_SHARE = DecisionPlan().sequential_share
FALSE_CLAIM = DecisionPlan().sequential_alpha + DecisionPlan().fixed_alpha / 2  # one side of a guardrail


@dataclass(frozen=True)
class Replicate:
    """One replicate on one day: its rows and its decision."""

    rows: Sequence[Row]
    decision: Decision

    def row(self, method: str, metric_id: str) -> ResultRow | None:
        """Its row of that method and metric where the status is OK."""
        for row in self.rows:
            if isinstance(row, ResultRow) and (row.method, row.metric_id) == (method, metric_id):
                return row if row.status is Status.OK else None
        return None

    @property
    def alarmed(self) -> bool:
        """Whether the split is called broken."""
        return any(isinstance(r, ResultRow) and r.verdict == "mismatch" for r in self.rows)


Look = Sequence[Replicate]


def at_the_end(cell: str, experiment: Experiment, final: Look, *, sound: bool) -> list[Check]:
    """Level, coverage and power at the planned decision date; of a faulty experiment what the platform notices."""
    if not sound:
        return list(_noticed(cell, final))
    control, treatment = truths(experiment)
    effects = {
        "conversion": treatment.conversion - control.conversion,
        "revenue": treatment.revenue - control.revenue,
        "pageviews": 0.0,
    }
    checks = [*_coverage(cell, experiment, final, effects)]
    if effects["conversion"] == 0:
        return [*_levels(cell, final), *checks]
    return [*_found(cell, experiment, final, effects["conversion"]), *checks]


def _levels(cell: str, final: Look) -> Iterator[Check]:
    for method, metric in (("ab", "conversion"), ("ab", "conversion_3_days"), ("ab", "revenue"), ("cuped", "conversion"),
                           ("cuped", "pageviews")):  # fmt: skip
        rows = [r.row(method, metric) for r in final]
        yield _share(
            cell, f"false positives, {method} of {metric}", rows, lambda row: row.p_value < LEVEL, LEVEL
        )
    did = [row for r in final for row in r.rows if isinstance(row, DidRow) and row.metric_id == "pageviews"]
    yield _share(cell, "false positives, did of pageviews", _ok(did), lambda row: row.p_value < LEVEL, LEVEL)
    tests = [
        row
        for r in final
        for row in r.rows
        if isinstance(row, PretrendTestRow) and row.metric_id == "pageviews"
    ]
    yield _share(
        cell, "false alarms, pretrends of pageviews", _ok(tests), lambda row: not row.parallel, LEVEL
    )
    yield _share(cell, "false alarms, srm", final, lambda r: r.alarmed, SRM_LEVEL, "at most")
    guarded = [r.row("guardrails", "pageviews") for r in final]
    yield _share(
        cell,
        "guardrail kept, called broken",
        guarded,
        lambda r: r.verdict == "proven_breach",
        FALSE_CLAIM,
        "at most",
    )
    yield _share(cell, "warned on the guardrail", guarded, lambda r: r.caution is not None, 0.0, "none")


def _coverage(cell: str, experiment: Experiment, final: Look, effects: dict[str, float]) -> Iterator[Check]:
    level = 1 - experiment.decision.fixed_alpha
    for method, metric in (
        ("ab", "conversion"),
        ("ab", "revenue"),
        ("cuped", "conversion"),
        ("cuped", "pageviews"),
    ):
        rows = [r.row(method, metric) for r in final]
        covers = partial(_covers, effects[metric])
        yield _share(cell, f"coverage, {method} of {metric}", rows, covers, level)


def _covers(truth: float, row: Any) -> bool:
    return bool(row.ci_low <= truth <= row.ci_high)


def _found(cell: str, experiment: Experiment, final: Look, effect: float) -> Iterator[Check]:
    """Ships as often as planned: by the fixed-horizon test, to which always-valid evidence adds next to nothing."""
    source = synthetic_source(experiment)
    users = [source.n_users / source.replicates * v.share for v in experiment.variants]
    variances, alpha = of_proportions(source.base_conversion), experiment.decision.fixed_alpha
    planned = power(effect, variances, users[0], users[1], alpha)
    yield _share(cell, "ships", final, lambda r: r.decision.action == "ship", planned)
    yield _share(
        cell, "calls control better", final, lambda r: r.decision.winner == "control", LEVEL / 2, "at most"
    )


def _noticed(cell: str, final: Look) -> Iterator[Check]:
    """Told, not judged: nothing is promised of a fault's size."""
    yield _share(cell, "srm mismatch", final, lambda r: r.alarmed, 0.0, "none")
    tests = [
        row
        for r in final
        for row in r.rows
        if isinstance(row, PretrendTestRow) and row.metric_id == "pageviews"
    ]
    yield _share(cell, "trends found not parallel", _ok(tests), lambda row: not row.parallel, 0.0, "none")
    did = [row for r in final for row in r.rows if isinstance(row, DidRow) and row.metric_id == "pageviews"]
    yield _share(
        cell,
        "did of pageviews significant without an effect",
        _ok(did),
        lambda r: r.p_value < LEVEL,
        0.0,
        "none",
    )
    yield _share(cell, "action investigate", final, lambda r: r.decision.action == "investigate", 0.0, "none")


Calls = dict[str, list[bool]]  # what was called at one look, replicate by replicate


def calls_of(look: Look) -> Calls:
    """What each way of looking calls of conversion at one look."""
    rows = [r.row("ab", "conversion") for r in look]
    return {
        DECIDED: [r.decision.winner in ("treatment", "control") for r in look],
        ALWAYS: [bool(row and row.always_valid_significant) for row in rows],
        ALARMED: [r.alarmed for r in look],
        FIXED: [row is not None and row.p_value is not None and row.p_value < LEVEL for row in rows],
    }


def over_all_looks(cell: str, looks: Sequence[Calls]) -> list[Check]:
    """Errors at any look of an experiment without an effect; and, told only, how they grow from day to day."""
    promised: tuple[tuple[str, float, Side], ...] = (
        (DECIDED, LEVEL, "at most"),
        (ALWAYS, LEVEL * SEQUENTIAL_SHARE, "at most"),
        (ALARMED, 2 * SRM_LEVEL, "at most"),
        (FIXED, LEVEL, "none"),
    )
    checks = [ever(cell, name, f"{name}, at any look", looks, level, side) for name, level, side in promised]
    for name in (DECIDED, ALWAYS, FIXED):
        days = range(1, len(looks) + 1)
        checks += [ever(cell, name, f"{name}{BY_DAY}{day}", looks[:day], LEVEL, "none") for day in days]
    return checks


def ever(
    cell: str,
    name: str,
    measure: str,
    looks: Sequence[Calls],
    promised: float = LEVEL,
    side: Side = "at most",
) -> Check:
    """The share of replicates that were called so at any of these looks."""
    called = np.array([look[name] for look in looks]).any(axis=0)
    return Check(cell, measure, float(np.mean(called)), len(looks[0][name]), promised, side)


def _ok(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row.status is Status.OK]


def _share(
    cell: str,
    measure: str,
    items: Sequence[Any],
    happened: Callable[[Any], bool],
    promised: float,
    side: Side = "both",
) -> Check:
    """The share of items in which it happened; those without an answer do not count."""
    answers = [happened(item) for item in items if item is not None]
    return Check(cell, measure, float(np.mean(answers)), len(answers), promised, side)
