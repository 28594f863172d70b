"""Situations in which the data are right and the obvious reading is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np

from exp_platform import numbers
from exp_platform.analyses.rows import DidRow, DidSensitivityRow, EventStudyRow, PretrendTestRow
from exp_platform.report import charts
from exp_scenarios.reading import naive, row, tested
from exp_scenarios.scenario import Said, Scenario, Step
from exp_scenarios.shop import DAYS, START, Shop, deliver, lognormal, read

ALL_DAYS = tuple(START.date() + timedelta(days=day) for day in range(DAYS))


def _looks(said: Sequence[Said]) -> list[str]:
    found = {r.as_of_date: r for r in said[-1].report.series if r.metric_id == "conversion"}
    lines = [
        "| as of | relative effect | fixed-horizon p | always-valid interval | decision |",
        "|---|---|---|---|---|",
    ]
    for stored in said[-1].decisions:
        one = found[stored.as_of_date]
        band = numbers.interval(one.always_valid_low, one.always_valid_high, one.metric_kind)
        p = numbers.p_value(one.p_value)
        marked = f"**{p}**" if one.p_value is not None and one.p_value < 0.05 else p
        lines.append(
            f"| {stored.as_of_date} | {numbers.percent(one.relative)} | {marked} | {band} | {stored.action} |"
        )
    return lines


def _luckiest(said: Sequence[Said], _: Path) -> str:
    series = [r for r in said[-1].report.series if r.metric_id == "conversion"]
    looks = [(r.p_value, r) for r in series if r.p_value is not None]
    lucky = [p for p, _ in looks if p < 0.05]
    best = min(looks, key=lambda look: look[0])[1]
    return (
        f"*Significant, stop here*, on {len(lucky)} of {len(looks)} days: on {best.as_of_date} conversion {tested(best)}. Tested at 5 % every "
        "day for a fortnight, about one experiment in five without an effect has such a day "
        "([08](../08_statistical_validation/platform.md)). This one was picked for having it."
    )


LUCKY_DAY = Scenario(
    id="lucky_day",
    title="Peeking on a lucky day",
    situation="An experiment is looked at every morning for a fortnight.",
    truth="Nothing changes.",
    steps=(Step("days: 14\nn_users: 16000\nmde: 25%\nseed: 42\n", as_of=ALL_DAYS),),
    rows=(("ab", "conversion"),),
    further=_looks,
    why="""
        Before the planned date only always-valid evidence counts: its interval may be read on any day and on all of them, and it
        never left zero out. The fixed-horizon p is for the planned date alone, when it is no longer small.
    """,
    naive=_luckiest,
    picture=lambda said: charts.effect_over_time(
        [r for r in said[-1].report.series if r.metric_id == "conversion"]
    ),
)


def _wholesale(folder: Path) -> None:
    shop = Shop(seed=32, n=20_000)
    value = lognormal(shop.rng, shop.n, 40.0, 30.0) * (1 + 0.12 * shop.arm)
    shop.once("order", np.full(shop.n, 0.2), value)
    reseller = (np.arange(shop.n) == np.flatnonzero(shop.arm == 0)[0]).astype(float)
    shop.once("order", reseller, 60_000.0)
    deliver(folder, shop.exposures(), shop.outcomes())


HEAVY_TAIL = Scenario(
    id="heavy_tail",
    title="One very large order",
    situation="A bundle offer. One visitor of the control is a reseller and orders for 60,000; everybody else spends about 40.",
    truth="Orders of the treatment are worth 12 % more. The reseller would have come to either arm.",
    steps=(
        Step(
            """\
metrics:
  - {id: revenue, type: mean, event: order, winsorise: {upper: 0.99}, role: primary, mde: 15%}
  - {id: revenue_uncapped, type: mean, event: order, role: informational}
""",
            _wholesale,
        ),
    ),
    rows=(("ab", "revenue"), ("ab", "revenue_uncapped")),
    why="""
        The metric that decides is capped at the 99th percentile of all users, which the spec said beforehand. One order then counts
        like any other large one. The uncapped mean stands beside it: its interval is so wide that it says nothing, and it says so.
        The capped effect tends to be a little smaller than the true one, because the cap takes some of the treatment's gain too.
    """,
    naive=lambda said, _: (
        f"*A disaster*: revenue {tested(row(said[-1].report, 'ab', 'revenue_uncapped'))}. Taking the order out by hand once it is seen "
        "is the other mistake: with the arm known, somebody always finds a reason."
    ),
    picture=lambda said: charts.effects(said[-1].report.of_method("ab"), {}),
)


def _two_devices(folder: Path) -> None:
    """A roll-out by app version has sent most phones to the treatment and most desktops to control."""
    rng = np.random.default_rng(33)
    n = 20_000
    phone = rng.random(n) < 0.5
    shop = Shop(seed=34, n=n, treated=np.where(phone, 0.7, 0.3))
    shop.once("order", np.where(phone, 0.08, 0.2) + 0.02 * shop.arm)
    deliver(folder, shop.exposures(device=np.where(phone, "phone", "desktop")), shop.outcomes())


_BY_DEVICE = """\
metrics:
  - {id: conversion, type: proportion, event: order, role: primary, mde: 15%, baseline: 0.14}
segments: [device]
analyses: {strata: [device]}
"""

SIMPSON = Scenario(
    id="simpson",
    title="Simpson's paradox",
    situation="Half of all users are in each arm, as planned. But phones, whose owners buy little, were mostly sent to the treatment.",
    truth="Conversion rises by 2 percentage points on either device.",
    steps=(
        Step(_BY_DEVICE, _two_devices, name="the unadjusted estimate decides (the default)"),
        Step(
            _BY_DEVICE + "decision: {estimate: post_stratified}\n",
            name="the post-stratified estimate decides",
            apart=True,
        ),
    ),
    rows=(("srm", ""), ("ab", "conversion"), ("post_stratified", "conversion"), ("segments", "conversion")),
    why="""
        The arms differ in who is in them, so their plain difference compares phones with desktops. Within each device the effect has
        the other sign, and post-stratification finds the truth. All users together are split 1 : 1, so the SRM test of them sees nothing;
        the one within devices does: `SRM_WITHIN_SEGMENT`. Whichever estimate was to decide, an assignment that depends on who is assigned
        is no experiment, and what else it depends on nobody knows: *investigate*. The platform can only look at segments that the spec
        names, so name those that the assignment might depend on.
    """,
    naive=lambda said, _: f"*It hurts*: {tested(row(said[0].report, 'ab', 'conversion'))}.",
)


def _endless_feed(folder: Path) -> None:
    """Everybody looks at more pages; nobody buys more or less."""
    shop = Shop(seed=38, n=20_000)
    interest = shop.rng.gamma(0.8, 1.0, shop.n)
    shop.daily("pageview", 0.35 * interest * (1 + 0.8 * shop.arm), range(DAYS))
    shop.once("order", np.clip(0.03 + 0.12 * interest, 0, 0.9))
    before = shop.rng.poisson(5 * interest)
    deliver(folder, shop.exposures(frequent=np.where(before >= 8, "yes", "no")), shop.outcomes())


_FEED = """\
metrics:
  - {id: conversion, type: proportion, event: order, role: primary, mde: 15%, baseline: 0.12}
  - {id: pageviews, type: count, event: pageview}
"""


def _power_users(said: Sequence[Said], folder: Path) -> str:
    users = read(folder, "exposures").set_index("user_id")[["variant_id", "exposed_at"]]
    events = read(folder, "outcomes")
    views = events[events.event == "pageview"].groupby("user_id").size().reindex(users.index, fill_value=0)
    bought = users.index.isin(events[events.event == "order"].user_id).astype(float)
    power, treated = (views >= 8).to_numpy(), (users.variant_id == "treatment").to_numpy()
    among, rest = (naive(bought[side & ~treated], bought[side & treated]) for side in (power, ~power))
    share = [float(power[arm].mean()) for arm in (~treated, treated)]
    return (
        f"*It hurts our best users*: of visitors with 8 pageviews or more, conversion {among}. And everybody else: {rest}. Both groups look "
        f"worse although nobody bought less: the treatment has made {numbers.share(share[1], 0)} of its visitors *power users*, the control {numbers.share(share[0], 0)}, and those "
        "who were moved up buy less than the ones who were there already, and more than those they left."
    )


POWER_USERS = Scenario(
    id="power_users",
    title="The power-user trap",
    situation="An endless feed. Somebody asks what it does to *power users*, those with 8 pageviews or more during the experiment.",
    truth="Everybody looks at 80 % more pages. Nobody buys more or less.",
    steps=(
        Step(
            _FEED + "segments: [pageviews]\n",
            _endless_feed,
            name="asked for by behaviour during the experiment",
        ),
        Step(
            _FEED + "segments: [frequent]\n", name="asked for by visits before it, recorded at first exposure"
        ),
    ),
    rows=(("ab", "conversion"), ("ab", "pageviews"), ("segments", "conversion")),
    why="""
        A segment made of behaviour after exposure is an outcome: the treatment decides who is in it, so its arms are not alike. Such a
        spec is refused. The same question about how people behaved *before* is fair, and its answer is that nothing happens to
        either group.
    """,
    naive=_power_users,
)


def _trend(said: Sequence[Said]) -> list[str]:
    report = said[-1].report
    (did,) = (r for r in report.of(DidRow) if r.metric_id == "pageviews")
    (test,) = (r for r in report.of(PretrendTestRow) if r.metric_id == "pageviews")
    bound = [r for r in report.of(DidSensitivityRow) if r.metric_id == "pageviews"]
    reading = "rejected" if test.parallel is False else "not rejected"
    broken = bound[0].breakdown
    told = "an interval that never holds 0" if broken is None else f"a breakdown value of {broken:.2g}"
    return [
        "| difference in differences of pageviews | |",
        "|---|---|",
        f"| estimate, a user and day | {did.estimate:+.3f} (p = {numbers.p_value(did.p_value, did.log10_p)}) |",
        f"| parallel trends before exposure | {reading} (p = {numbers.p_value(test.p_value, test.log10_p)}) |",
        f"| if trends may differ as much after exposure as before | {told} |",
    ]


def _differences(said: Sequence[Said], _: Path) -> str:
    (did,) = (r for r in said[-1].report.of(DidRow) if r.metric_id == "pageviews")
    share = (did.estimate or 0) / (did.post_mean_control or 1)
    return (
        f"*Pageviews rise by {numbers.share(share, 0)}* (p = {numbers.p_value(did.p_value, did.log10_p)}), from after against before in both arms. What grew before "
        "exposure anyway is taken for the effect."
    )


TREND = Scenario(
    id="violated_trend",
    title="Trends that were not parallel",
    situation="The history of treated users is incomplete, the more so the older it is: their old app was replaced step by step.",
    truth="Nothing changes. Before exposure, treated users' counted activity grew by 4 % a day.",
    steps=(
        Step(
            """\
source: {kind: synthetic, n_users: 16000, pre_trend: 0.04, seed: 36}
metrics:
  - {id: pageviews, type: count, event: pageview, role: primary, mde: 15%}
analyses: {pre_period_days: 28, did_pre_days: 21}
"""
        ),
    ),
    rows=(("ab", "pageviews"), ("cuped", "pageviews")),
    further=_trend,
    why="""
        The comparison of randomised users after exposure needs no history: it finds nothing, and it decides. The difference in
        differences rests on parallel trends, which the joint test of the days before exposure rejects. CUPED rests on the same history:
        its health check says *unbalanced*, and if it were chosen to decide, the verdict would be *investigate*.
    """,
    naive=_differences,
    picture=lambda said: charts.event_study(
        [r for r in said[-1].report.of(EventStudyRow) if r.metric_id == "pageviews"]
    ),
)


def _new_badge(folder: Path) -> None:
    shop = Shop(seed=37, n=16_000)
    liking = shop.rng.gamma(2.0, 0.5, shop.n)
    wears_off = np.exp(-np.arange(DAYS) / 2.0)
    rate = 0.35 * liking[:, None] * (1 + 0.5 * shop.arm[:, None] * wears_off)
    shop.daily("visit", rate, range(DAYS))
    deliver(folder, shop.exposures(), shop.outcomes())


def _fading(said: Sequence[Said]) -> list[str]:
    trend = row(said[-1].report, "stability", "visits", "day_since_exposure", "trend")
    return [
        f"`stability` of the effect by day since exposure: **{trend.verdict}**, by {trend.estimate:+.4f} visits with each day "
        f"(p = {numbers.p_value(trend.p_value, trend.log10_p)}, {numbers.count((trend.n_control or 0) + (trend.n_treatment or 0))} users observed for all days shown)."
    ]


NOVELTY = Scenario(
    id="novelty",
    title="A novelty that wears off",
    situation="A new badge makes people come back to look at it.",
    truth="On the first day visits rise by half; the effect loses four tenths of itself each day, and after a week nothing is left.",
    steps=(
        Step(
            """\
metrics:
  - {id: visits, type: count, event: visit, role: primary, window: {to_day: 7}, mde: 5%}
  - {id: visits_in_week_two, type: count, event: visit, window: {from_day: 7, to_day: 14}}
analyses: {did_days: 14, did: false, pretrends: false, cuped: false}
""",
            _new_badge,
        ),
    ),
    rows=(("ab", "visits"), ("ab", "visits_in_week_two")),
    further=_fading,
    why="""
        The spec asked about the first week, and the first week is better: the decision answers the question it was given. That the
        effect *fades* is told by `stability`, of the same users on every day, and by the metric of the second week, which finds
        nothing. Neither decides. **Ask the question you mean:** if the effect must last, make the later window the primary metric.
    """,
    naive=lambda said, _: (
        f"*Ship it, {numbers.percent(row(said[-1].report, 'ab', 'visits').relative)} more visits for ever.*"
    ),
    picture=lambda said: charts.effect_by_day([r for r in said[-1].report.rows if r.metric_id == "visits"]),
)

TRAPS = (LUCKY_DAY, HEAVY_TAIL, SIMPSON, POWER_USERS, TREND, NOVELTY)
