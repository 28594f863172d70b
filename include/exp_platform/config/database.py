"""The databases that an environment names: the catalog's, and where it is another one that of the leases."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from exp_platform.config.secret_values import secret

LOGIN = re.compile(r"(?<=://)[^/@]*@")
SQLITE_WAIT_SECONDS = 30  # how long a writer waits for another one's lock
_POSTGRES_CONNECT_SECONDS = 10


class Database(BaseModel):
    """A SQL database: a file for SQLite, else `postgresql://host:port/name`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str = Field(min_length=1)
    user: str | None = None
    password_env: str | None = None  # the name of the variable that holds the password, never the password

    @field_validator("uri")
    @classmethod
    def _without_login(cls, uri: str) -> str:
        if LOGIN.search(uri):  # messages name the database by its URI
            raise ValueError("a URI holds no user and password: name them by `user` and `password_env`")
        return uri

    @property
    def password(self) -> str | None:
        """The password of the variable that `password_env` names, or of its file; None when it names none."""
        return None if self.password_env is None else secret(self.password_env, "password_env")

    @property
    def sqlalchemy_uri(self) -> str:
        """The database as SQLAlchemy opens it, with user and password."""
        if "://" not in self.uri:
            # SQLAlchemy knows how it reads what it writes: that is not the same in all versions
            from sqlalchemy import URL

            wait = {"timeout": str(SQLITE_WAIT_SECONDS)}
            return URL.create("sqlite", database=self.uri, query=wait).render_as_string(hide_password=False)
        from urllib.parse import quote

        address = self.uri.removeprefix("postgresql://")
        login = quote(self.user or "", safe="")
        if self.password is not None:
            login += ":" + quote(self.password, safe="")
        return (
            f"postgresql+psycopg2://{login}{'@' if login else ''}{address}"
            f"?connect_timeout={_POSTGRES_CONNECT_SECONDS}"
        )


class CatalogSettings(Database):
    """The Iceberg catalog: `uri` is a file for sqlite, `postgresql://host/db` for postgres, `http(s)://` for rest."""

    kind: Literal["sqlite", "postgres", "rest"]
    # Further catalog properties, the same for Spark and PyIceberg; an empty one counts as absent.
    properties: dict[str, str] = {}
