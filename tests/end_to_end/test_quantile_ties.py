"""An A/A test of a quantile beside a mass of equal values, through a whole run: nothing is shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from end_to_end.installation import Installation
from end_to_end.own_data import units_spec

SEED = 15  # one of the many whose arms' 0.9 quantiles are 0 and beyond 5 by chance alone


def test_nine_of_ten_who_spend_nothing_ship_no_quantile_that_jumps_by_chance(tmp_path: Path) -> None:
    """10,000 users, 90 % zeros, else 5 and more; with the plain error of its rank interval this was shipped."""
    rng = np.random.default_rng(SEED)
    spent = np.where(rng.random(10_000) < 0.9, 0.0, 5 + rng.lognormal(size=10_000))
    users = pd.DataFrame(
        {
            "user_id": [f"user-{i}" for i in range(10_000)],
            "variant_id": np.tile(["control", "treatment"], 5_000),
            "spent": spent,
        }
    )
    place = Installation(tmp_path)
    metric = {"id": "spent", "type": "quantile", "q": 0.9, "column": "spent", "role": "primary"}
    place.run(units_spec(place, users, [metric]))
    (row,) = (r for r in place.rows("analysis_results", "users") if r["method"] == "ab")
    quantiles = users.groupby("variant_id").spent.quantile(0.9)
    assert (row["mean_control"], row["mean_treatment"]) == pytest.approx(tuple(quantiles), rel=1e-12)
    assert row["mean_control"] == 0
    assert row["mean_treatment"] > 5
    assert row["p_value"] > 0.05
    assert row["caution"].startswith("values jump beside the 0.9 quantile")
    (decision,) = place.rows("decisions", "users")
    assert decision["final"]
    assert decision["action"] != "ship"
