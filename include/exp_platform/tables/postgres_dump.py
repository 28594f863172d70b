"""Copies of a catalog on Postgres, by its own programs: `pg_dump` and `pg_restore` of the platform's tables and no others."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError, ExpPlatformError

TABLES = ("iceberg_tables", "iceberg_namespace_properties", "exp_leases", "exp_audit")
_PLAIN = ("--no-owner", "--no-privileges")


def write(environment: Environment, file: Path) -> None:
    """Dump the tables as they are at one moment; whoever writes them meanwhile is not held up."""
    _run(
        environment,
        "pg_dump",
        ["--format=custom", *_PLAIN, *(f"--table={name}" for name in TABLES), f"--file={file}"],
    )


def load(environment: Environment, file: Path) -> None:
    """Replace the tables by those of a dump, in one transaction."""
    options = ["--clean", "--if-exists", "--single-transaction", "--exit-on-error", *_PLAIN]
    _run(environment, "pg_restore", [*options, str(file)])


def check(environment: Environment, file: Path) -> None:
    """Raise ConfigError where a file is no dump of the environment's catalog."""
    try:
        rows = _output("pg_restore", ["--data-only", "--table=iceberg_tables", "--file=-", str(file)])
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"{file} is no dump of pg_dump: {_said(error)}") from error
    if f"\t{environment.warehouse}/" not in rows:
        raise ConfigError(
            f"{file} is the dump of another catalog: no table in it lies in {environment.warehouse}"
        )


def _run(environment: Environment, program: str, options: list[str]) -> None:
    catalog = environment.catalog
    user = f"{quote(catalog.user, safe='')}@" if catalog.user else ""
    database = f"--dbname=postgresql://{user}{catalog.uri.removeprefix('postgresql://')}"
    password = {} if catalog.password is None else {"PGPASSWORD": catalog.password}
    try:
        _output(program, [*options, database], password)
    except subprocess.CalledProcessError as error:
        raise ExpPlatformError(f"{program} failed: {_said(error)}") from error


def _output(program: str, options: list[str], variables: dict[str, str] | None = None) -> str:
    if shutil.which(program) is None:
        raise ConfigError(
            f"{program} is not installed here (package postgresql-client). Install it, or run where it is, with the password in "
            f"PGPASSWORD: {shlex.join([program, *options])}"
        )
    environment = os.environ | (variables or {})
    done = subprocess.run([program, *options], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def _said(error: subprocess.CalledProcessError) -> str:
    return " ".join(str(error.stderr).split())[:400]
