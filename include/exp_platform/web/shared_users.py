"""Which experiments share users, as maintenance counted it last: only of pairs both of which the reader may see."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pydantic import BaseModel, Field

from exp_platform.tables.overlaps import Overlap, Overlaps

LARGE = 0.1  # of the users of either: from so much on an interaction would be worth a look
MOST = 100  # pairs that are told, those that share most first


class Pair(BaseModel):
    """Two experiments and the users that both have exposed, each within its window."""

    first: str
    second: str
    users: int
    share_of_first: float = Field(description="of all users of the first, as a fraction")
    share_of_second: float
    estimated: bool = Field(description="from a sample of users, as one of both is very large")
    may_interact: bool = Field(description=f"at least {LARGE:g} of the users of one of them are in both")


class NotCompared(BaseModel):
    """An experiment whose users cannot be told from, or found among, those of others."""

    experiment_id: str
    why: str


class SharedUsers(BaseModel):
    """Users of several experiments, of pairs whose windows overlap and that run or ended within the last 30 days."""

    counted_at: datetime = Field(description="when maintenance counted them, of what was published then")
    compared: int = Field(description="experiments of these pairs")
    pairs_compared: int
    pairs_sharing: int = Field(description="pairs that have users in common")
    pairs_interacting: int = Field(description="pairs whose effects may interact")
    pairs: list[Pair] = Field(description=f"those that share most, at most {MOST}")
    not_compared: list[NotCompared]


def shared_users(found: Overlaps | None, readable: Collection[str]) -> SharedUsers | None:
    """What is told to whoever may read these experiments; None where nothing was counted."""
    if found is None:
        return None
    known = {id for id in found.experiments if id in readable}
    seen = [pair for pair in found.pairs if pair.first in known and pair.second in known]
    sharing = sorted(
        (_pair(pair, found) for pair in seen if pair.users),
        key=lambda p: (-max(p.share_of_first, p.share_of_second), -p.users, p.first, p.second),
    )
    return SharedUsers(
        counted_at=found.counted_at,
        compared=len({id for pair in seen for id in (pair.first, pair.second)}),
        pairs_compared=len(seen),
        pairs_sharing=len(sharing),
        pairs_interacting=sum(pair.may_interact for pair in sharing),
        pairs=sharing[:MOST],
        not_compared=[
            NotCompared(experiment_id=id, why=why) for id, why in found.not_compared.items() if id in readable
        ],
    )


def _pair(pair: Overlap, found: Overlaps) -> Pair:
    first, second = (pair.users / max(found.experiments[id].users, 1) for id in (pair.first, pair.second))
    return Pair(
        first=pair.first,
        second=pair.second,
        users=pair.users,
        share_of_first=first,
        share_of_second=second,
        estimated=pair.estimated,
        may_interact=max(first, second) >= LARGE,
    )
