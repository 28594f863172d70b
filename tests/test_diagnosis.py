"""What errors of databases, object stores and disks are told as; the texts are those that the libraries gave."""

from __future__ import annotations

import errno
import io
import socket
from collections.abc import Callable

import pytest
from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
from pyspark.errors import PySparkRuntimeError
from pyspark.serializers import read_int
from pyspark.util import local_connect_and_auth

from exp_platform.diagnosis import diagnosis, told
from exp_platform.errors import ConfigError

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
    "(sqlite3.DatabaseError) file is not a database [SQL: SELECT 1 FROM iceberg_tables]": (
        "the catalog's database is damaged"
    ),
    "(sqlite3.DatabaseError) database disk image is malformed": "the catalog's database is damaged",
    "(sqlite3.OperationalError) attempt to write a readonly database": "may not be written by this user",
    "(sqlite3.OperationalError) unable to open database file": "catalog.db in it is a file",
    "(sqlite3.OperationalError) database or disk is full": "the disk is full",
    "(sqlite3.OperationalError) database is locked": "another process holds the catalog's database",
    "[JAVA_GATEWAY_EXITED] Java gateway process exited before sending its port number.": "set JAVA_HOME to the folder",
    "spark-class: line 71: /nowhere/bin/java: No such file or directory": "set JAVA_HOME to the folder",
    'java.lang.NullPointerException: Cannot invoke "org.apache.spark.scheduler.DAGScheduler.metricsSource()" because the '
    'return value of "org.apache.spark.SparkContext._dagScheduler()" is null': "have the same secret",
    "An error occurred while trying to connect to the Java server (127.0.0.1:40000)": "Spark died in the middle of work",
    "An error occurred while calling o97.asJavaRDD": "Spark died in the middle of work",
    "java.net.BindException: Address already in use: Service 'sparkDriver' failed after 16 retries": "a port is in use",
}


@pytest.mark.parametrize("said", SEEN)
def test_the_cause_and_the_remedy_are_told_with_the_librarys_words(said: str) -> None:
    meaning = diagnosis(RuntimeError(said))
    assert meaning is not None
    assert SEEN[said] in meaning
    assert " ".join(said.partition(" [SQL")[0].split())[:60] in meaning
    assert "\n" not in meaning
    assert "[SQL" not in meaning


def test_a_full_disk_is_known_by_its_number() -> None:
    meaning = diagnosis(OSError(errno.ENOSPC, "write failed"))
    assert meaning is not None
    assert meaning.startswith("the disk is full: free some space")


FILES = {
    errno.EACCES: "give it the rights",
    errno.EROFS: "the disk is read-only",
    errno.ENOTDIR: "a file lies where a folder should be",
    errno.ELOOP: "links lead in a circle",
    errno.EMFILE: "too many files are open",
    errno.EFBIG: "a file may not grow that large",
    errno.EIO: "the disk failed",
}


@pytest.mark.parametrize("number", FILES, ids=errno.errorcode.get)
def test_what_the_system_says_of_files_is_told_only_where_the_data_are_not_at_fault(number: int) -> None:
    error = OSError(number, "Failed to open", "/state/runs")
    assert diagnosis(error) is None
    said = told(error)
    assert said is not None
    assert FILES[number] in said
    assert "/state/runs" in said


def test_the_platforms_own_errors_are_told_as_they_are() -> None:
    assert told(ConfigError("two\nlines")) == "two\nlines"
    assert told(ValueError("column x is missing")) is None


def test_the_cause_of_an_error_counts() -> None:
    outer = ValueError("could not load the table")
    outer.__cause__ = OSError("AWS Error ACCESS_DENIED during GetObject operation")
    assert "denied access" in (diagnosis(outer) or "")


def no_java() -> int:
    """A port that nobody listens at."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        return int(nobody.getsockname()[1])


def call() -> None:
    gateway = ClientServer(JavaParameters(port=no_java()), PythonParameters(port=0, eager_load=False))
    try:
        gateway.jvm.java.lang.System.nanoTime()
    finally:
        gateway.shutdown()


@pytest.mark.parametrize(
    "ask",
    [call, lambda: local_connect_and_auth(no_java(), "secret"), lambda: read_int(io.BytesIO())],
    ids=["call", "open what it serves", "read what it serves"],
)
def test_a_jvm_that_is_gone_is_told_as_one_whatever_was_asked_of_it(ask: Callable[[], object]) -> None:
    with pytest.raises((ConnectionRefusedError, PySparkRuntimeError, EOFError)) as gone:
        ask()
    assert "Spark died in the middle of work" in str(told(gone.value))


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "Connection refused"), EOFError()])
def test_an_end_that_others_made_is_not_sparks(error: Exception) -> None:
    assert told(error) is None


def test_what_is_not_known_is_left_as_it_is() -> None:
    assert diagnosis(ValueError("column x is missing")) is None
