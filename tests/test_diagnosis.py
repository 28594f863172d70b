"""What errors of databases, object stores and disks are told as; the texts are those that the libraries gave."""

from __future__ import annotations

import errno

import pytest

from exp_platform.diagnosis import diagnosis

SEEN = {
    'connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "iceberg"': (
        "refused the password of user iceberg"
    ),
    'connection to server at "db" (10.0.0.2), port 5432 failed: Connection refused': "the database at db does not answer",
    'could not translate host name "postgres" to address: Name or service not known': (
        "the database at postgres does not answer"
    ),
    'connection to server at "db", port 5432 failed: FATAL:  database "iceberg" does not exist': (
        "has no database iceberg"
    ),
    "When getting information for key 'a' in bucket 'b': AWS Error ACCESS_DENIED during HeadObject operation": (
        "denied access"
    ),
    "AWS Error INVALID_ACCESS_KEY_ID during PutObject operation: The key does not exist": "refused the credentials",
    "Bucket 'warehouse' not found. To create buckets, enable the allow_bucket_creation option.": "no such bucket",
    "AWS Error NETWORK_CONNECTION during HeadBucket operation: curlCode: 7, Couldn't connect to server": (
        "the object store does not answer"
    ),
}


@pytest.mark.parametrize("said", SEEN)
def test_the_cause_and_the_remedy_are_told_with_the_librarys_words(said: str) -> None:
    told = diagnosis(RuntimeError(said))
    assert told is not None
    assert SEEN[said] in told
    assert " ".join(said.split())[:60] in told
    assert "\n" not in told


def test_a_full_disk_is_known_by_its_number() -> None:
    told = diagnosis(OSError(errno.ENOSPC, "write failed"))
    assert told is not None
    assert told.startswith("the disk is full: free some space")


def test_the_cause_of_an_error_counts() -> None:
    outer = ValueError("could not load the table")
    outer.__cause__ = OSError("AWS Error ACCESS_DENIED during GetObject operation")
    assert "denied access" in (diagnosis(outer) or "")


def test_what_is_not_known_is_left_as_it_is() -> None:
    assert diagnosis(ValueError("column x is missing")) is None
