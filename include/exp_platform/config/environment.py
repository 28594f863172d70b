"""Where the platform runs: folders, the Iceberg catalog and Spark, read from `configs/environments/<name>.yaml`.

| variable | meaning | default |
|---|---|---|
| `EXP_ENVIRONMENT` | name of the environment | `embedded` |
| `EXP_CONFIG_DIR` | folder of the configs | `<project root>/configs` |
| `EXP_STATE_DIR` | the state root: relative paths in an environment lie under it | `<project root>/data` |
| `EXP_JARS_DIR` | folder of the jars that Spark needs | `<project root>/jars` |

An object store is reached by the variables that every AWS client knows: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`, `AWS_REGION` and, where it is not Amazon's, `AWS_ENDPOINT_URL`. Without keys the clients look for
credentials themselves (a profile, an instance's role).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from exp_platform.config.database import LOGIN, SQLITE_WAIT_SECONDS, CatalogSettings, Database
from exp_platform.config.faults import Words, each_of, one_line, render_found, render_key
from exp_platform.config.privacy import KeySource, Pseudonyms, Retention
from exp_platform.config.source_rules import Root, SourceRules, VariableName, declared_secrets, secrets_of
from exp_platform.config.spark_settings import SparkSettings
from exp_platform.config.spec_notify import NotifierClass, NotifySpec
from exp_platform.config.variables import filled
from exp_platform.config.yaml_file import Document, read_bounded
from exp_platform.errors import ConfigError

# The catalog's name in Spark and in PyIceberg: a shared SQL catalog keys its tables by it
CATALOG = "iceberg"
DEFAULT_ENVIRONMENT = "embedded"

# What ends a path, or is dropped from it, where libraries read a location as a URL: files would land in another folder.
_NOT_IN_PATHS = re.compile(r"[#?\x00-\x1f\x7f]")
_NAME = re.compile(r"[a-z0-9_]{1,64}")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://")
_S3_VARIABLES = {  # property of the catalog, for Spark and PyIceberg alike <- the variables that may hold it
    "s3.access-key-id": ("AWS_ACCESS_KEY_ID",),
    "s3.secret-access-key": ("AWS_SECRET_ACCESS_KEY",),
    "s3.session-token": ("AWS_SESSION_TOKEN",),
    "s3.endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "s3.region": ("AWS_REGION", "AWS_DEFAULT_REGION"),  # PyIceberg's name for it
    "client.region": ("AWS_REGION", "AWS_DEFAULT_REGION"),  # and Iceberg's
}
# Names of properties whose values nobody may read
SECRET = "(?i)secret|password|token|credential|access.?key"


KeyT = TypeVar("KeyT", bound=KeySource | None)


class Environment(BaseModel):
    """Where the platform runs. Paths are absolute; `raw_dir`, `warehouse` and `memos_dir` may be URIs (`s3://...`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    raw_dir: str
    warehouse: str
    runs_dir: Path
    memos_dir: str
    catalog: CatalogSettings
    # Further ones, which specs may name tables of: `table: <name here>.namespace.table`. They are only read.
    catalogs: dict[str, CatalogSettings] = {}
    # None: in the catalog's database; with a rest catalog, in a file of this machine
    leases: Database | None = None
    spark: SparkSettings = SparkSettings()
    variables: tuple[VariableName, ...] = ()  # that locations of specs may name, beside EXP_ ones
    source_roots: tuple[Root, ...] | None = None  # under which the files of specs must lie; None: anywhere
    connections: tuple[str, ...] | None = None  # that specs may read by; None: any
    retention: Retention | None = None  # None: rows of single users stay
    pseudonyms: Pseudonyms | None = None  # None: user ids are stored as they come
    forgotten: KeySource | None = None  # the key of the list of forgotten users; None: a file in `runs_dir`
    notify: tuple[NotifySpec, ...] = ()  # who is told of experiments whose specs do not say
    notifiers: tuple[NotifierClass, ...] = ()  # that specs may name beside `smtp` and `slack`

    @property
    def source_rules(self) -> SourceRules:
        """What the locations of specs may be."""
        return SourceRules(
            str(_file(self.name)),
            frozenset(self.variables),
            frozenset(secrets_of(self.model_dump(mode="json"))),
            self.source_roots,
        )

    @property
    def forgotten_key(self) -> KeySource:
        """Where the key is by which forgotten users are known."""
        return self.forgotten or KeySource(key_file=str(self.runs_dir / ".forgotten.key"))

    @property
    def uses_s3(self) -> bool:
        """Whether anything of the platform's own lies in an object store."""
        return any(place.startswith("s3://") for place in (self.raw_dir, self.warehouse, self.memos_dir))

    @property
    def state_dir(self) -> Path:
        """The folder of everything the platform writes on this machine."""
        return state_dir()

    def prepare(self) -> None:
        """Create the local folders that a writer expects to be there: the warehouse's, the event logs', those of database files."""
        databases = {self.lease_database.uri} | (
            {self.catalog.uri} if self.catalog.kind == "sqlite" else set()
        )
        folders = [Path(uri).parent for uri in databases if "://" not in uri]
        own = (self.warehouse, self.spark.event_log_dir or "")
        folders += [Path(place.removeprefix("file://")) for place in own if place.startswith("file://")]
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                remedy = (
                    "a file lies there or above, move it away"
                    if isinstance(error, (FileExistsError, NotADirectoryError))
                    else "set EXP_STATE_DIR to a folder that this user may write"
                )
                raise ConfigError(
                    f"environment {self.name}: {folder} cannot be made ({error.strerror}): {remedy}"
                ) from error

    @property
    def lease_database(self) -> Database:
        """Where it is written which experiments are being run."""
        if self.leases is not None:
            return self.leases
        if self.catalog.kind == "rest":  # such a catalog has no database of its own to share
            return Database(uri=str(self.state_dir / "leases.db"))
        return self.catalog

    def pyiceberg_properties(self, other: str | None = None) -> dict[str, str]:
        """Properties for `pyiceberg.catalog.load_catalog("iceberg", **properties)`, secrets among them.

        With `other` those of one of the `catalogs`, to be loaded by that name: by it SQL catalogs know their tables.
        """
        catalog = self.catalog if other is None else self.catalogs[other]
        place = (
            {"type": "rest", "uri": catalog.uri}
            if catalog.kind == "rest"
            # A reader that lives long outlives the database's restarts: a connection is tried before it is used again.
            else {"type": "sql", "uri": catalog.sqlalchemy_uri, "pool_pre_ping": "true"}
        )
        own = {"warehouse": self.warehouse} if other is None else {}
        return {**place, **own, **s3_properties(), **catalog.properties}

    def spark_properties(self) -> dict[str, str]:
        """Spark properties of the catalog `iceberg`: the tables that `pyiceberg_properties` opens.

        Those whose names match SECRET must not be written anywhere.
        """
        from urllib.parse import quote

        catalog = self.catalog
        # PyIceberg commits: a table that Spark keeps for 30 s would hide what a run has just written.
        settings = {"warehouse": self.warehouse, "uri": catalog.uri, "cache-enabled": "false"}
        if self.warehouse.startswith("s3://"):
            settings["io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
        if catalog.kind == "rest":
            settings["type"] = "rest"
        else:
            settings |= {"type": "jdbc", "jdbc.schema-version": "V1"}
            if catalog.kind == "sqlite":
                options = f"journal_mode=WAL&busy_timeout={SQLITE_WAIT_SECONDS * 1000}"
                settings["uri"] = f"jdbc:sqlite:file:{quote(catalog.uri)}?{options}"
            else:
                settings["uri"] = f"jdbc:{catalog.uri}"
            if catalog.user is not None:
                settings["jdbc.user"] = catalog.user
            if catalog.password is not None:
                settings["jdbc.password"] = catalog.password
        settings |= s3_properties() | catalog.properties
        prefix = f"spark.sql.catalog.{CATALOG}"
        return {
            prefix: "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            **{f"{prefix}.{key}": value for key, value in settings.items()},
        }


def s3_properties() -> dict[str, str]:
    """How the catalog's files in an object store are reached, from the variables that every AWS client knows."""
    found = {
        name: next((os.environ[v] for v in variables if os.environ.get(v)), "")
        for name, variables in _S3_VARIABLES.items()
    }
    if found["s3.endpoint"]:
        found["s3.path-style-access"] = "true"  # only Amazon has a host name for every bucket
    return {name: value for name, value in found.items() if value}


@lru_cache(maxsize=1)
def project_root() -> Path:
    """The folder that holds `configs/`, `dags/` and `include/`."""
    return Path(__file__).resolve().parents[3]


def config_dir() -> Path:
    """The folder of the configs: `EXP_CONFIG_DIR`, else `<project root>/configs`."""
    return _directory("EXP_CONFIG_DIR", "configs")


def state_dir() -> Path:
    """The state root: `EXP_STATE_DIR`, else `<project root>/data`."""
    return _directory("EXP_STATE_DIR", "data")


@contextmanager
def temporary_state() -> Iterator[Path]:
    """A state root of its own for the length of a `with` block, which leaves no experiment behind."""
    before = os.environ.get("EXP_STATE_DIR")
    with tempfile.TemporaryDirectory(prefix="exp-state-") as folder:
        os.environ["EXP_STATE_DIR"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("EXP_STATE_DIR") if before is None else os.environ.update(EXP_STATE_DIR=before)


def jars_dir() -> Path:
    """The folder of the jars: `EXP_JARS_DIR`, else `<project root>/jars`."""
    return _directory("EXP_JARS_DIR", "jars")


def load_environment(name: str | None = None) -> Environment:
    """Read and check one environment; raises ConfigError with every fault of the file at once.

    `name` is the file's name without `.yaml`; None means `EXP_ENVIRONMENT`, else `embedded`. Writes nothing.
    """
    name = name or os.environ.get("EXP_ENVIRONMENT") or DEFAULT_ENVIRONMENT
    path = _file(name)
    folder = path.parent
    if not _NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise ConfigError(f"environment {name!r} is unknown; {folder} has: {known}")
    environment = _validated(path, _read(path))
    if environment.name != name:
        raise ConfigError(
            f"{path}: name: found another one than the file's own name, which is allowed: {name!r}"
        )
    return environment


def _file(name: str) -> Path:
    return config_dir() / "environments" / f"{name}.yaml"


def _directory(variable: str, default: str) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else project_root() / default


def _read(path: Path) -> dict[str, Any]:
    try:
        document = Document(read_bounded(path))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {one_line(str(error))}") from error
    if document.flaws:
        told = [
            f"{path}:{document.line(key)}: {render_key(key)}: found {one_line(found, 80)}; {allowed}"
            for key, found, allowed in document.flaws
        ]
        raise ConfigError("\n".join(told))
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path}: found {type(document.data).__name__}, allowed is a mapping")
    return document.data


def _filled(value: Any, place: str) -> Any:
    """The content with the variables of every text in it filled in."""
    if isinstance(value, dict):
        return {key: _filled(inner, f"{place}: {key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, place) for inner in value]
    return filled(value, place) if isinstance(value, str) else value


def _as_written(content: Any, key: tuple[str | int, ...]) -> Any:
    """What stands at a key, its variables not filled in: a message must not tell their values."""
    for part in key:
        try:
            content = content[part]
        except (LookupError, TypeError):  # a key that is missing: what it should stand in
            break
    return content


def _validated(path: Path, content: dict[str, Any]) -> Environment:
    try:
        environment = Environment.model_validate(_filled(content, str(path)))
    except ValidationError as error:
        faults = [
            f"{path}: {render_key(key)}: {allowed} "
            f"(found {found if isinstance(found, Words) else LOGIN.sub('...@', render_found(_as_written(content, key)))})"
            for entry in error.errors()
            for key, found, allowed in each_of(entry)
        ]
        raise ConfigError("\n".join(faults)) from None
    for name in declared_secrets(environment.variables, environment.source_rules.secrets):
        raise ConfigError(
            f"{path}: variables: found {name}, which this file says holds a secret: leave it out, since what locations name "
            "stands in specs and messages"
        )
    for name in environment.catalogs:
        if name == CATALOG or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{path}: catalogs.{name}: allowed are names of a-z, 0-9 and _, other than {CATALOG}, which is `catalog`"
            )
    leases = environment.leases
    if leases is not None:
        leases = leases.model_copy(update={"uri": _absolute(leases.uri)})
    spark = environment.spark
    if spark.event_log_dir is not None:
        spark = spark.model_copy(update={"event_log_dir": _location(spark.event_log_dir)})
    made = environment.model_copy(
        update={
            "raw_dir": _absolute(environment.raw_dir),
            # Spark and PyIceberg must write and read the same locations.
            "warehouse": _location(environment.warehouse),
            "runs_dir": Path(_absolute(str(environment.runs_dir))),
            "memos_dir": _absolute(environment.memos_dir),
            "catalog": _catalog_placed(environment.catalog),
            "catalogs": {name: _catalog_placed(other) for name, other in environment.catalogs.items()},
            "leases": leases,
            "spark": spark,
            "source_roots": environment.source_roots and tuple(map(_absolute, environment.source_roots)),
            "pseudonyms": _key_placed(environment.pseudonyms),
            "forgotten": _key_placed(environment.forgotten),
        }
    )
    _refuse_odd_places(path, made)
    return made


def _refuse_odd_places(path: Path, environment: Environment) -> None:
    """Raises ConfigError, before anything is written, for a folder that not all libraries can name."""
    catalog, leases = environment.catalog, environment.leases
    places = {
        "raw_dir": environment.raw_dir,
        "warehouse": environment.warehouse,
        "runs_dir": str(environment.runs_dir),
        "memos_dir": environment.memos_dir,
        "spark.event_log_dir": environment.spark.event_log_dir or "",
        "catalog.uri": catalog.uri if catalog.kind == "sqlite" else "",
        **{f"catalogs.{n}.uri": c.uri for n, c in environment.catalogs.items() if c.kind == "sqlite"},
        "leases.uri": "" if leases is None or "://" in leases.uri else leases.uri,
    }
    for key, place in places.items():
        if found := _NOT_IN_PATHS.search(place):
            inside = not _URI.match(place.removeprefix("file://")) and str(state_dir()) in place
            remedy = "set EXP_STATE_DIR to a folder" if inside else "name a folder"
            raise ConfigError(
                f"{path}: {key}: found {place!r}, whose {found[0]!r} means something else in a URL; {remedy} without #, ? "
                "and control characters"
            )


def _catalog_placed(catalog: CatalogSettings) -> CatalogSettings:
    uri = _absolute(catalog.uri) if catalog.kind == "sqlite" else catalog.uri
    given = {key: value for key, value in catalog.properties.items() if value}
    return catalog.model_copy(update={"uri": uri, "properties": given})


def _key_placed(source: KeyT) -> KeyT:
    if source is None or source.key_file is None:
        return source
    return source.model_copy(update={"key_file": _absolute(source.key_file)})


def _absolute(place: str) -> str:
    """A URI as it is; a path below the state root."""
    return place if _URI.match(place) else str(state_dir() / Path(place).expanduser())


def _location(place: str) -> str:
    """Absolute and with a scheme."""
    place = _absolute(place)
    return place if _URI.match(place) else f"file://{place}"
