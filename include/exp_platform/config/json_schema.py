"""JSON Schemas (draft 2020-12) of the files that people write, by which editors complete, explain and check them.

They are made from the models that read the files, so they say what is read: forms, not meaning. What no schema can say (that a
metric's fact is there, that shares add up to 1) is told by `exp validate`.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from exp_platform.config.key_descriptions import DESCRIPTIONS
from exp_platform.config.spec import ExperimentSpec
from exp_platform.config.spec_base import Id, Items
from exp_platform.config.spec_library import (
    GroupMember,
    MetricFileSpec,
    SourceFileSpec,
    UsedGroup,
    UsedMetric,
    UsedSource,
)
from exp_platform.config.spec_metrics import CovariateSpec, MetricSpec
from exp_platform.config.spec_segments import SegmentSpec
from exp_platform.config.spec_sources import SourceSpec
from exp_platform.config.spec_tables import ColumnSpec


class _AsWritten(ExperimentSpec):
    """One experiment, which may use sources and metrics that are defined for all."""

    source: SourceSpec | UsedSource  # type: ignore[assignment]
    metrics: Items[MetricSpec | UsedMetric | UsedGroup | Id]  # type: ignore[assignment]


DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BY_NAME: tuple[type[BaseModel], ...] = (
    ColumnSpec,
    CovariateSpec,
    SegmentSpec,
    GroupMember,
)  # a text is their first key
_FILES: dict[str, tuple[type[BaseModel], str]] = {
    "spec": (_AsWritten, "An experiment: configs/experiments/<name>.yaml"),
    "source": (SourceFileSpec, "A source that experiments share: configs/sources/<name>.yaml"),
    "metrics": (MetricFileSpec, "Metrics that experiments share: configs/metrics/<name>.yaml"),
}
NAMES = tuple(_FILES)


def text(name: str) -> str:
    """The schema of a file, `spec`, `source` or `metrics`, as it is written into `<name>.schema.json`."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def schema(name: str) -> dict[str, Any]:
    """The schema of a file, `spec`, `source` or `metrics`."""
    model, title = _FILES[name]
    made = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return {"$schema": DIALECT, "title": title, **made}


class _Generator(GenerateJsonSchema):
    """Pydantic's, with a description for every key, and without what says nothing to who writes the file."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No: a title would be the key once more."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Without a default that is nothing, empty or made of several keys: what follows from an absent key is in the docs."""
        made = super().default_schema(schema)
        if not isinstance(made.get("default"), str | int | float | bool) or made["default"] == "":
            made.pop("default", None)
        return made

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """With the keys' descriptions; a part that may be written as its name alone says so."""
        made, model = super().model_schema(schema), schema["cls"]
        made.pop("title", None)
        for key, value in made.get("properties", {}).items():
            value["description"] = _described(model, key)
        if model in _BY_NAME:
            described = made.pop("description")
            return {"description": described, "anyOf": [{"type": "string", "minLength": 1}, made]}
        return made


def _described(model: type, key: str) -> str:
    """What a key is, as said of the model, or of one that it is made of. Raises KeyError where nothing says it."""
    for name in (base.__name__ for base in model.__mro__):
        if key in DESCRIPTIONS.get(name, {}):
            return DESCRIPTIONS[name][key]
    raise KeyError(f"{model.__name__}.{key} has no description in key_descriptions")
