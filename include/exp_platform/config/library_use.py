"""What a spec uses of the library put into its content, before it is checked as if it had been written there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from exp_platform.config.faults import (
    UNKNOWN_KEY,
    Fault,
    Key,
    Words,
    faults_of,
    render_found,
    render_key,
    suggest,
)
from exp_platform.config.library import METRICS, SOURCES, Definition, Definitions, Library
from exp_platform.config.spec_library import UsedGroup, UsedMetric, UsedSource
from exp_platform.config.spec_metrics import MetricSpec
from exp_platform.config.spec_sources import EventsSpec

_ABOUT_A_SOURCE = {"id", "owner", "description"}
_TABLES = ("exposures", "outcomes", "identities")


class Origin(NamedTuple):
    """Where a part of the content stands in the spec and, of one that is used, by which key, whose it is, and what the spec says itself."""

    written: Key
    use: Key = ()
    definition: Definition | None = None
    own: frozenset[str] = frozenset()

    def placed(self, rest: Key, fault: Fault) -> Fault:
        """A fault at `rest` below the part, told where a person can mend it."""
        if self.definition is None or (rest[:1] and rest[0] in self.own):
            return Fault((*self.written, *rest), fault.found, fault.allowed)
        whose = f", whose {render_key(rest)} is {render_found(fault.found)}" if rest else ""
        found = Words(f"{self.definition.id!r}{whose}")
        return Fault(self.use, found, f"{fault.allowed} (defined in {self.definition.place})")


@dataclass(frozen=True)
class Substituted:
    """A spec's content with all that it uses; `faults` are of the using itself, and what has one is left out."""

    content: Any
    origins: Mapping[Key, Origin] = field(default_factory=dict)  # of places in the content
    faults: tuple[Fault, ...] = ()

    def placed(self, fault: Fault) -> Fault:
        """A fault of the content, at its place in the spec."""
        for length in (1, 2):
            if (origin := self.origins.get(fault.key[:length])) is not None:
                return origin.placed(fault.key[length:], fault)
        return fault

    @property
    def shared(self) -> dict[str, str]:
        """Metric -> the file of the library that defines it."""
        used = (o.definition for key, o in self.origins.items() if key[0] == "metrics")
        return {d.id: d.file.name for d in used if d is not None}

    @property
    def source_file(self) -> str:
        """The file of the library that holds the source; empty: the spec's own."""
        used = self.origins.get(("source",))
        return used.definition.file.name if used and used.definition else ""


def substituted(content: Any, spec_folder: Path, library: Callable[[], Library]) -> Substituted:
    """The content of a spec that lies in `spec_folder`; the library is asked for only where the spec uses it."""
    if not isinstance(content, dict) or not (_uses_source(content) or any(map(_is_use, _metrics(content)))):
        return Substituted(content)
    use = _Use(content, spec_folder, library())
    return Substituted(use.content, use.origins, tuple(use.faults))


def _uses_source(content: dict[Any, Any]) -> bool:
    source = content.get("source")
    return isinstance(source, dict) and "use" in source


def _metrics(content: dict[Any, Any]) -> list[Any]:
    metrics = content.get("metrics")
    return metrics if isinstance(metrics, list) else []


def _is_use(metric: Any) -> bool:
    return isinstance(metric, str) or (isinstance(metric, dict) and ("use" in metric or "group" in metric))


class _Use:
    """The content of one spec on its way."""

    def __init__(self, content: dict[Any, Any], spec_folder: Path, library: Library) -> None:
        self.content = dict(content)
        self.origins: dict[Key, Origin] = {}
        self.faults: list[Fault] = []
        if _uses_source(content):
            self._source(spec_folder, library)
        if any(map(_is_use, _metrics(content))):
            metrics = _UsedMetrics(content, library)
            self.content |= metrics.content
            self.origins |= metrics.origins
            self.faults += metrics.faults

    def _source(self, spec_folder: Path, library: Library) -> None:
        at: Key = ("source",)
        written = self.content.pop("source")
        used = _defined((*at, "use"), UsedSource, written, library.sources, SOURCES, self.faults)
        if used is None:
            return
        tables = {key: value for key, value in used.content.items() if key not in _ABOUT_A_SOURCE}
        start = os.path.relpath(used.file.path.parent.resolve(), spec_folder.resolve())
        for name in tables.keys() & _TABLES:
            tables[name] = _moved(tables[name], start)
        if "facts" in tables:
            tables["facts"] = {name: _moved(fact, start) for name, fact in tables["facts"].items()}
        names = set(_segment_names(self.content.get("segments")))
        shared = {name: column for name, column in tables.get("attributes", {}).items() if name in names}
        own = {key: value for key, value in written.items() if key != "use"}
        own["attributes"] = shared | own.get("attributes", {})
        self.content["source"] = {"kind": "events", **tables, **own}
        self.origins[at] = Origin(at, (*at, "use"), used, frozenset(own))


class _UsedMetrics:
    """The metrics and guardrails of one spec on their way."""

    def __init__(self, content: dict[Any, Any], library: Library) -> None:
        self.origins: dict[Key, Origin] = {}
        self.faults: list[Fault] = []
        self._library = library
        self._metrics: list[Any] = []
        guardrails = content.get("guardrails")
        self._guardrails: list[Any] = list(guardrails) if isinstance(guardrails, list) else []
        self._guarded = {
            g.get("metric") for g in self._guardrails if isinstance(g, dict) and _is_text(g, "metric")
        }
        self._grouped: set[str] = set()  # metrics that a group has brought
        self._margins: dict[
            str, tuple[str, Any]
        ] = {}  # metric -> the group that gave it one, and what it gave
        written = _metrics(content)
        own = {m["id"]: n for n, m in enumerate(written) if _is_text(m, "id") and not _is_use(m)}
        self._places = {
            id: f"metrics[{n}] of this spec has the same id: take one of both" for id, n in own.items()
        }
        # A group leaves alone what the spec names itself, wherever it does
        self._named = {
            m if isinstance(m, str) else m["use"] for m in written if isinstance(m, str) or _is_text(m, "use")
        }
        for position, metric in enumerate(written):
            self._add(("metrics", position), metric)
        self.content = {"metrics": self._metrics} | (
            {"guardrails": self._guardrails} if self._margins else {}
        )

    def _add(self, at: Key, metric: Any) -> None:
        if not _is_use(metric):
            self._put(Origin(at), metric)
        elif isinstance(metric, dict) and "group" in metric:
            self._group((*at, "group"), metric)
        else:
            use: Key = at if isinstance(metric, str) else (*at, "use")
            said = {"use": metric} if isinstance(metric, str) else metric
            used = _defined(use, UsedMetric, said, self._library.metrics, METRICS, self.faults)
            if used is not None and self._is_new(use, used.id):
                own = {key: value for key, value in said.items() if key != "use"}
                self._put(Origin(at, use, used, frozenset(own)), used.content | own)

    def _put(self, origin: Origin, metric: Any) -> None:
        self.origins["metrics", len(self._metrics)] = origin
        self._metrics.append(metric)

    def _is_new(self, use: Key, id: str) -> bool:
        """Whether nothing in the spec has the metric's id already."""
        if (taken := self._places.get(id)) is not None:
            self.faults.append(Fault(use, id, taken))
            return False
        self._places[id] = f"metrics[{use[1]}] uses it already: say all that differs in one place"
        return True

    def _group(self, use: Key, written: dict[Any, Any]) -> None:
        """The metrics of a group that the spec does not name itself, and all of its margins."""
        group = _defined(use, UsedGroup, written, self._library.groups, METRICS, self.faults)
        if group is None:
            return
        for said in group.content:
            member = {"metric": said} if isinstance(said, str) else said
            id = member["metric"]
            used = self._library.metrics[id]
            if used.fault is not None:
                self.faults.append(Fault(use, group.id, _broken(used)))
                continue
            if id not in self._named and id not in self._grouped:
                if not self._is_new(use, id):
                    continue
                self._grouped.add(id)
                role = {"role": "guardrail"} if "margin" in member else {}
                self._put(Origin(use, use, used), role | used.content)
            if "margin" in member:
                self._guard(use, group, member)

    def _guard(self, use: Key, group: Definition, member: dict[Any, Any]) -> None:
        id = member["metric"]
        known = id in self._margins
        before, given = self._margins.setdefault(id, (group.id, member))
        if given != member:
            remedy = f"the group {before} gives {id} another margin or severity: use one of both groups"
            self.faults.append(Fault(use, group.id, remedy))
        elif id in self._guarded:
            remedy = f"guardrails of this spec give {id} a margin too: leave that out, or name the group's metrics one by one"
            self.faults.append(Fault(use, group.id, remedy))
        elif not known:
            self.origins["guardrails", len(self._guardrails)] = Origin(use, use, group)
            self._guardrails.append(member)


def _defined(
    use: Key,
    model: type[BaseModel],
    written: dict[Any, Any],
    known: Definitions,
    folder: str,
    faults: list[Fault],
) -> Definition | None:
    """What a spec uses, where it can be used; else what is wrong is added to the faults."""
    key = "group" if model is UsedGroup else "use"
    id = written.get(key)
    found = known.get(id) if isinstance(id, str) else None
    try:
        model.model_validate(written)
    except ValidationError as error:
        at = use[:-1] if use[-1] == key else use
        faults += [_not_own(Fault((*at, *f.key), *f[1:]), found) for f in faults_of(error, model)]
        return None
    if found is None:
        remedy = f"no file of {folder}/ beside the specs defines it; {suggest(str(id), known)}"
        faults.append(Fault(use, id, remedy))
    elif found.fault is not None:
        faults.append(Fault(use, id, _broken(found)))
    else:
        return found
    return None


def _segment_names(segments: Any) -> Iterator[str]:
    for segment in segments if isinstance(segments, list) else ():
        name = segment.get("name") if isinstance(segment, dict) else segment
        if isinstance(name, str):
            yield name


def _is_text(mapping: Any, key: str) -> bool:
    return isinstance(mapping, dict) and isinstance(mapping.get(key), str)


def _not_own(fault: Fault, definition: Definition | None) -> Fault:
    """Of a key that is none of the experiment's, whose it is."""
    key = fault.key[-1]
    if fault.found is not UNKNOWN_KEY or key not in {*MetricSpec.model_fields, *EventsSpec.model_fields}:
        return fault
    where = f" ({definition.place})" if definition else ""
    remedy = f"{key} belongs to the definition{where}: change it there, or write one of the spec's own; {fault.allowed}"
    return Fault(fault.key, Words(f"{key}, which is shared"), remedy)


def _broken(definition: Definition) -> str:
    return f"its definition is broken: {definition.fault}"


def _moved(table: dict[str, Any], start: str) -> dict[str, Any]:
    """A table whose relative path starts at the spec's folder."""
    path = table.get("path")
    if path is None or "://" in path or path.startswith(("/", "~", "$")):
        return table
    return table | {"path": os.path.join(start, path)}
