r"""What people and data have written, made safe for where it is shown: one function for each kind of output.

| goes to | by | and there |
|---|---|---|
| an error message, a log line | `visible` | whatever cannot be seen is written out (`\x1b`), line breaks stay |
| a terminal, a page or picture of plain text | `terminal`; of one line `line` | the same, but writing systems and emoji stay |
| Markdown: memo, DAG page | `markdown`, `code`, `paragraphs` | it reads as it was written: nothing in it is markup, HTML or a link |
| HTML: the report | `line`, then Jinja's autoescape | the same |

JSON escapes by itself, and charts take `line`. Nothing is dropped or replaced by a mark: two values that differ look different.
"""

from __future__ import annotations

import re

_BREAKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# Orders to a terminal; what is not seen, or turns the direction of writing; half of a pair of UTF-16; no characters.
_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
# Joiners belong to the writing of emoji, Persian and Indian languages; between Latin letters they only hide.
_JOINER = re.compile(r"(?<=[^\x00-\x7f\u200c\u200d])[\u200c\u200d](?=[^\x00-\x7f\u200c\u200d])")

# What readers of Markdown make links of by themselves, however it is escaped: addresses of pages and people, names with dots.
_WORD = re.compile(r"[^\s`|\\<>()\[\]{}\"',;*]+")
_ADDRESS = re.compile(r"://|www\.|\w@\w|\w\.[^\W\d_]{2}", re.IGNORECASE)
_NO_CODE = re.compile(r"[`|\\]|^\s|\s$|^$")
# `_` between letters is none; what `[` opens, `](` closes
_MARKS = re.compile(r"[\\`*|]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")
_BLOCK = re.compile(r"[#>[]|[+-](?=\s|$)|-(?=[-\s]*$)|=(?=[=\s]*$)")  # at the start of a line
_NUMBERED = re.compile(r"(\d{1,9})([.)])(?=\s|$)")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_TAG = re.compile(r"<(?=[A-Za-z/!?]|$)")


class Markdown(str):
    """Text that is Markdown already, of our own making or escaped, and is to be shown as it is."""

    __slots__ = ()


def visible(text: str) -> str:
    r"""The text with every character that is not seen as itself written out (`\x1b`, `\xa0`); line breaks stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _written_out(c) for c in text)


def line(text: str) -> str:
    """The text in one line, and nothing in it that a terminal obeys, or that hides or turns what stands beside it."""
    text = _BREAKS.sub(" ", text)
    if text.isprintable():
        return text
    joiners = {found.start() for found in _JOINER.finditer(text)}
    return _HIDDEN.sub(lambda found: found[0] if found.start() in joiners else _written_out(found[0]), text)


def terminal(text: str) -> str:
    """The same of a text of several lines, which stay."""
    return "\n".join(map(line, text.split("\n")))


def markdown(text: str) -> Markdown:
    """The text for a piece of a line of Markdown, such as a cell: it reads as it was written.

    Escaped for CommonMark, GitHub's dialect and Python-Markdown. Addresses and names with dots are set as code.
    """
    if isinstance(text, Markdown):
        return text
    whole = line(text)
    shown = whole.strip()
    made, position = [" " * whole[:1].isspace()], 0
    for word in _WORD.finditer(shown):
        if _ADDRESS.search(word[0]):
            end = word.start() + len(word[0].rstrip(".:!?"))
            made += [
                _marks(shown[position : word.start()], start=position == 0),
                f"`{shown[word.start() : end]}`",
            ]
            position = end
    made.append(_marks(shown[position:], start=position == 0))
    return Markdown("".join(made) + " " * (shown != "" and whole[-1].isspace()))


def code(text: str) -> Markdown:
    """The text for a piece of a line of Markdown, as code where it can be."""
    shown = line(text)
    return markdown(shown) if _NO_CODE.search(shown) else Markdown(f"`{shown}`")


def paragraphs(text: str) -> Markdown:
    """The text for a place of its own in Markdown, its lines and empty lines as they were written."""
    lines = [markdown(one.strip()) for one in text.strip().splitlines()]
    below = iter([*lines[1:], ""])
    return Markdown("\n".join(f"{here}  " if next(below) and here else here for here in lines))


def _marks(text: str, *, start: bool) -> str:
    """A text without addresses; `start`: it may begin a line, where more is a mark than elsewhere."""
    text = _ENTITY.sub("&amp;", _MARKS.sub(lambda found: "\\" + found[0], text))
    text = _TAG.sub("&lt;", text).replace("~", "&#126;")
    if start and _BLOCK.match(text):
        return f"&#{ord(text[0])};{text[1:]}"
    if start and (found := _NUMBERED.match(text)):
        return f"{found[1]}\\{text[found.start(2) :]}"
    return text


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()
