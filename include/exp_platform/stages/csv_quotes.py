"""Quotes in CSV: followed through a file, so that none swallows rows, and rewritten where they stand behind backslashes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from exp_platform.stages.unreadable import UnreadableError

_LONGEST = 8 << 20  # bytes of a value with quotes around it
_ORDINARY = np.ones(256, dtype=bool)  # bytes that may not stand beside a quote that opens or closes a value
_ORDINARY[[ord('"'), ord("\r"), ord("\n")]] = False
_BACKSLASH_QUOTED = re.compile(rb'(?s)"[^"\\]*(?:\\.[^"\\]*)*"')


class Quotes:
    """Follows the quotes of a file with doubled quotes, and raises where one does not open or close a whole value."""

    def __init__(self, delimiter: str) -> None:
        self._ordinary = _ORDINARY.copy()
        self._ordinary[ord(delimiter)] = False
        self._inside = False
        self._line = 1
        self._opened = 0  # the line of the quote that is open
        self._before = b"\n"  # the byte before what comes next
        self._held = b""  # quotes at the end of a chunk, of which the next byte is not known

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        chunk = self._held + chunk
        body = chunk.rstrip(b'"')
        self._held = chunk[len(body) :]
        if not body:
            return
        chunk = body
        self._check(chunk, self._held[:1] or b"x")  # it ends in no quote, so what comes after does not matter
        self._line += chunk.count(b"\n")
        self._before = chunk[-1:]

    def end(self) -> None:
        """Nothing comes any more."""
        if self._held:
            held, self._held = self._held, b""
            self._check(held, b"\n")
        if self._inside:
            raise UnreadableError(
                f"line {self._opened} opens a quote that is never closed, and the rest of the file would be one value: "
                "mend that line, or write the file again"
            )

    def _check(self, chunk: bytes, after: bytes) -> None:
        padded = np.frombuffer(self._before + chunk + after, dtype=np.uint8)
        at = np.flatnonzero(padded[1:-1] == ord('"'))
        if not len(at):
            return
        opens = np.arange(len(at)) % 2 == int(self._inside)  # as long as every quote opens or closes
        beside = np.where(opens, padded[at], padded[at + 2])
        if not self._ordinary[beside].any():
            if opens[-1]:
                self._opened = self._line + chunk[: at[-1]].count(b"\n")
            self._inside = bool(opens[-1])
            return
        self._one_by_one(chunk, padded, at)

    def _one_by_one(self, chunk: bytes, padded: Any, at: Any) -> None:
        """For a chunk with quotes that stand within values without quotes around them, which mean themselves."""
        skip = -1
        for position in at.tolist():
            if position == skip:
                continue
            before, after = padded[position], padded[position + 2]
            if not self._inside:
                if not self._ordinary[before] and before != ord('"'):
                    self._inside = True
                    self._opened = self._line + chunk[:position].count(b"\n")
            elif after == ord('"'):
                skip = position + 1
            elif self._ordinary[after]:
                raise UnreadableError(self._stray(chunk, position))
            else:
                self._inside = False

    def _stray(self, chunk: bytes, position: int) -> str:
        line = self._line + chunk[:position].count(b"\n")
        shown = " ".join(chunk[max(position - 20, 0) : position + 20].decode("utf-8", "replace").split())
        if chunk[:position].endswith(b"\\"):
            return (
                f"line {line} has quotes behind backslashes within a value ({shown}), as Spark writes CSV: say "
                '`escape: backslash`, or write it with doubled quotes (Spark: option("escape", "\\""))'
            )
        return (
            f"line {line} goes on behind the quote that ends a value ({shown}): within a value quotes are doubled; mend "
            "that line, or write the file again"
        )


class Unescaper:
    r"""Rewrites quoted values whose quotes stand behind backslashes (`\"`) to doubled quotes (`""`)."""

    def __init__(self) -> None:
        self._open = b""  # a value whose closing quote is still to come

    def feed(self, chunk: bytes) -> bytes:
        """What is complete of all that came so far."""
        chunk = self._open + chunk
        last = 0
        given = []
        for match in _BACKSLASH_QUOTED.finditer(chunk):
            given += [chunk[last : match.start()], _doubled(match[0])]
            last = match.end()
        start = chunk.find(b'"', last)
        self._open = chunk[start:] if start >= 0 else b""
        if len(self._open) > _LONGEST:
            self.end()
        return b"".join([*given, chunk[last : start if start >= 0 else len(chunk)]])

    def end(self) -> None:
        """Nothing comes any more."""
        if self._open:
            shown = self._open[:40].decode("utf-8", "replace")
            raise UnreadableError(
                f"a quote is never closed ({shown}): mend that line, or write the file with doubled quotes"
            )


def _doubled(value: bytes) -> bytes:
    if b"\\\\" not in value:  # else a backslash may stand for itself before a quote
        return value.replace(b'\\"', b'""')
    inner = re.sub(rb'\\(["\\])', lambda m: b'""' if m[1] == b'"' else m[1], value[1:-1])
    return b'"' + inner + b'"'
