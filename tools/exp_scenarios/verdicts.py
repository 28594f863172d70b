"""Situations in which nothing is wrong: what each verdict is for."""

from __future__ import annotations

from pathlib import Path

from exp_platform import numbers
from exp_platform.report import charts
from exp_scenarios.reading import row, tested
from exp_scenarios.scenario import Scenario, Step
from exp_scenarios.shop import Shop, deliver

CLEAR_WIN = Scenario(
    id="clear_win",
    title="A clear win",
    situation="A new checkout button, a fortnight, as many visitors as were planned.",
    truth="Conversion rises from 10 % to 13 %. The button does nothing to pageviews.",
    steps=(Step("days: 14\nn_users: 30000\neffect_lift_conversion: 0.03\nseed: 11\n"),),
    rows=(("ab", "conversion"), ("cuped", "conversion"), ("guardrails", "pageviews")),
    why="""
        The one test that was planned is significant at its share of alpha, the planned size is reached, and the data passed
        every check. The adjusted row says the same with a narrower interval; it was not chosen to decide, so it does not.
    """,
    naive=lambda said, _: (
        f"The same: conversion {tested(row(said[-1].report, 'ab', 'conversion'))}. Where nothing is wrong the platform "
        "adds the interval, the guardrail and the record."
    ),
    picture=lambda said: charts.effects(said[-1].report.of_method("ab"), {}),
)

NO_EFFECT = Scenario(
    id="no_effect",
    title="No effect, and enough users to say so",
    situation="The button's colour changes. The team wanted to know of any lift of a fifth or more.",
    truth="Nothing changes.",
    steps=(Step("days: 14\nn_users: 30000\nmde: 20%\nseed: 12\n"),),
    rows=(("ab", "conversion"), ("ab", "revenue")),
    why="""
        Nothing is significant at the planned size, and the interval leaves no room for the effect that was looked for. So the
        answer is not *we do not know* but *not worth another week*: `NO_EFFECT_OF_MDE`.
    """,
    naive=lambda said, _: (
        f"*Not significant* (p = {numbers.p_value(row(said[-1].report, 'ab', 'conversion').p_value)}), which many read as "
        "*let it run a little longer*. It would run for ever."
    ),
)

UNDERPOWERED = Scenario(
    id="underpowered",
    title="Too few users",
    situation="The same question with a week and 2,000 visitors.",
    truth="Conversion rises from 10 % to 11 %.",
    steps=(Step("days: 7\nn_users: 2000\neffect_lift_conversion: 0.01\nmde: 10%\nseed: 131\n"),),
    rows=(("ab", "conversion"),),
    why="""
        The interval holds large losses and large gains alike. The planned size follows from the mde, and far fewer users came:
        the verdict is *extend*, with the days that are still needed. As the planned date has passed, a window that is moved now
        can only be decided by always-valid evidence; planning for enough users is cheaper (`exp plan underpowered`).
    """,
    naive=lambda said, _: (
        f"*No effect*, because p = {numbers.p_value(row(said[-1].report, 'ab', 'conversion').p_value)}. There is one."
    ),
)

SMALL = Scenario(
    id="not_worth_it",
    title="Significant, and not worth having",
    situation="A recommendation box costs two engineers. The team wrote down that less than a fifth more buyers would not pay.",
    truth="Conversion rises from 10 % to 11.2 %.",
    steps=(
        Step(
            "days: 14\nn_users: 40000\neffect_lift_conversion: 0.012\nmin_practical_effect: 20%\nseed: 14\n"
        ),
    ),
    rows=(("ab", "conversion"),),
    why="""
        The effect is significant and smaller than `min_practical_effect`: `BELOW_PRACTICAL`. The threshold was set before anybody
        saw a number, and is apart from the mde, which only sizes the test.
    """,
    naive=lambda said, _: (
        f"*Ship it*: {tested(row(said[-1].report, 'ab', 'conversion'))}. Significance says that an effect is not zero, and "
        "nothing of its worth."
    ),
)


def _pushy_checkout(folder: Path) -> None:
    shop = Shop(seed=15, n=24_000)
    shop.once("order", 0.10 + 0.018 * shop.arm)
    shop.once("complaint", 0.020 + 0.012 * shop.arm)
    deliver(folder, shop.exposures(), shop.outcomes())


GUARDRAIL = Scenario(
    id="guardrail_breach",
    title="A win that a guardrail forbids",
    situation="A countdown at the checkout. Complaints are watched: they may not rise by a tenth.",
    truth="Conversion rises from 10 % to 11.8 %, and complaining users from 2 % to 3.2 %.",
    steps=(
        Step(
            """\
metrics:
  - {id: conversion, type: proportion, event: order, role: primary, mde: 20%, baseline: 0.1}
  - {id: complaints, type: proportion, event: complaint, direction: decrease, role: guardrail}
guardrails:
  - {metric: complaints, margin: 10%, severity: critical}
""",
            _pushy_checkout,
        ),
    ),
    rows=(("ab", "conversion"), ("guardrails", "complaints")),
    why="""
        The whole interval of complaints lies beyond the margin: a *proven* breach of a critical guardrail takes the treatment out,
        whatever it wins. A breach of the point estimate alone would not stop it before the planned date; on points, an A/A test
        breaches a guardrail often.
    """,
    naive=lambda said, _: (
        f"*Ship it*: conversion {tested(row(said[-1].report, 'ab', 'conversion'))}. The primary metric alone sees nobody who "
        "complains."
    ),
)

VERDICTS = (CLEAR_WIN, NO_EFFECT, UNDERPOWERED, SMALL, GUARDRAIL)
