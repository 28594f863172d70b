"""What an error of the machinery around the platform means, and what to do: databases, object stores, disks, Java.

Their own words name neither the setting at fault nor a remedy, and they come through four client libraries.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator

from exp_platform.errors import ExpPlatformError, bounded

_STORE = (
    "the connection aws_default (without Airflow: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
)
_CATALOG = "`catalog` in configs/environments"

# What the client libraries say (psycopg2, PyArrow's AWS client, the system) -> what it means. The first that fits counts.
_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        r"password authentication failed for user \"(?P<what>[^\"]*)\"",
        f"the database refused the password of user {{what}}: correct the variable that password_env names in {_CATALOG}",
    ),
    (
        r"no password supplied",
        f"the database wants a password and none was given: name its variable by password_env in {_CATALOG}",
    ),
    (
        r"database \"(?P<what>[^\"]*)\" does not exist",
        f"the database server has no database {{what}}: create it, or correct uri of {_CATALOG}",
    ),
    (
        r"(could not translate host name|connection to server at) \"(?P<what>[^\"]*)\"",
        f"the database at {{what}} does not answer: start it, or correct uri of {_CATALOG}",
    ),
    (
        r"(server closed the connection|terminating connection|the database system is (starting up|shutting down))",
        "the database went away in the middle of work: it works again once the database does",
    ),
    (
        r"file is not a database|database disk image is malformed",
        "the catalog's database is damaged: stop what runs and put a backup back (exp restore FILE); without one move "
        "catalog.db (or what `catalog.uri` and `leases.uri` name) away and `exp repair`",
    ),
    (
        r"attempt to write a readonly database",
        "the catalog's database may not be written by this user or on this disk: results can be read all the same "
        "(exp results); to run, let this user write the state folder or set EXP_STATE_DIR to another",
    ),
    (
        r"unable to open database file",
        "the catalog's database cannot be opened: see that the state folder is there, that this user may write it and its disk "
        "is not read-only (results can be read all the same), and that catalog.db in it is a file",
    ),
    (
        r"database is locked",
        "another process holds the catalog's database for very long: see what it is (fuser catalog.db), then try again",
    ),
    (
        r"JAVA_GATEWAY_EXITED|Java gateway process exited|JAVA_HOME is not set|bin/java: (No such file|Not a directory"
        r"|cannot execute|Permission denied)",
        "Java did not start: set JAVA_HOME to the folder of a Java 17 or 21 (it holds bin/java), or unset it where `java` is "
        "on the PATH; if it is right, its memory may not be had (spark.driver_memory of the environment)",
    ),
    (
        r"Address already in use|Failed to bind|EADDRINUSE|Can't assign requested address",
        "a port is in use: stop what listens there, or take the fixed port out of spark.properties of the environment",
    ),
    (
        # What is left to be said by a driver that the master has answered nothing for a minute; its log has more.
        r"SparkContext\._dagScheduler\(\)\" is null|All masters are unresponsive|SaslException",
        "the Spark master took no application from this driver: see that it runs, and that master, workers and driver have the "
        "same secret (the variable that spark.secret_env names in configs/environments, or its file)",
    ),
    (
        # A call that the JVM left without any answer ends in the words of the call alone.
        r"Answer from Java side is empty|Error while sending or receiving|An error occurred while trying to connect to the Java"
        r"|An error occurred while calling \S+$|Java side is closed|Can not open socket|SparkContext was shut down"
        r"|Python worker exited unexpectedly",
        "Spark died in the middle of work: run again; if it stays so, memory is short: give Spark more "
        "(spark.driver_memory of the environment), or run fewer stages at once",
    ),
    (
        r"No space left on device|database or disk is full|Disk quota exceeded|XMinioStorageFull|StorageFull|HTTP status 507",
        "the disk is full: free some space or enlarge the volume; nothing half-written counts",
    ),
    (
        r"NoSuchBucket|NO_SUCH_BUCKET|Bucket '(?P<what>[^']*)' not found|bucket does not exist",
        "the object store has no such bucket: create it, or correct raw_dir, warehouse and memos_dir of the environment",
    ),
    (
        r"INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch|INVALID_CLIENT_TOKEN"
        r"|InvalidClientTokenId|EXPIRED_TOKEN|ExpiredToken",
        f"the object store refused the credentials: correct {_STORE}",
    ),
    (
        r"ACCESS_DENIED|AccessDenied|HTTP status 403|Forbidden",
        f"the object store denied access: correct {_STORE}, or see that the bucket is there and that user has rights to it",
    ),
    (
        r"AWS Error NETWORK_CONNECTION|curlCode: (6|7|28|35|52|56)|Couldn't connect to server|EndpointConnectionError",
        f"the object store does not answer: start it, or correct the endpoint in {_STORE}",
    ),
)


def diagnosis(error: BaseException) -> str | None:
    """The meaning of an error and the remedy, in one line that ends with the library's own words; None if unknown."""
    for link in _chain(error):
        said = " ".join(str(link).split())
        for more in (" [SQL:", " (Background on this error"):
            said = said.partition(more)[0]  # neither says what is wrong
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            said = f"No space left on device: {said}"
        if isinstance(link, (ConnectionError, EOFError)) and _on_the_way_to_java(link):
            said = f"Java side is closed: {said}"
        for pattern, meaning in _MEANINGS:
            if found := re.search(pattern, said):
                what = found.groupdict().get("what")
                return f"{meaning.format(what=what)} ({_first_words(said)})"
    return None


def told(error: BaseException) -> str | None:
    """What a person is told of any error: bounded, with cause and remedy. None where it is unexpected.

    Beside `diagnosis` it knows the platform's own errors, and what the system says of files and folders wherever they lie:
    whoever reads the users' data has better words for those.
    """
    if isinstance(error, ExpPlatformError):
        return str(error)
    if meaning := diagnosis(error) or _of_files(error):
        return bounded(meaning)
    return None


_FILES = {  # what the system says of a file or folder -> what it means
    (
        errno.EACCES,
        errno.EPERM,
    ): "this user may not do that there: give it the rights, or name another folder",
    (
        errno.EROFS,
    ): "the disk is read-only: mount it so that it can be written, or set EXP_STATE_DIR to another; results "
    "can be read all the same (exp results)",
    (
        errno.ENOTDIR,
        errno.EEXIST,
        errno.EISDIR,
    ): "a file lies where a folder should be, or a folder where a file should: move it away",
    (errno.ENOENT,): "a file that was there is gone: put it back from a backup, or run again",
    (errno.ELOOP,): "links lead in a circle: remove one of them",
    (errno.ENAMETOOLONG,): "the path is too long: name a folder with a shorter one",
    (
        errno.EMFILE,
        errno.ENFILE,
    ): "too many files are open: raise the limit (ulimit -n), or run fewer stages at once",
    (
        errno.EFBIG,
    ): "a file may not grow that large: raise the limit (ulimit -f) or use another disk; nothing half-written "
    "counts",
    (
        errno.EIO,
    ): "the disk failed to read or write: see the machine's log, and put the state back from a backup on another",
}


def _of_files(error: BaseException) -> str | None:
    for link in _chain(error):
        for numbers, meaning in _FILES.items():
            if isinstance(link, OSError) and link.errno in numbers:
                return f"{meaning} ({_first_words(' '.join(str(link).split()))})"
    return None


def _on_the_way_to_java(error: BaseException) -> bool:
    """Whether the error was raised between this process and the JVM, whose sockets say nothing of what they lead to."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").startswith(("py4j.", "pyspark.")) for frame in frames)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, each once."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _first_words(said: str, longest: int = 300) -> str:
    return said if len(said) <= longest else f"{said[:longest]} ..."
