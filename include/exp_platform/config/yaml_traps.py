"""What YAML 1.1 reads otherwise than people mean it: each is refused by name, with what to write instead.

https://yaml.org/type/ gives the types of YAML 1.1, which PyYAML reads.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

MOST_DIGITS = 100  # of a number; Python itself reads 4,300 of a whole one

_TYPES = "tag:yaml.org,2002:"
_NUMBERS = (f"{_TYPES}int", f"{_TYPES}float")
_MERGE = f"{_TYPES}merge"
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_BINARY = re.compile(r"[-+]?0b[01]+")
_READERS = yaml.SafeLoader.yaml_constructors
_SAFE = yaml.constructor.SafeConstructor()

# What PyYAML says of a text that is not YAML -> the remedy. The first that fits counts.
_SYNTAX = (
    ("cannot start any token", "quote what begins with @, % or a backquote; indent by spaces, not by tabs"),
    ("mapping values are not allowed", "quote a text that holds a colon and a space; write a space after -"),
    ("unexpected end of stream", "a quote is never closed"),
    ("expected ',' or", "a bracket or brace is never closed"),
    ("expected node content", "a bracket or brace is never closed"),
    ("unknown escape", "within double quotes a backslash begins an escape: take single quotes"),
    ("expected hexdecimal", "within double quotes a backslash begins an escape: take single quotes"),
    ("expected '-' indicator", "indent what belongs together alike"),
    ("expected key", "indent what belongs together alike; nothing may follow a closing quote"),
    ("expected <document start>", "a bracket or brace is closed that was never opened"),
    ("alphabetic or numeric", "quote a value that begins with * or &"),
    ("tag URI", "quote a value that begins with !"),
    ("tab character", "indent by spaces"),
    ("expected ':'", "every line is `key: value`"),
    ("entries are not allowed", "a list begins on a line of its own, with a - before each item"),
    ("tag handle", "quote a value that begins with !"),
    ("unacceptable character", "leave it out, and write the file as UTF-8"),
    ("UTF-", "write the file as UTF-8"),
)


class Trap(NamedTuple):
    """What stands there, and the remedy."""

    found: str
    allowed: str


def value_of(node: yaml.ScalarNode) -> Any:
    """A scalar as a Python value; a date that no calendar has (2026-02-30) stays text, for the spec to refuse."""
    try:
        return _READERS[node.tag](_SAFE, node) if node.tag in _READERS else node.value
    except (ValueError, OverflowError):
        return node.value


def scalar_trap(node: yaml.ScalarNode) -> Trap | None:
    """What is wrong with a value that is written plainly: a number that is read as another, or a sign of YAML's."""
    if node.tag == f"{_TYPES}value":
        return Trap(node.value, "YAML gives it a meaning of its own: quote it")
    if node.tag not in _NUMBERS:
        return None
    written = node.value
    if len(written) > MOST_DIGITS:
        return Trap(written, f"allowed: at most {MOST_DIGITS} digits and signs; quote it if it is text")
    if "_" in written:
        plain = written.replace("_", "")
        return Trap(
            written, f"YAML 1.1 leaves out the _ of numbers: write {plain}, or quote it if it is text"
        )
    if ":" in written:
        return Trap(
            written,
            f"YAML 1.1 reads it as {value_of(node)}, in base 60: write that, or quote it if it is text",
        )
    if _OCTAL.fullmatch(written):
        decimal = int(written, 10)
        remedy = (
            f"write {decimal}, or {value_of(node)} if that is meant" if decimal > 7 else f"write {decimal}"
        )
        return Trap(
            written,
            f"YAML 1.1 reads it as {value_of(node)}, in base 8: {remedy}, or quote it if it is text",
        )
    if _BINARY.fullmatch(written):
        return Trap(
            written,
            f"YAML 1.1 reads it as {value_of(node)}, in base 2: write that, or quote it if it is text",
        )
    return None


def key_trap(node: yaml.Node) -> Trap | None:
    """Why a node is no key: keys are text. A whole number is left to what knows which keys there are."""
    if not isinstance(node, yaml.ScalarNode):
        what = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        return Trap(f"{what} as a key", "keys are text: quote what holds { } or [ ]")
    if node.tag in (f"{_TYPES}str", f"{_TYPES}int", _MERGE):
        return None
    kind = node.tag.removeprefix(_TYPES)
    read = {"bool": "true or false", "null": "no value", "timestamp": "a day or time", "float": "a number"}
    return Trap(node.value or "an empty key", f"YAML reads this key as {read.get(kind, kind)}: quote it")


def tag_trap(tag: str, *, scalar: bool) -> Trap | None:
    """Tags convert, construct or name what a spec has not; `!!str` is quoting by another name."""
    if scalar and tag == f"{_TYPES}str":
        return None
    shown = f"!!{tag.removeprefix(_TYPES)}" if tag.startswith(_TYPES) else tag
    return Trap(f"the tag {shown}", "tags are not read: leave it out, or quote the whole if it is text")


def syntax_remedy(problem: str) -> str:
    """What PyYAML says is wrong with a text, and what to do about it."""
    remedy = next((remedy for words, remedy in _SYNTAX if words in problem), "see the line before it too")
    return f"{problem}: {remedy}"
