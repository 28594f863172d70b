"""Whose rows count: members by their hashes, and ids of another space by whose they are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.kernels import members
from exp_platform.kernels.hashing import hashes
from exp_platform.kernels.members import Identities, Members, spelled


def ids(*values: str | None) -> Any:
    return pa.chunked_array([pa.array(values, pa.string())])


def test_members_are_found_among_many_strangers() -> None:
    everybody = pa.chunked_array([pa.array([f"u{i}" for i in range(20_000)])])
    mine = everybody.filter(pa.array([i % 97 == 0 for i in range(20_000)]))
    found = pickle.loads(pickle.dumps(Members.of([hashes(mine), hashes(mine.slice(5))])))
    assert len(found) == len(mine)
    assert np.flatnonzero(found.have(everybody)).tolist() == list(range(0, 20_000, 97))
    assert found.have(ids("u0", None, "U0")).tolist() == [True, False, False]


def test_nobody_is_a_member_of_nothing() -> None:
    assert Members.of([]).have(ids("u0", None)).tolist() == [False, False]


def pairs(*rows: tuple[str, str]) -> pa.Table:
    return pa.table({"other_id": ids(*(o for o, _ in rows)), "user_id": ids(*(u for _, u in rows))})


PAIRS = pairs(("d1", "ann"), ("d2", "ann"), ("d3", "bob"), ("d4", "bob"), ("d4", "cat"), ("d5", "dan"))


def exposed(others: list[str], users: list[str]) -> dict[str, Any]:
    return {"other_id": pa.array(others, pa.string()), "user_id": pa.array(users, pa.string())}


def test_ids_of_the_other_space_are_users_strangers_unknown_or_of_several() -> None:
    """Whoever was exposed by one id of his is a member by every one."""
    made = pickle.loads(pickle.dumps(Identities.of(PAIRS, exposed(["d1"], ["bob"]))))
    found = made.owners(ids("d1", "d2", "d3", "d4", "d5", "d6", None))
    assert found.user_id.to_pylist() == ["ann", "ann", "bob", None, None, None, None]
    assert np.flatnonzero(found.several).tolist() == [3]
    assert np.flatnonzero(found.strangers).tolist() == [4]
    assert np.flatnonzero(found.unmapped).tolist() == [5]
    assert made.of_several == 1


def test_an_id_with_the_hash_of_anothers_is_not_taken_for_it(monkeypatch: Any) -> None:
    made = Identities.of(PAIRS, exposed(["d1"], []))
    monkeypatch.setattr(members, "hashes", lambda found: np.full(len(found), hashes(ids("d1"))[0]))
    assert made.owners(ids("d1", "d9")).user_id.to_pylist() == ["ann", None]


def test_a_map_without_pairs_knows_nobody() -> None:
    found = Identities.of(pairs(), exposed(["d1"], ["ann"])).owners(ids("d1", None))
    assert (found.user_id.to_pylist(), found.unmapped.tolist()) == ([None, None], [True, False])


def test_members_under_another_spelling_are_told_and_those_who_are_there_themselves_are_not() -> None:
    plainly = Members.of([hashes(ids("a1", "b2"))])
    column = ids("B2", "b-2", "A1", "zed", None)
    looked = spelled(column, np.array([True, False, False, False, False]), plainly)
    assert looked.strangers.tolist() == hashes(ids("a1")).tolist()
    assert looked.members.tolist() == hashes(ids("b2")).tolist()
    assert looked.examples == ("'A1' there",)
