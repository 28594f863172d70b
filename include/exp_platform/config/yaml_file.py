"""YAML as the platform reads it: the C loader, duplicate keys noticed, and the line of any key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

Key = tuple[str | int, ...]

# The C loader is eight times as fast; PyYAML without libyaml still works.
_BASE: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_MOST_VALUES = 100_000  # of a file; a few nested aliases stand for more than a memory holds


class _Loader(_BASE):  # type: ignore[valid-type,misc]
    """Keeps a date that no calendar has (2026-02-30) as text, for the spec to refuse with its key."""

    def construct_date(self, node: yaml.ScalarNode) -> Any:
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError:
            return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_date)


class Document:
    """One parsed YAML document: `data` as Python values, `duplicates` as the keys a mapping holds twice."""

    def __init__(self, text: bytes) -> None:
        """Raises yaml.YAMLError; duplicate keys are told, not raised, so that further checks go on."""
        loader = _Loader(text)
        try:
            self._root = loader.get_single_node()
            if _size(self._root, {}) > _MOST_VALUES:
                raise yaml.YAMLError(f"its aliases stand for more than {_MOST_VALUES:,} values")
            self.data: Any = None if self._root is None else loader.construct_document(self._root)
        finally:
            loader.dispose()
        self.duplicates: tuple[Key, ...] = tuple(_duplicates(self._root, (), set()))

    def line(self, key: Key) -> int | None:
        """The line (from 1) of `key`, or of the nearest thing around it that the file holds."""
        node, line = self._root, None
        for part in key:
            child = _child(node, part)
            if child is None:
                break
            line, node = child
        return line


def _size(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many values a node stands for, aliases written out; one that holds itself counts once."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0
        pairs = isinstance(node, yaml.MappingNode)
        inner = [part for pair in node.value for part in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_size(part, known) for part in inner)
    return known[id(node)]


def _duplicates(node: yaml.Node | None, key: Key, seen: set[int]) -> Iterator[Key]:
    if node is None or id(node) in seen:  # an alias: its anchor has been searched
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode):
                if name.value in names:
                    yield (*key, name.value)
                names.add(name.value)
                yield from _duplicates(value, (*key, name.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _duplicates(item, (*key, position), seen)


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    """Line and value of a key or position; of a key that stands there twice, the second."""
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    return None
