"""What an environment says of people's data: how long their rows stay, what stands for their ids, and the keys of both."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from exp_platform.config.secret_values import secret
from exp_platform.errors import ConfigError
from exp_platform.json_file import unfinished

SHORTEST_KEY = 32  # characters: of random hexadecimal digits 128 bits
MOST_DAYS = 36_500
DIGITS = 32  # of a keyed hash: 128 bits; of a billion users two share one with a chance of 1.5e-21
_MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"

UserLevelDays = Annotated[int, Field(ge=1, le=MOST_DAYS)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Key:
    """A secret that hashes ids: HMAC-SHA256 (RFC 2104), of which the first 32 hexadecimal digits are taken."""

    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """What tells two keys apart and says nothing of them: 16 hexadecimal digits."""
        return self.hashes(["\0fingerprint"])[0][:16]

    def hashes(self, ids: list[str]) -> list[str]:
        """The keyed hash of each id, in order."""
        block = hashlib.sha256(self.secret).digest() if len(self.secret) > 64 else self.secret
        block = block.ljust(64, b"\0")
        # What every hash begins with is computed once: three times as fast as `hmac.digest`.
        inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block)).copy
        outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block)).copy
        made = []
        for one in ids:
            inside, outside = inner(), outer()
            inside.update(one.encode())
            outside.update(inside.digest())
            made.append(outside.hexdigest()[:DIGITS])
        return made


class KeySource(_Frozen):
    """Where a key is: in the variable `key_env` (or the file that `<key_env>_FILE` names), or in the file `key_file`.

    Other users of the machine may not read that file.
    """

    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    key_file: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.key_env is None) == (self.key_file is None):
            raise ValueError("give key_env (the name of a variable) or key_file (a path), one of both")
        return self

    def read(self, used_for: str) -> Key:
        """The key. Raises ConfigError, which never quotes it, where it is absent, too short or open to everybody."""
        if self.key_env is not None:
            place, found = f"the variable {self.key_env}", secret(self.key_env, f"{used_for}.key_env")
        else:
            place, found = str(self.key_file), _content(Path(str(self.key_file)), used_for)
        key = found.strip()
        if len(key) < SHORTEST_KEY:
            raise ConfigError(
                f"{used_for}: the key in {place} has {len(key)} characters; at least {SHORTEST_KEY} are needed: {_MAKE_ONE}"
            )
        return Key(key.encode())


class Pseudonyms(KeySource):
    """What stands for user ids in all that is stored. `replaces`: fingerprints of keys that were used before this one."""

    replaces: tuple[str, ...] = ()


class Retention(_Frozen):
    """How long rows of single users stay after an experiment's last useful day."""

    user_level_days: UserLevelDays


def _content(file: Path, used_for: str) -> str:
    try:
        mode = file.stat().st_mode
        content = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(
            f"{used_for}.key_file: {file} cannot be read ({reason}): put the key there"
        ) from error
    if mode & 0o007:
        raise ConfigError(
            f"{used_for}.key_file: {file} is open to every user of this machine: chmod 600 {file}"
        )
    return content


def made_key(file: Path) -> None:
    """Make a key in a file of mode 600, unless there is one; of two that make it at once one wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(unfinished(f".{file.name}"))
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(partial, file)  # fails where it is there already
        except FileExistsError:
            return
    finally:
        partial.unlink(missing_ok=True)
