"""The stage writes the raw data where ingest looks for them, and a second time the same."""

from __future__ import annotations

from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.stages import synth
from exp_platform.stages.sources import plan_reading
from stages.raw_data import frozen
from synth.synthetic import synthetic


def test_ingest_finds_what_synth_wrote(environment: Environment) -> None:
    experiment = synthetic(500, duplicate_share=0.1, late_share=0.1)
    run = frozen(environment, experiment)
    folder = Path(environment.raw_dir) / "exp_platform" / experiment.id
    contents = []
    for _ in range(2):
        result = synth.run(run)
        contents.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.parquet")})
        plan = plan_reading(experiment, environment)
        assert plan.problems == ()
        assert plan.rows("exposures") == result.details["exposures"]
        assert plan.rows("exposures", "outcomes") == result.rows_out
    assert contents[0] == contents[1]
    assert sorted(str(path) for path in contents[0]) == [
        "exposures/part-00000.parquet",
        "outcomes/part-00000.parquet",
        "outcomes/part-late-00000.parquet",
    ]
