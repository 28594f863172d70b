"""What all parts of a spec share: strict frozen models, and the small values people write."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from exp_platform.config.experiment import FIRST_DAY, LAST_DAY
from exp_platform.config.faults import Fault, refuse, suggest
from exp_platform.config.metrics import Effect

ID_PATTERN = r"^[a-z0-9_]{1,64}$"
LONGEST_OWNER, LONGEST_TAG = 500, 100  # characters: as long as Airflow stores them
LONGEST_UNIT = 16  # characters: it stands behind every number of a table
LARGEST_SIZE = 1e60  # `stats.rounding.LARGEST`, which would import NumPy here

T = TypeVar("T")


class Spec(BaseModel):
    """A part of a spec: unknown keys and wrong types fail, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _as_date(value: Any) -> Any:
    """YAML gives dates as dates; text is taken for those who quote it."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime) and FIRST_DAY <= value <= LAST_DAY:
        return value
    return refuse([Fault((), value, "allowed: a date such as 2026-01-05")])


def percent(written: str) -> float | None:
    """`10%` as 0.1; None where it is no plain number and a percent sign."""
    found = re.fullmatch(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)) ?%", written)
    return float(found[1]) / 100 if found else None


_SIZES = "allowed: a positive size such as 2% (of control's mean), {relative: 0.02} or {absolute: 0.01}"


def _as_effect(value: Any) -> Effect:
    """`2%`, {relative: 0.02} or {absolute: 0.01}. A bare number is refused: it does not say what it is of."""
    size: Any = None
    scale = "relative"
    if isinstance(value, Effect):
        return value
    if isinstance(value, str) and value.endswith("%"):
        size = percent(value)
    elif isinstance(value, dict) and len(value) == 1:
        scale, size = next(iter(value.items()))
    is_number = isinstance(size, (int, float)) and not isinstance(size, bool)
    if scale not in ("relative", "absolute") or not is_number or not 0 < size <= LARGEST_SIZE:
        refuse([Fault((), value, _SIZES)])
    return Effect(float(size), scale)  # type: ignore[arg-type]


# Names of no zone of their own: what they mean is each machine's, or they count leap seconds, which no clock shows.
_NO_ZONE = re.compile(r"(right|posix)/.*|localtime|posixrules|Factory")


def _known_timezone(name: str) -> str:
    try:
        if _NO_ZONE.fullmatch(name):
            raise KeyError(name)
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder
        hint = suggest(name, available_timezones()).partition("allowed:")[0]
        refuse([Fault((), name, f"{hint}allowed: an IANA time zone such as UTC or Europe/Berlin")])
    return name


def as_text(value: Any) -> Any:
    """A number or a boolean as the text that it is in data: 1, 0.5, true."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


def _as_texts(value: Any) -> Any:
    return [as_text(one) for one in value] if isinstance(value, list | tuple) else [as_text(value)]


def _plain_unit(unit: str) -> str:
    """Nothing that would change how the number before it reads, or the line that both stand on."""
    if not unit.isprintable() or unit != unit.strip() or unit[:1].isdigit():
        refuse([Fault((), unit, "allowed: a word or sign such as EUR, min or orders, on one line")])
    return unit


# What JSON Schemas say of values that are read in a way of their own (`json_schema`)
PERCENT = {"type": "string", "pattern": r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+) ?%$"}
_SIZE = {"type": "number", "exclusiveMinimum": 0}
_EFFECT = {
    "anyOf": [
        PERCENT,
        *(
            {
                "type": "object",
                "properties": {scale: _SIZE},
                "required": [scale],
                "additionalProperties": False,
            }
            for scale in ("relative", "absolute")
        ),
    ]
}
_VALUE = {"type": ["string", "number", "boolean"]}


def one_or_more(form: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a value or a list of such."""
    return {"anyOf": [form, {"type": "array", "items": form}]}


Id = Annotated[str, Field(pattern=ID_PATTERN)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]  # a name or a location
Prose = Annotated[str, Field(min_length=1)]
Owner = Annotated[str, Field(min_length=1, max_length=LONGEST_OWNER)]
Tag = Annotated[str, Field(min_length=1, max_length=LONGEST_TAG)]
Unit = Annotated[str, Field(min_length=1, max_length=LONGEST_UNIT), AfterValidator(_plain_unit)]
Share = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[date, BeforeValidator(_as_date)]
TimeZone = Annotated[str, AfterValidator(_known_timezone)]
EffectSize = Annotated[Effect, PlainValidator(_as_effect), WithJsonSchema(_EFFECT)]
Items = Annotated[tuple[T, ...], Field(strict=False)]  # a YAML list
Value = Annotated[Text, BeforeValidator(as_text), WithJsonSchema(_VALUE)]  # one value of data
Values = Annotated[
    Items[Text], BeforeValidator(_as_texts), WithJsonSchema(one_or_more(_VALUE))
]  # one value of data, or several
