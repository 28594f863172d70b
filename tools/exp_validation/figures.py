"""The figures of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exp_validation.run import Outcome
from exp_validation.verdicts import BY_DAY

_HOLDS, _MISSES, _BAND = "#1a7f5a", "#b3261e", "#c9d1d9"


def all_of(cells: Sequence[Outcome], settings: Sequence[Outcome], checks: int) -> dict[str, Any]:
    """Every figure by name."""
    drawn = {"false_positives": false_positives(cells, checks)}
    daily = [o for o in settings if any(BY_DAY in c.measure for c in o.checks)]
    return drawn | ({"by_day": by_day(daily)} if daily else {})


def by_day(settings: Sequence[Outcome]) -> Any:
    """How errors grow with daily looks at experiments without an effect."""
    import altair as alt

    data = []
    for outcome in settings:
        for check in outcome.checks:
            name, found, day = check.measure.partition(BY_DAY)
            if found:
                data.append({"setting": outcome.name, "reading": name, "day": int(day), "rate": check.rate})
    chart = alt.Chart(alt.InlineData(values=data)).mark_line(point=True)
    return chart.encode(
        x=alt.X("day:Q", title="day", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("rate:Q", title="wrong so far", axis=alt.Axis(format=".0%")),
        color=alt.Color(
            "reading:N", title=None, legend=alt.Legend(orient="bottom", labelLimit=420, columns=1)
        ),
        column=alt.Column("setting:N", title=None),
    ).properties(width=260, height=200)


def false_positives(cells: Sequence[Outcome], checks: int) -> Any:
    """False positive rates of all cells with the band of their promise."""
    import altair as alt

    data = []
    for outcome in cells:
        for check in outcome.checks:
            if check.measure == "false positives":
                low, high = check.band(checks)
                reading = "inside its band" if check.holds(checks) else "outside"
                data.append(
                    {"cell": outcome.name, "rate": check.rate, "low": low, "high": high, "reading": reading}
                )
    base = alt.Chart(alt.InlineData(values=data)).encode(
        y=alt.Y("cell:N", sort=None, title=None, axis=alt.Axis(labelLimit=420))
    )
    axis = alt.Axis(format=".0%", tickMinStep=0.01)
    x = alt.X("low:Q", title="false positives at a level of 5 %", axis=axis)
    bands = base.mark_bar(height=9, color=_BAND).encode(x=x, x2="high:Q")
    colour = alt.Color(
        "reading:N",
        title=None,
        scale=alt.Scale(domain=["inside its band", "outside"], range=[_HOLDS, _MISSES]),
    )
    points = base.mark_point(filled=True, size=45, opacity=1).encode(x="rate:Q", color=colour)
    return alt.layer(bands, points).properties(width=420, height=alt.Step(15))
