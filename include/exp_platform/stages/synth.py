"""The stage `synth`: write the raw data of a synthetic experiment."""

from __future__ import annotations

from exp_platform.config.environment import load_environment
from exp_platform.kernels.privacy import Privacy, without_forgotten
from exp_platform.stages.run import Run, StageResult
from exp_platform.stages.source_files import file_system
from exp_platform.stages.sources import raw_folder
from exp_platform.synth.files import write_raw
from exp_platform.tables.forgotten import forgotten_of


def run(run: Run) -> StageResult:
    """Replace `<raw_dir>/exp_platform/<experiment_id>`; the same rows for the same experiment and days, none of days to come.

    Rows of forgotten users are not written.
    """
    environment = load_environment(run.environment)
    by, hashes = forgotten_of(environment, run.experiment.id)
    privacy = Privacy(forgotten_by=by, forgotten=hashes)
    folder = raw_folder(run.experiment, environment)
    files, path = file_system(folder, environment)
    written = write_raw(
        run.experiment,
        files,
        path,
        until=run.generated_until,
        kept=lambda rows: without_forgotten({"rows": [rows]}, privacy)[0]["rows"][0],
    )
    return StageResult(
        rows_out=written.exposures + written.outcomes,
        details={"folder": folder, "exposures": written.exposures, "outcomes": written.outcomes},
    )
