"""Ids at ingest: keyed hashes stand for them, and forgotten users are left out and counted."""

from __future__ import annotations

import hmac
import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from exp_platform.config.privacy import DIGITS, Key
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.in_context import Cleaned
from exp_platform.kernels.measured import SPELLED
from exp_platform.kernels.privacy import Privacy, hashed, with_pseudonyms, without_forgotten
from stages.raw_data import events_experiment, exposures, outcomes

SECRET = b"a key of thirty-two characters or more"
KEY = Key(SECRET)
NOW = datetime(2025, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("secret", [SECRET, b"k" * 64, b"long" * 40])
def test_a_hash_is_hmac_sha256_by_the_standard_library(secret: bytes) -> None:
    for user in ("", "1", "user-1", "é 中", "x" * 1000):
        assert Key(secret).hashes([user]) == [hmac.new(secret, user.encode(), "sha256").hexdigest()[:DIGITS]]


def test_a_column_keeps_its_order_nulls_and_repeats() -> None:
    column = pa.chunked_array([["b", None], ["a", "b"]])
    one, nothing, other, again = hashed(KEY, column).to_pylist()
    assert (one, nothing, other) == (KEY.hashes(["b"])[0], None, KEY.hashes(["a"])[0])
    assert again == one
    assert hashed(KEY, pa.chunked_array([], pa.string())).to_pylist() == []


def test_a_key_is_neither_shown_nor_told_by_its_fingerprint() -> None:
    assert "thirty-two" not in repr(Privacy(KEY, KEY, frozenset({"x"})))
    assert KEY.fingerprint != Key(SECRET + b"!").fingerprint
    assert len(KEY.fingerprint) == 16
    assert pickle.loads(pickle.dumps(KEY)) == KEY  # as it reaches the tasks


def test_rows_of_forgotten_users_go_from_every_table_and_are_counted() -> None:
    raw = {
        "exposures": [pa.table({"user_id": ["a", "b"]}), pa.table({"user_id": ["ab", None]})],
        "outcomes": [pa.table({"user_id": ["b", "b", "a"]})],
        "units": [pa.table({"user_id": pa.array([], pa.string())})],
    }
    privacy = Privacy(forgotten_by=KEY, forgotten=frozenset(KEY.hashes(["b", "nobody"])))
    kept, lost = without_forgotten(raw, privacy)
    assert [row["user_id"] for part in kept["exposures"] for row in part.to_pylist()] == ["a", "ab", None]
    assert [row["user_id"] for part in kept["outcomes"] for row in part.to_pylist()] == ["a"]
    assert lost == {"exposures": 1, "outcomes": 2}
    assert without_forgotten(raw, Privacy())[1] == {}
    assert without_forgotten({}, privacy) == ({}, {})


def test_pseudonyms_change_nothing_but_names() -> None:
    plain = cleaned()
    changed = with_pseudonyms(plain, KEY)
    for before, after in ((plain.exposures, changed.exposures), (plain.outcomes, changed.outcomes)):
        assert after["user_id"].to_pylist() == KEY.hashes(before["user_id"].to_pylist())
        assert after["event_id"].null_count == len(after)
        rest = [name for name in before.column_names if name not in ("user_id", "event_id")]
        assert after.select(rest).equals(before.select(rest))
    assert replace(changed.measured, examples={}, heaviest={}) == replace(
        plain.measured, examples={}, heaviest={}
    )


def test_nothing_that_is_measured_names_an_id_where_there_are_pseudonyms() -> None:
    plain = cleaned()
    told = replace(
        plain.measured,
        examples={
            "outcomes.(whole row)": ["user 1,order"],
            SPELLED: ["'A' is 'a' there"],
            "outcomes.value": ["x"],
        },
        heaviest={"outcomes": {"user 1": 300}},
    )
    measured = with_pseudonyms(replace(plain, measured=told), KEY).measured
    assert measured.examples == {"outcomes.value": ["x"]}
    assert measured.heaviest == {"outcomes": {KEY.hashes(["user 1"])[0]: 300}}


def cleaned() -> Cleaned:
    """Clean rows of 20 users."""
    seen, done = exposures(20), outcomes(20)
    raw = {
        "exposures": [
            pa.table(
                {
                    "user_id": seen["uid"],
                    "variant_id": seen["arm"],
                    "exposed_at": seen["seen"],
                    "event_id": seen["id"],
                }
            )
        ],
        "outcomes": [
            pa.table(
                {
                    "user_id": done["uid"],
                    "event": done["what"],
                    "occurred_at": done["at"],
                    "value": done["amount"],
                    "event_id": done["id"],
                }
            )
        ],
    }
    return clean_bucket(raw, events_experiment(Path(".")), NOW)
