"""How numbers are written for people: one place, so that memo, charts and command line agree."""

from __future__ import annotations

from exp_platform.config.kinds import is_share

DASH = "–"


def level(value: float | None, kind: str = "") -> str:
    """A number on the scale of a metric's kind: per cent for shares, four significant digits for others and without one."""
    if value is None:
        return DASH
    return f"{value:.2%}" if is_share(kind) else f"{value:,.4g}"


def change(value: float | None, kind: str = "") -> str:
    """An absolute effect with its sign: percentage points for shares."""
    if value is None:
        return DASH
    return f"{100 * value:+.2f} pp" if is_share(kind) else f"{value:+,.4g}"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a signed percentage."""
    return DASH if value is None else f"{100 * value:+z.{digits}f} %"


def share(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage without a sign."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def interval(low: float | None, high: float | None, kind: str = "") -> str:
    """An interval of absolute effects; an open side is infinite."""
    if low is None and high is None:
        return DASH
    return f"[{_side(low, '-', lambda v: change(v, kind))}, {_side(high, '+', lambda v: change(v, kind))}]"


def with_interval(estimate: float | None, low: float | None, high: float | None, kind: str = "") -> str:
    """An absolute effect with its interval; one dash where there is neither."""
    return DASH if estimate is None else f"{change(estimate, kind)} {interval(low, high, kind)}"


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


def _side(value: float | None, sign: str, write: object) -> str:
    return f"{sign}∞" if value is None else write(value)  # type: ignore[operator]
