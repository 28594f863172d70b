"""The arms of an experiment as the data have them: their ids, which of them is control and why, and how many there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from exp_platform import numbers
from exp_platform.errors import DataError
from exp_platform.starting.looked import slug
from exp_platform.stats.srm import mismatch

_CONTROL = (
    *(
        "control",
        "ctrl",
        "ctl",
        "control_group",
        "baseline",
        "base",
        "default",
        "original",
        "placebo",
        "holdout",
    ),
    *("off", "false", "0", "none", "old", "current", "status_quo", "a", "variant_a", "group_a"),
)
_CONTROL_WORDS = {"control", "ctrl", "baseline", "placebo", "holdout"}
_YES_NO = ({"0", "1"}, {"false", "true"}, {"off", "on"})


@dataclass(frozen=True)
class Arm:
    """One arm: its id, the values that stand for it, and its users (rows of a table without users)."""

    id: str
    values: tuple[str, ...]
    users: int

    @property
    def said(self) -> dict[str, object]:
        """Its keys in a spec."""
        same = self.values == (self.id,)
        value = self.values[0] if len(self.values) == 1 else list(self.values)
        return {"id": self.id} | ({} if same else {"value": value})


def arms_of(counts: Sequence[tuple[str, int]]) -> list[Arm]:
    """The arms of values with their users, the largest first; values that differ in case alone are one arm.

    Raises DataError where there are fewer than two.
    """
    lower = {value.lower() for value, _ in counts}
    plain = next((pair for pair in _YES_NO if lower == pair), None)
    by_id: dict[str, list[tuple[str, int]]] = {}
    for value, users in counts:
        name = slug(value)
        if plain is not None:
            name = "control" if value.lower() in ("0", "false", "off") else "treatment"
        by_id.setdefault(name or f"variant_{len(by_id) + 1}", []).append((value, users))
    arms = [
        Arm(name, tuple(value for value, _ in found), sum(users for _, users in found))
        for name, found in by_id.items()
    ]
    if len(arms) < 2:
        found = ", ".join(f"{value} ({n:,})" for value, n in counts) or "none"
        raise DataError(f"an experiment has two variants or more; found: {found}")
    return sorted(arms, key=lambda arm: (-arm.users, arm.id))


def control_of(arms: Sequence[Arm]) -> tuple[Arm, str]:
    """The arm that is called control, else the largest, and why it is."""
    ranked = [(_CONTROL.index(arm.id), arm.id, arm) for arm in arms if arm.id in _CONTROL]
    if ranked:
        return min(ranked)[2], "by its name"
    for arm in arms:
        words = re.split("_", arm.id)
        if set(words) & _CONTROL_WORDS or words[0] in ("no", "without"):
            return arm, "by its name"
    return arms[0], "as the largest, since none is called so: change it if it is not"


def uneven(arms: Sequence[Arm]) -> str | None:
    """What to say where the arms' users are not split evenly, beyond chance (p below .001)."""
    if min(arm.users for arm in arms) == 0:
        return None
    found = mismatch([arm.users for arm in arms], [1 / len(arms)] * len(arms))
    if found.p >= 0.001:
        return None
    total = sum(arm.users for arm in arms)
    shares = ", ".join(f"{arm.id} {numbers.share(arm.users / total)}" for arm in arms)
    return (
        f"the arms are not split evenly ({shares}; p = {found.p:.1g}): if another split was planned, say `share` for "
        "each variant; else users are missing, and the run will say so"
    )
