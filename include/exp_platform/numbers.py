"""How numbers are written for people: one place, so that memo, charts and command line agree.

A sign of per cent, points or a unit stands behind its number after a space; an interval says its unit once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from exp_platform.config.kinds import is_share

DASH = "–"
_LARGE, _TOO_LARGE = 9999.5, 1e15  # between them numbers are written whole


def level(value: float | None, kind: str = "", unit: str = "") -> str:
    """A number on a metric's scale: per cent for shares, else four significant digits and the unit, where one is declared."""
    if value is None:
        return DASH
    return share(value, 2) if is_share(kind) else _in_unit(_significant(value), unit)


def change(value: float | None, kind: str = "", unit: str = "") -> str:
    """An absolute effect with its sign: percentage points for shares."""
    if value is None:
        return DASH
    return f"{100 * value:+.2f} pp" if is_share(kind) else _in_unit(_significant(value, "+"), unit)


def size(value: float, kind: str = "", unit: str = "") -> str:
    """A size of effect, which has no sign as it means either direction."""
    return change(abs(value), kind, unit).removeprefix("+")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a signed percentage."""
    return DASH if value is None else f"{100 * value:+z.{digits}f} %"


def share(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage without a sign."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def interval(low: float | None, high: float | None, kind: str = "", unit: str = "") -> str:
    """An interval of absolute effects; an open side is infinite."""
    if low is None and high is None:
        return DASH
    write = partial(change, kind=kind)
    both = f"[{_side(low, '-', write)}, {_side(high, '+', write)}]"
    return both if is_share(kind) else _in_unit(both, unit)


def with_interval(
    estimate: float | None, low: float | None, high: float | None, kind: str = "", unit: str = ""
) -> str:
    """An absolute effect, which says the unit, with its interval; one dash where there is neither."""
    return DASH if estimate is None else f"{change(estimate, kind, unit)} {interval(low, high, kind)}"


def percent_interval(low: float | None, high: float | None) -> str:
    """An interval of relative effects; an open side is infinite."""
    if low is None and high is None:
        return DASH
    return f"[{_side(low, '-', percent)}, {_side(high, '+', percent)}]"


def p_value(p: float | None, log10_p: float | None = None) -> str:
    """A p-value to three digits; far out, where p underflows, its order of magnitude from log10 p."""
    if p is None:
        return DASH
    if p >= 0.001:
        return f"{p:.3f}"
    if p > 1e-300:
        return f"{p:.1e}"
    return f"1e{log10_p:.0f}" if log10_p is not None else "< 1e-300"


def confidence(value: float) -> str:
    """A confidence to four digits, and never 1."""
    return "above 0.9999" if value > 0.9999 else f"{value:.4g}"


def count(value: float | None) -> str:
    """A count with thousands separated."""
    return DASH if value is None else f"{value:,.0f}"


def about(value: float) -> str:
    """A count that is an estimate, to three digits."""
    return f"about {count(float(f'{value:.3g}'))}"


def _side(value: float | None, sign: str, write: Callable[[float], str]) -> str:
    return f"{sign}∞" if value is None else write(value)


def _significant(value: float, sign: str = "") -> str:
    """Four significant digits; of a large number all before the point, as nobody reads 1.235e+05 as money."""
    return f"{value:{sign},.0f}" if _LARGE <= abs(value) < _TOO_LARGE else f"{value:{sign},.4g}"


def _in_unit(written: str, unit: str) -> str:
    return f"{written} {unit}" if unit else written
