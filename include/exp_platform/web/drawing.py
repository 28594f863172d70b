"""Small pictures of intervals, as SVG of numbers alone: the text beside one says the same."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from exp_platform.results.newest import Effect

WIDTH, HEIGHT = 160, 18
_STEPS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0)


def scale_of(effects: Iterable[Effect | None]) -> float:
    """How far the one axis of a list reaches to either side: as far as four in five intervals, rounded up."""
    known = [sides for effect in effects if effect and (sides := _sides(effect))]
    reach = sorted(max(map(abs, sides)) for sides in known)
    wanted = reach[int(0.8 * (len(reach) - 1))] if reach else 0.0
    return next((step for step in _STEPS if wanted <= step), _STEPS[-1])


def interval(effect: Effect, scale: float, tone: str, beside: float | None = None) -> Markup:
    """An effect with its interval around zero; what reaches beyond the axis ends in an arrow. `tone` is the class of its colour.

    `beside`: another estimate of the same, drawn as a ring.
    """
    sides = _sides(effect)
    if effect.relative is None or not sides:
        return Markup("")
    low, high = (_x(side, scale) for side in sides)
    ends = [Markup(f'<path d="M{x:.1f} 5l{way} 4l{-way} 4"/>') for x, way in _cut(sides, scale)]
    return Markup(
        '<svg class="interval {tone}" width="{w}" height="{h}" viewBox="0 0 {w} {h}" aria-hidden="true">'
        '<line class="zero" x1="{zero}" x2="{zero}" y1="1" y2="17"/>'
        '<line x1="{low}" x2="{high}" y1="9" y2="9"/>{ends}{ring}<circle cx="{at}" cy="9" r="3.5"/></svg>'
    ).format(
        ring=""
        if beside is None
        else Markup(f'<circle class="ring" cx="{_x(beside, scale):.1f}" cy="9" r="4"/>'),
        tone=tone,
        w=WIDTH,
        h=HEIGHT,
        zero=f"{_x(0, scale):.1f}",
        low=f"{low:.1f}",
        high=f"{high:.1f}",
        ends=Markup("").join(ends),
        at=f"{_x(effect.relative, scale):.1f}",
    )


def _sides(effect: Effect) -> tuple[float, float] | None:
    if effect.relative_low is None or effect.relative_high is None:
        return None
    return effect.relative_low, effect.relative_high


def _cut(sides: tuple[float, float], scale: float) -> list[tuple[float, int]]:
    """Where an arrow stands, and which way it points."""
    low, high = sides
    ends = [(_x(low, scale) + 4, -4)] if low < -scale else []
    return [*ends, (_x(high, scale) - 4, 4)] if high > scale else ends


def _x(value: float, scale: float) -> float:
    """The place of a relative effect, of what is beyond the axis its end."""
    return 6 + (min(max(value / scale, -1), 1) + 1) / 2 * (WIDTH - 12)
