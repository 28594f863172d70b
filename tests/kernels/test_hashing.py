from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exp_platform.kernels import coded, hashing
from exp_platform.kernels.coded import Coded, positions
from exp_platform.kernels.hashing import Hashes, first_places, found_among, hashes


def alike(_strings: Any) -> Hashes:
    return np.full(len(_strings), 3 << 60, dtype=np.uint64)


def one_of_five(strings: Any) -> Hashes:
    return hashes(strings) % np.uint64(5) << np.uint64(61)


@pytest.mark.parametrize("hashed", [hashes, alike, one_of_five])
@pytest.mark.parametrize("seed", range(10))
def test_strings_are_found_where_they_stand_first_whatever_their_hashes(
    seed: int, hashed: Callable[[Any], Hashes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where two that differ have the same one."""
    monkeypatch.setattr(hashing, "hashes", hashed)
    dice = random.Random(seed)
    names = [f"üser {number}" for number in range(dice.choice([1, 40, 3000]))]
    among = dice.choices(names, k=dice.choice([1, len(names), 2 * len(names)]))
    values = [*dice.choices(names, k=dice.choice([0, 50, 2000])), "", "nobody"]
    dice.shuffle(values)
    place: dict[str, int] = {}
    for position, name in enumerate(among):
        place.setdefault(name, position)
    found = found_among(pa.array(values), pa.array(among))
    assert found.tolist() == [place.get(value, -1) for value in values]
    assert first_places(pa.array(among)).tolist() == [place[name] for name in among]


def test_many_strings_are_looked_up_by_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(values: Any, among: Any) -> Any:
        asked.append(len(among))
        return found_among(values, among)

    monkeypatch.setattr(coded, "found_among", counted)
    many = pa.array([f"user {number}" for number in range(60_000)])
    order = np.random.default_rng(7).permutation(60_000)
    assert positions(many.take(pa.array(order)), many).tolist() == order.tolist()
    assert asked == [60_000]


def test_many_values_stand_once_and_in_their_order() -> None:
    parts = [[f"user {number}" for number in range(start, start + 40_000)] for start in (0, 25_000, 90_000)]
    column = pa.chunked_array([pa.array(part).dictionary_encode() for part in parts])
    found = Coded.distinct(column)
    assert found.values.to_pylist() == [*dict.fromkeys(name for part in parts for name in part)]
    assert found.column.to_pylist() == column.to_pylist()
