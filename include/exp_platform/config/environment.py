"""Where the platform runs: folders, the Iceberg catalog and Spark, read from `configs/environments/<name>.yaml`.

| variable | meaning | default |
|---|---|---|
| `EXP_ENVIRONMENT` | name of the environment | `embedded` |
| `EXP_CONFIG_DIR` | folder of the configs | `<project root>/configs` |
| `EXP_STATE_DIR` | the state root: relative paths in an environment lie under it | `<project root>/data` |
| `EXP_JARS_DIR` | folder of the jars that Spark needs | `<project root>/jars` |
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exp_platform.errors import ConfigError

CATALOG = (
    "iceberg"  # the catalog's name in Spark and in PyIceberg: a shared SQL catalog keys its tables by it
)
DEFAULT_ENVIRONMENT = "embedded"

_NAME = re.compile(r"[a-z0-9_]{1,64}")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://")
_SQLITE_WAIT_SECONDS = 30  # how long a writer waits for another one's lock


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CatalogSettings(_Frozen):
    """The Iceberg catalog: `uri` is a file for sqlite, `postgresql://host/db` for postgres, `http(s)://` for rest."""

    kind: Literal["sqlite", "postgres", "rest"]
    uri: str = Field(min_length=1)
    user: str | None = None
    password_env: str | None = None  # the name of the variable that holds the password, never the password
    properties: dict[
        str, str
    ] = {}  # further catalog properties, the same for Spark and PyIceberg (s3.endpoint, ...)

    @property
    def password(self) -> str | None:
        """The password, from the variable that `password_env` names; None when it names none."""
        if self.password_env is None:
            return None
        if self.password_env not in os.environ:
            raise ConfigError(f"catalog.password_env: the variable {self.password_env} is not set")
        return os.environ[self.password_env]


class SparkSettings(_Frozen):
    """How Spark starts where no spark-submit says it."""

    master: str = "local[*]"
    driver_memory: str = Field(default="4g", pattern=r"^\d+[mg]$")
    shuffle_partitions: int | None = Field(default=None, ge=1)  # None: as many as the local cores
    properties: dict[str, str] = {}  # further Spark properties, which win over the platform's own

    @property
    def local(self) -> bool:
        """Whether Spark has no other cores than this machine's: then one task gains nothing from a session."""
        return self.master.startswith("local")


class Environment(_Frozen):
    """Where the platform runs. Paths are absolute; `raw_dir` and `warehouse` may be URIs (`s3://...`)."""

    name: str
    raw_dir: str
    warehouse: str
    runs_dir: Path
    memos_dir: Path
    catalog: CatalogSettings
    spark: SparkSettings = SparkSettings()

    @property
    def state_dir(self) -> Path:
        """The folder of everything the platform writes on this machine."""
        return state_dir()

    def prepare(self) -> None:
        """Create the local folders that a writer expects to be there: the warehouse's and the catalog file's."""
        folders = [Path(self.catalog.uri).parent] if self.catalog.kind == "sqlite" else []
        if self.warehouse.startswith("file://"):
            folders.append(Path(self.warehouse.removeprefix("file://")))
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"environment {self.name}: {folder} cannot be made ({error.strerror}): set EXP_STATE_DIR to a folder "
                    f"that this user may write"
                ) from error

    def pyiceberg_properties(self) -> dict[str, str]:
        """Properties for `pyiceberg.catalog.load_catalog("iceberg", **properties)`."""
        catalog = self.catalog
        if catalog.kind == "rest":
            return {"type": "rest", "uri": catalog.uri, "warehouse": self.warehouse, **catalog.properties}
        if catalog.kind == "sqlite":
            uri = f"sqlite:///{catalog.uri}?timeout={_SQLITE_WAIT_SECONDS}"
        else:
            from urllib.parse import quote

            address = catalog.uri.removeprefix("postgresql://")
            login = quote(catalog.user or "", safe="")
            if catalog.password is not None:
                login += ":" + quote(catalog.password, safe="")
            uri = f"postgresql+psycopg2://{login}@{address}" if login else f"postgresql+psycopg2://{address}"
        return {"type": "sql", "uri": uri, "warehouse": self.warehouse, **catalog.properties}

    def spark_properties(self) -> dict[str, str]:
        """Spark properties of the catalog `iceberg`: the tables that `pyiceberg_properties` opens."""
        catalog = self.catalog
        # PyIceberg commits: a table that Spark keeps for 30 s would hide what a run has just written.
        settings = {"warehouse": self.warehouse, "uri": catalog.uri, "cache-enabled": "false"}
        if catalog.kind == "rest":
            settings["type"] = "rest"
        else:
            settings |= {"type": "jdbc", "jdbc.schema-version": "V1"}
            if catalog.kind == "sqlite":
                options = f"journal_mode=WAL&busy_timeout={_SQLITE_WAIT_SECONDS * 1000}"
                settings["uri"] = f"jdbc:sqlite:file:{catalog.uri}?{options}"
            else:
                settings["uri"] = f"jdbc:{catalog.uri}"
            if catalog.user is not None:
                settings["jdbc.user"] = catalog.user
            if catalog.password is not None:
                settings["jdbc.password"] = catalog.password
        settings |= catalog.properties
        prefix = f"spark.sql.catalog.{CATALOG}"
        return {
            prefix: "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            **{f"{prefix}.{key}": value for key, value in settings.items()},
        }


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


def jars_dir() -> Path:
    """The folder of the jars: `EXP_JARS_DIR`, else `<project root>/jars`."""
    return _directory("EXP_JARS_DIR", "jars")


def load_environment(name: str | None = None) -> Environment:
    """Read and check one environment; raises ConfigError with every fault of the file at once.

    `name` is the file's name without `.yaml`; None means `EXP_ENVIRONMENT`, else `embedded`. Writes nothing.
    """
    name = name or os.environ.get("EXP_ENVIRONMENT") or DEFAULT_ENVIRONMENT
    folder = config_dir() / "environments"
    path = folder / f"{name}.yaml"
    if not _NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise ConfigError(f"environment {name!r} is unknown; {folder} has: {known}")
    environment = _validated(path, _read(path))
    if environment.name != name:
        raise ConfigError(
            f"{path}: name: found {environment.name!r}, allowed is the file's own name, {name!r}"
        )
    return environment


def _directory(variable: str, default: str) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else project_root() / default


def _read(path: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader is eight times as fast
    try:
        content = yaml.load(path.read_bytes(), Loader=loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found {type(content).__name__}, allowed is a mapping")
    return content


def _validated(path: Path, content: dict[str, Any]) -> Environment:
    try:
        environment = Environment.model_validate(content)
    except ValidationError as error:
        faults = [
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']} (found {fault['input']!r})"
            for fault in error.errors()
        ]
        raise ConfigError("\n".join(faults)) from error
    catalog = environment.catalog
    if catalog.kind == "sqlite":
        catalog = catalog.model_copy(update={"uri": _absolute(catalog.uri)})
    warehouse = _absolute(environment.warehouse)
    return environment.model_copy(
        update={
            "raw_dir": _absolute(environment.raw_dir),
            # Absolute and with a scheme: Spark and PyIceberg must write and read the same locations.
            "warehouse": warehouse if _URI.match(warehouse) else f"file://{warehouse}",
            "runs_dir": Path(_absolute(str(environment.runs_dir))),
            "memos_dir": Path(_absolute(str(environment.memos_dir))),
            "catalog": catalog,
        }
    )


def _absolute(place: str) -> str:
    """A URI as it is; a path below the state root."""
    return place if _URI.match(place) else str(state_dir() / Path(place).expanduser())
