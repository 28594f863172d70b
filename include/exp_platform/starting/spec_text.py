"""A draft as the text of a spec: what was chosen, with the reason beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from exp_platform.config.environment import config_dir
from exp_platform.escaping import line as one_line
from exp_platform.starting.draft import Draft, Line

_WIDTH = 10_000  # a line per item, however long


def spec_text(draft: Draft, owner: str, locations: str) -> str:
    """The spec, commented; it says what it was made of and not when, so that the same data give the same file."""
    return "\n".join([*_schema("spec"), *_lines(draft, owner, locations)]) + "\n"


def _schema(kind: str) -> list[str]:
    """The line by which editors find the schema, where `exp schema` has written it."""
    name = f"schemas/{kind}.schema.json"
    there = (config_dir() / name).is_file()
    return [f"# yaml-language-server: $schema=../{name}"] if there else []


def source_text(source_id: str, owner: str, tables: dict[str, Any], locations: str) -> str:
    """A file of the library: where an exposure log and its facts lie, and what their columns are."""
    lines = (
        *_schema("source"),
        f"# Written by `exp init` from {one_line(locations)}: tables that experiments share, and their columns by our names.",
        f"id: {_flow(source_id)}",
        f"owner: {_flow(owner)}  # who answers for it",
        "",
        _block(tables),
    )
    return "\n".join(lines) + "\n"


def _lines(draft: Draft, owner: str, locations: str) -> Iterator[str]:
    yield f"# Written by `exp init` from {one_line(locations)}. What was guessed says so beside it: read it, and correct it."
    yield f"id: {_flow(draft.id)}"
    yield f"owner: {_flow(owner)}  # who answers for it"
    yield f"hypothesis: {_flow(draft.hypothesis)}  # say what you expect, and why"
    yield ""
    yield f"variants:  # {one_line(draft.of_arms)}"
    yield from map(_item, draft.arms)
    yield ""
    yield _commented(f"window: {_flow(draft.window.content)}", draft.window.why)
    yield ""
    if "use" in draft.source:
        yield f"source: {_flow(draft.source)}  # ../sources/{draft.source['use']}.yaml"
    else:
        yield _block({"source": draft.source})
    yield ""
    yield "metrics:"
    yield from map(_item, draft.metrics)
    if draft.unclear:
        names = ", ".join(map(one_line, draft.unclear))
        yield f"# Not taken: {names}. An outcome belongs under metrics; what was known before exposure may be a"
        yield "# segment (few values) or a covariate (a number); what is neither, nowhere."
    if draft.segments:
        yield ""
        yield _commented(f"segments: {_flow(list(draft.segments))}", draft.of_segments)
    for key, said in draft.settings:
        yield ""
        yield _commented(f"{key}: {_flow(said.content)}", said.why)


def _item(item: Line) -> str:
    return _commented(f"  - {_flow(item.content)}", item.why)


def _commented(text: str, why: str) -> str:
    return f"{text}  # {one_line(why)}" if why else text


def _flow(content: Any) -> str:
    """A value in one line of YAML."""
    dumped = yaml.safe_dump(
        content, default_flow_style=True, sort_keys=False, width=_WIDTH, allow_unicode=True
    )
    return re.sub(r"\n\.\.\.\n$", "", dumped).strip()


def _block(content: Any) -> str:
    """A mapping, the innermost ones in a line each."""
    dumped: str = yaml.safe_dump(
        content, default_flow_style=None, sort_keys=False, width=_WIDTH, allow_unicode=True
    )
    return dumped.rstrip()
