"""A starter spec before it is text: what was found, what was chosen, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from exp_platform import numbers
from exp_platform.errors import ConfigError
from exp_platform.starting.arms import Arm, arms_of, control_of, uneven
from exp_platform.starting.columns import Column
from exp_platform.starting.dates import Span
from exp_platform.starting.measures import MOST_METRICS, Proposed
from exp_platform.starting.roles import Table

_MDE = "Add `mde: 5%`, the lift that it must be able to find: then the size is planned by it"

Ask = Callable[
    [str, Sequence[str], str], str
]  # question, what may be answered (none: anything), default -> answer


@dataclass(frozen=True)
class Said:
    """What the command was told; None: nothing, so it is asked for, or the default is taken."""

    id: str | None = None
    experiment: str | None = None
    control: str | None = None
    primary: str | None = None


@dataclass(frozen=True)
class Line:
    """One item of the spec and what is said beside it."""

    content: Any
    why: str = ""


@dataclass(frozen=True)
class Draft:
    """Everything that a spec says, in its order; `told` is for whoever ran the command."""

    id: str
    hypothesis: str
    arms: tuple[Line, ...]
    of_arms: str  # what the arms were read from
    window: Line
    source: dict[str, Any]
    metrics: tuple[Line, ...]
    segments: tuple[str, ...] = ()
    of_segments: str = ""
    settings: tuple[tuple[str, Line], ...] = ()  # quality, analyses, decision
    unclear: tuple[str, ...] = ()  # columns that were not taken
    told: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Arms:
    """The arms, control first, the lines that say them, and what is told of them."""

    arms: tuple[Arm, ...]
    lines: tuple[Line, ...]
    told: tuple[str, ...]


def counted(table: Table, rows: Any = None) -> list[tuple[str, int]]:
    """Each value of the variant with its users (its rows, where there is no user), the most frequent first."""
    assert table.variant is not None
    variants = table.variant.texts
    users = table.user.texts if table.user is not None else None
    if rows is not None:
        variants = variants.filter(rows)
        users = users.filter(rows) if users is not None else None
    found = []
    for value in pc.unique(variants).drop_null().to_pylist():
        mine = pc.equal(variants, value).fill_null(False)
        n = (
            pc.sum(mine.cast("int64")).as_py()
            if users is None
            else pc.count_distinct(users.filter(mine)).as_py()
        )
        found.append((value, int(n)))
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def choose_arms(counts: Sequence[tuple[str, int]], said: Said, ask: Ask, unit: str) -> Arms:
    """The arms with one of them control, as told, asked or guessed."""
    arms = arms_of(counts)
    guess, why = control_of(arms)
    ids = [arm.id for arm in arms]
    answer = said.control or ask("Which variant is control?", ids, guess.id)
    control = next((arm for arm in arms if answer == arm.id or answer in arm.values), None)
    if control is None:
        raise ConfigError(f"--control: found {answer}; the variants are {', '.join(ids)}")
    if control is not guess:
        why = "as you said"
    ordered = (control, *(arm for arm in arms if arm is not control))
    lines = tuple(
        Line(
            arm.said | ({"control": True} if arm is control else {}),
            f"{arm.users:,} {unit}" + (f"; control {why}" if arm is control else ""),
        )
        for arm in ordered
    )
    folded = [
        f"{' and '.join(arm.values)} are taken for one variant, {arm.id}"
        for arm in arms
        if len(arm.values) > 1
    ]
    told = [f"control is {control.id}, {why}", *folded]
    if (warning := uneven(arms)) is not None:
        told.append(warning)
    return Arms(ordered, lines, tuple(told))


def choose_metrics(proposed: Sequence[Proposed], said: Said, ask: Ask) -> tuple[tuple[Line, ...], str, str]:
    """The metrics as lines, the primary one first; its id, and what is told of it."""
    unique = {str(metric.keys["id"]): metric for metric in reversed(proposed)}
    ranked = sorted(unique.values(), key=lambda metric: metric.rank)[:MOST_METRICS]
    ids = [str(metric.keys["id"]) for metric in ranked]
    primary = said.primary or ask("Which metric decides?", ids, ids[0])
    if primary not in unique:
        raise ConfigError(f"--primary: found {primary}; the metrics are {', '.join(ids)}")
    first = unique[primary]
    others = [metric for metric in ranked if metric is not first]
    lines = [Line(_with_role(first.keys), f"{first.why}; this one decides. {_MDE}")]
    lines += [Line(metric.keys, metric.why) for metric in others]
    left = [name for name in unique if name not in ids and name != primary]
    told = f"{primary} decides" + ("" if said.primary else ", by its name and type")
    return tuple(lines), primary, told + (f"; left out: {', '.join(left)}" if left else "")


def _with_role(keys: dict[str, Any]) -> dict[str, Any]:
    named = {key: keys[key] for key in ("id", "type")}
    return named | {key: value for key, value in keys.items() if key not in named} | {"role": "primary"}


def window_line(span: Span, why: str) -> Line:
    """The window and where it is from."""
    return Line({"start": span.first, "days": span.days, "timezone": "UTC"}, why)


def missing_variants(
    column: Column, rows: Any = None
) -> tuple[tuple[tuple[str, Line], ...], tuple[str, ...]]:
    """Rows without a variant are left out, which quality must be told; and it is told to people."""
    texts = column.texts if rows is None else column.texts.filter(rows)
    if not texts.null_count:
        return (), ()
    share = texts.null_count / len(texts)
    limit = min(1.0, float(f"{share * 1.1 + 0.0005:.2g}"))
    why = f"{numbers.share(share, 2)} of the rows have no variant in {column.path} and are left out; without this line they are refused"
    return (("quality", Line({"max_null_share": limit}, why)),), (why,)


def hypothesis_of(arms: Sequence[Arm], primary: str) -> str:
    """A sentence to begin with."""
    treatments = " or ".join(arm.id for arm in arms[1:4])
    return f"{treatments} changes {primary}."
