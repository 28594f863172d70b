"""Data of the field: files as they were delivered, each with its spec; where they are absent, their tests are skipped."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from end_to_end.installation import DATA, Installation

FIELD = DATA / "field"
NEEDED = pytest.mark.skipif(not FIELD.is_dir(), reason=f"the field data are not in {FIELD}")


def written(name: str) -> dict[str, Any]:
    """The spec beside the data, as it is written."""
    text = (FIELD / name / f"{name}.yaml").read_text().replace("${FIELD_DIR}", str(FIELD))
    return yaml.safe_load(text)  # type: ignore[no-any-return]


def spec_of(place: Installation, name: str, **source: Any) -> str:
    """The spec of the field, perhaps with other keys of its source; its id."""
    spec = written(name)
    return place.spec(**{**spec, "source": {**spec["source"], **source}})
