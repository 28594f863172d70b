"""YAML as the platform reads it: bounded, without the traps of YAML 1.1, duplicate keys noticed, the line of any key.

A file is read event by event (nothing recursive), and ends at the first limit that it breaks. What is wrong with single
values is told of their keys, so that it costs one experiment of a file and not all. Tags are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from exp_platform.config.yaml_traps import Trap, key_trap, scalar_trap, tag_trap, value_of

Key = tuple[str | int, ...]

# The limits of a file of specs (docs/02_spec.md). Each is many times what people write.
LARGEST_FILE = 4 << 20  # bytes
DEEPEST = 20  # lists and mappings within each other, aliases written out
MOST_VALUES = 50_000  # keys and values of a file, aliases written out
MOST_KEYS = 5_000  # of one mapping
MOST_ITEMS = 1_000  # of one list
MOST_DIRECTIVES = 10  # lines such as %YAML 1.1: libyaml compares each with all before it

# The C parser is eight times as fast; PyYAML without libyaml still works.
_PARSER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAP, _LIST, _TEXT = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


class RefusedError(yaml.MarkedYAMLError):
    """A file that breaks a limit is not read on; `found` says which, `allowed` the limit and the remedy."""

    def __init__(self, found: str, allowed: str, mark: Any = None) -> None:
        super().__init__(problem=f"{found}; {allowed}", problem_mark=mark)
        self.found, self.allowed = found, allowed


class Flaw(NamedTuple):
    """A value or key that is refused for how it is written: where, what stands there, and the remedy."""

    key: Key
    found: str
    allowed: str


def read_bounded(path: Path) -> bytes:
    """The bytes of a file, and no more than it takes to see that it is too large. Raises OSError.

    What is no file is not opened: a pipe would be waited for.
    """
    if path.exists() and not path.is_file():
        raise OSError("a folder" if path.is_dir() else "a pipe or a device")
    with path.open("rb") as file:
        return file.read(LARGEST_FILE + 1)


class Document:
    """One YAML document: `data` as Python values, and `flaws`, keys that a mapping holds twice among them.

    In `data` a value with a flaw is the text that stands in the file.
    """

    def __init__(self, text: bytes) -> None:
        """Raises yaml.YAMLError; flaws are told, not raised, so that further checks go on."""
        if len(text) > LARGEST_FILE:
            allowed = f"allowed: {LARGEST_FILE >> 20} MB; one file per experiment keeps each small"
            raise RefusedError(f"a file of more than {LARGEST_FILE >> 20} MB", allowed)
        if text.count(b"\n%") + text.startswith(b"%") > MOST_DIRECTIVES:
            raise RefusedError(f"more than {MOST_DIRECTIVES} lines that begin with %", "a spec needs none")
        composer = _Composer()
        self._root = composer.compose(yaml.parse(text, Loader=_PARSER))
        self._traps = composer.traps
        self._children: dict[int, dict[str | int, tuple[int, yaml.Node]]] = {}
        self._values: dict[int, Any] = {}
        self.data: Any = None if self._root is None else self._value(self._root)
        found = () if self._root is None else self._walk(self._root, ())
        self.flaws: tuple[Flaw, ...] = tuple(dict.fromkeys(found))
        self._flaws_within: dict[int, dict[tuple[str, ...], list[Flaw]]] = {}

    def flaws_within(self, key: Key) -> list[Flaw]:
        """The flaws of a place and of all that lies in it."""
        if len(key) not in self._flaws_within:
            known = self._flaws_within[len(key)] = {}
            for flaw in self.flaws:
                known.setdefault(tuple(map(str, flaw.key[: len(key)])), []).append(flaw)
        return self._flaws_within[len(key)].get(tuple(map(str, key)), [])

    def line(self, key: Key) -> int | None:
        """The line (from 1) of `key`, or of the nearest thing around it that the file holds."""
        node, line = self._root, None
        for part in key:
            child = None if node is None else self._child(node, part)
            if child is None:
                break
            line, node = child
        return line

    def _child(self, node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
        """Line and value of a key or position; of a key that stands there twice, the second."""
        if id(node) not in self._children:
            known: dict[str | int, tuple[int, yaml.Node]] = {}
            if isinstance(node, yaml.MappingNode):
                known = {
                    name.value: (name.start_mark.line + 1, value)
                    for name, value in node.value
                    if isinstance(name, yaml.ScalarNode)
                }
            elif isinstance(node, yaml.SequenceNode):
                known = {n: (item.start_mark.line + 1, item) for n, item in enumerate(node.value)}
            self._children[id(node)] = known
        return self._children[id(node)].get(str(part) if isinstance(node, yaml.MappingNode) else part)

    def _value(self, node: yaml.Node) -> Any:
        """A node as a Python value. An alias gives the very same value; no deeper than DEEPEST."""
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.tag == _TEXT or id(node) in self._traps else value_of(node)
        if id(node) not in self._values:
            self._values[id(node)] = (
                self._mapping(node)
                if isinstance(node, yaml.MappingNode)
                else [self._value(item) for item in node.value]
            )
        return self._values[id(node)]

    def _mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        """Its own keys, and before them those of the mappings that `<<` names, of which the first counts."""
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        for name, value in node.value:
            if id(name) in self._traps and not isinstance(name, yaml.ScalarNode):
                continue
            if name.tag != _MERGE:
                own[self._value(name)] = self._value(value)
            elif id(value) not in self._traps:
                found = self._value(value)
                for inner in found if isinstance(found, list) else [found]:
                    for inner_name, inner_value in inner.items():
                        merged.setdefault(inner_name, inner_value)
        return {**merged, **own}

    def _walk(self, node: yaml.Node, key: Key) -> Iterator[Flaw]:
        """Every flaw, at each place where an alias stands."""
        if trap := self._traps.get(id(node)):
            yield Flaw(key, *trap)
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for name, value in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    yield Flaw(key, *self._traps[id(name)])
                    continue
                inner = (*key, name.value)
                if name.value in names:
                    yield Flaw(inner, "this key twice", "a key may stand once: the second would silently win")
                names.add(name.value)
                if trap := self._traps.get(id(name)):
                    yield Flaw(inner, *trap)
                yield from self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                yield from self._walk(item, (*key, position))


class _Open(NamedTuple):
    """A list or mapping whose end has not come; `parts` are its items, or its keys and values in turn."""

    event: yaml.CollectionStartEvent
    parts: list[yaml.Node]
    heights: list[int]  # of the parts
    values_before: int


class _Anchored(NamedTuple):
    """What an alias stands for."""

    node: yaml.Node
    values: int
    height: int


class _Composer:
    """Nodes from events, within the limits; `traps` by a node's `id` are the values and keys that are refused."""

    def __init__(self) -> None:
        self.traps: dict[int, Trap] = {}
        self._resolver = yaml.resolver.Resolver()
        self._anchored: dict[str, _Anchored] = {}
        self._open: list[_Open] = []
        self._values = 0
        self._root: yaml.Node | None = None

    def compose(self, events: Iterable[yaml.Event]) -> yaml.Node | None:
        """The root, or None of an empty file. Raises yaml.YAMLError."""
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._count(1, event)
                self._add(self._scalar(event), event.anchor, 0, self._values - 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._count(1, event)
                self._deep(1, event)
                self._open.append(_Open(event, [], [], self._values - 1))
            elif isinstance(event, yaml.CollectionEndEvent):
                closed = self._open.pop()
                height = 1 + max(closed.heights, default=0)
                self._add(self._collection(closed), closed.event.anchor, height, closed.values_before)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent) and self._root is not None:
                raise RefusedError("a second document", "one file is one: leave out `---`", event.start_mark)
        return self._root

    def _alias(self, event: yaml.AliasEvent) -> None:
        known = self._anchored.get(str(event.anchor))
        if known is not None:
            self._count(known.values, event)
            self._deep(known.height, event)
            self._add(known.node, None, known.height, self._values)
            return
        node = yaml.ScalarNode(_TEXT, "", *_marks(event))
        holds_itself = any(open.event.anchor == event.anchor for open in self._open)
        found = f"*{event.anchor}"
        why = (
            "an alias cannot stand within what it stands for"
            if holds_itself
            else "it names no anchor before it"
        )
        self.traps[id(node)] = Trap(found, f"{why}: write the value out, or quote it if it is text")
        self._count(1, event)
        self._add(node, None, 0, self._values - 1)

    def _add(self, node: yaml.Node, anchor: str | None, height: int, values_before: int) -> None:
        if anchor is not None:
            self._anchored[anchor] = _Anchored(node, self._values - values_before, height)
        if not self._open:
            self._root = node
            return
        around = self._open[-1]
        around.parts.append(node)
        around.heights.append(height)
        pairs = isinstance(around.event, yaml.MappingStartEvent)
        if len(around.parts) > (2 * MOST_KEYS if pairs else MOST_ITEMS):
            most, what = (MOST_KEYS, "keys in one mapping") if pairs else (MOST_ITEMS, "items in one list")
            raise RefusedError(f"more than {most:,} {what}", f"allowed: {most:,}", node.start_mark)

    def _count(self, values: int, event: yaml.Event) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            found = f"more than {MOST_VALUES:,} keys and values, aliases written out"
            raise RefusedError(found, f"allowed: {MOST_VALUES:,}", event.start_mark)

    def _deep(self, levels: int, event: yaml.Event) -> None:
        if len(self._open) + levels > DEEPEST:
            found = f"lists and mappings more than {DEEPEST} deep within each other"
            raise RefusedError(found, f"allowed: {DEEPEST} levels", event.start_mark)

    def _scalar(self, event: yaml.ScalarEvent) -> yaml.ScalarNode:
        if event.tag is None or event.tag == "!":
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
            node = yaml.ScalarNode(tag, event.value, *_marks(event))
            trap = scalar_trap(node)
        else:
            node = yaml.ScalarNode(event.tag, event.value, *_marks(event))
            trap = tag_trap(event.tag, scalar=True)
        if trap:
            self.traps[id(node)] = trap
        return node

    def _collection(self, closed: _Open) -> yaml.CollectionNode:
        event, parts = closed.event, closed.parts
        node: yaml.CollectionNode = yaml.SequenceNode(_LIST, parts, *_marks(event))
        if isinstance(event, yaml.MappingStartEvent):
            node = yaml.MappingNode(_MAP, list(zip(parts[::2], parts[1::2], strict=True)), *_marks(event))
            for name, value in node.value:
                self._check_pair(name, value)
        else:
            self._check_values(parts)
        if event.tag not in (None, "!", node.tag) and (trap := tag_trap(event.tag, scalar=False)):
            self.traps[id(node)] = trap
        return node

    def _check_pair(self, name: yaml.Node, value: yaml.Node) -> None:
        """Keys must be text; `<<` is a key that takes the keys of other mappings."""
        if trap := key_trap(name):
            self.traps.setdefault(id(name), trap)
        if name.tag != _MERGE or id(name) in self.traps:
            self._check_values([value])
        elif not _is_merged(value):
            self.traps.setdefault(
                id(value), Trap("no mapping", "<< takes the keys of a mapping, or of a list of mappings")
            )

    def _check_values(self, values: list[yaml.Node]) -> None:
        """`<<` is a key of YAML's own, and no value."""
        for node in values:
            if isinstance(node, yaml.ScalarNode) and node.tag == _MERGE:
                self.traps[id(node)] = Trap(node.value, "YAML gives it a meaning of its own: quote it")


def _marks(event: yaml.Event) -> tuple[Any, Any]:
    """Where it begins and ends; the marks of the C parser are of a class of its own."""
    return event.start_mark, event.end_mark


def _is_merged(node: yaml.Node) -> bool:
    inner = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return all(isinstance(part, yaml.MappingNode) for part in inner)
