"""Where a user's id stands in what was written for people: messages of checks, reasons, memos."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import escape

INSTEAD = "(forgotten)"
_SHOWN = 40  # characters of an id that a message shows
_DISTINCTIVE = 5  # characters from which on an id that is no mere number is found without quotes
_LONG_NUMBER = 9
_QUOTES = "['\"]|&#39;|&#34;"  # also as a page of HTML has them
_BEFORE, _AFTER = r"(?<![\w@/-])(?<!\w\.)", r"(?![\w@/-]|\.\w)"  # not in the middle of another id


class Texts:
    """What is to be taken out of stored texts: only sentences are changed, never a key, nor a name that equals an id."""

    def removed(self, text: str) -> str:
        """A sentence without it."""
        raise NotImplementedError

    def may_stand_in(self, column: Any) -> bool:
        """Whether any text of an Arrow column can hold it; quick, and right where it says no."""
        raise NotImplementedError

    def removed_from_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A table's row without it."""
        return {column: self._removed(column, value) for column, value in row.items()}

    def removed_from_json(self, text: str) -> str:
        """Stored JSON without it; as it was where nothing is to be changed."""
        found = json.loads(text)
        changed = self._walked(found)
        return json.dumps(changed, allow_nan=False) if changed != found else text

    def removed_from_segment(self, value: str) -> str:
        """The value of a segment without it."""
        return value

    def _removed(self, column: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if column == "segment_value":
            return self.removed_from_segment(value)
        if value[:1] in ("{", "["):
            try:
                return self.removed_from_json(value)
            except json.JSONDecodeError:
                pass
        return self._walked(value)

    def _walked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._walked(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._walked(inner) for inner in value]
        return self.removed(value) if isinstance(value, str) and " " in value.strip() else value


@dataclass(frozen=True)
class Mentions(Texts):
    """The ways in which messages write one user's ids (as they came, and as their pseudonym)."""

    forms: tuple[str, ...]

    def stand_in(self, text: str) -> bool:
        """Whether a text names the user."""
        return any(expression.search(text) for expression in self._expressions)

    def removed(self, text: str) -> str:
        """The text with something else in place of the id."""
        for expression in self._expressions:
            text = expression.sub(
                lambda found: f"{found[1]}{INSTEAD}{found[1]}" if found[1] else INSTEAD, text
            )
        return text

    def removed_from_segment(self, value: str) -> str:
        """The value, unless it is the id, as where a team took ids for an attribute."""
        return INSTEAD if value in self.forms and _is_distinctive(value) else value

    def may_stand_in(self, column: Any) -> bool:
        """Whether any text of an Arrow column can name the user; quick, and right where it says no."""
        return any(pc.any(pc.match_substring(column, written)).as_py() for written in _written(self.forms))

    @cached_property
    def _expressions(self) -> list[re.Pattern[str]]:
        written = sorted(_written(self.forms), key=len, reverse=True)
        quoted = "|".join(map(re.escape, written))
        made = [re.compile(rf"({_QUOTES})(?:{quoted})\1")]
        free = "|".join(re.escape(one) for one in written if _is_distinctive(one))
        return [*made, re.compile(rf"{_BEFORE}()(?:{free}){_AFTER}")] if free else made


def _is_distinctive(written: str) -> bool:
    return len(written) >= (_LONG_NUMBER if re.fullmatch(r"[\d.:\s-]*", written) else _DISTINCTIVE)


def _written(forms: Iterable[str]) -> set[str]:
    """An id as Python, JSON, HTML and Markdown write it, whole and cut."""
    plain = {cut for form in forms for cut in (form, form[:_SHOWN])}
    shown = plain | {repr(one)[1:-1] for one in plain}
    shown |= {json.dumps(one)[1:-1] for one in shown}
    shown |= {escaped for one in shown for escaped in (html.escape(one), str(escape(one)))}
    return shown | {re.sub(r"([\\`*_{}\[\]()#+.!|<>~-])", r"\\\1", one) for one in shown}


def texts_of(schema: pa.Schema) -> list[str]:
    """The columns of text."""
    return [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]


_QUOTED = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_ONE = rf"{_QUOTED}(?: is {_QUOTED} there)?"
_SUCH_AS = re.compile(rf" \(such as {_ONE}(?:, {_ONE})*\)")
_HAS_ROWS = re.compile(rf"{_QUOTED} has (?=[\d,]+ of [\d,]+ )")


class Samples(Texts):
    """Values and ids that messages of checks show as examples, whosever they are."""

    def removed(self, text: str) -> str:
        """The message without its examples."""
        return _HAS_ROWS.sub("one user has ", _SUCH_AS.sub("", text))

    def may_stand_in(self, column: Any) -> bool:
        """Whether any message may show one."""
        return any(pc.any(pc.match_substring(column, word)).as_py() for word in (" (such as ", " has "))
