"""Names in Airflow: what the platform calls its DAGs and assets, and which assets a spec may name."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

DAG_PREFIX = "exp__"
_LONGEST = 1500  # characters, as Airflow stores them
_RESERVED = ("self", "context")  # names that Airflow keeps for itself
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


def dag_id_of(experiment_id: str) -> str:
    """The id of an experiment's DAG."""
    return f"{DAG_PREFIX}{experiment_id}"


def experiment_of(dag_id: str) -> str | None:
    """The id of the experiment that has this DAG; None for a DAG of another kind."""
    return dag_id.removeprefix(DAG_PREFIX) if dag_id.startswith(DAG_PREFIX) else None


def is_uri(asset: str) -> bool:
    """Whether an asset is named by its URI; else by its name."""
    return "://" in asset


def results_of(experiment_id: str) -> tuple[str, str]:
    """Name and URI of the asset that a new decision of the experiment updates."""
    return f"{experiment_id} results", f"exp-platform://decisions/{experiment_id}"


def asset_fault(asset: str) -> str | None:
    """What is wrong with an asset's name or URI in one phrase; None where Airflow takes it."""
    if len(asset) > _LONGEST:
        return f"{len(asset):,} characters instead of at most {_LONGEST:,}"
    if asset.strip() != asset or not asset.isprintable():
        return "it begins or ends with a space, or holds characters that cannot be seen"
    if "${" in asset:
        return "variables are not filled in here"
    if not is_uri(asset):
        return "Airflow keeps this name for itself" if asset in _RESERVED else None
    return _uri_fault(asset)


def _uri_fault(uri: str) -> str | None:
    scheme = uri.partition("://")[0]
    if not _SCHEME.fullmatch(scheme):
        return f"{scheme!r} is no scheme: small letters, digits, +, . and -"
    if scheme == "airflow":
        return "Airflow keeps the scheme 'airflow' for itself"
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:  # brackets or a port that are none
        return f"it is no URI ({error})"
    if "@" in parts.netloc:
        return "user and password do not belong into a URI"
    if "?" in uri or "#" in uri:
        return "Airflow drops or changes what follows ? and #"
    if scheme == "file":
        return None if parts.path.strip("/") else "the path is missing"
    if not (parts.netloc if port is None else parts.hostname):
        return "the bucket or host is missing"
    if scheme == "redshift" and parts.path.rstrip("/").count("/") != 3:
        return "a table of Redshift is named redshift://<host>/<database>/<schema>/<table>"
    return None
