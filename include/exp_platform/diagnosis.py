"""What an error of the machinery around the platform means, and what to do: databases, object stores, disks.

Their own words name neither the setting at fault nor a remedy, and they come through three client libraries.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

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
        r"No space left on device|Disk quota exceeded|XMinioStorageFull|StorageFull|HTTP status 507",
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
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            said = f"No space left on device: {said}"
        for pattern, meaning in _MEANINGS:
            if found := re.search(pattern, said):
                what = found.groupdict().get("what")
                return f"{meaning.format(what=what)} ({_first_words(said)})"
    return None


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
