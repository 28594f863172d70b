"""The one Spark job: a stage of a run that `check` has frozen. Prints the path of the manifest that it leaves."""

from __future__ import annotations

import argparse
import os
import sys

from exp_platform.escaping import terminal
from exp_platform.postponed import postpone_parsers
from exp_platform.stages.execute import execute
from exp_platform.stages.graph import STAGES
from exp_platform.stages.run import Run, manifest_path
from exp_platform.tables.read_once import read_once
from exp_platform.without_pandas import without_pandas


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, metavar="RUN.JSON", help="the run, as its start froze it")
    parser.add_argument("--stage", required=True, choices=[stage.name for stage in STAGES])
    parser.add_argument("--try", dest="try_number", type=int, default=1, help="number of this try, from 1")
    options = parser.parse_args(arguments)
    if starter := os.environ.get("EXP_STARTED_BY"):
        from exp_platform.orchestration.processes import end_with

        end_with(starter)
    try:
        run = Run.load(options.run)
    except (OSError, ValueError) as error:
        print(
            terminal(f"FAILED {options.stage}: cannot read the run {options.run}: {error}"), file=sys.stderr
        )
        return 1
    postpone_parsers()
    with without_pandas(), read_once():
        manifest = execute(run, options.stage, options.try_number)
    print(terminal(str(manifest_path(run.path, options.stage, options.try_number))))
    if manifest.status == "failed":
        print(terminal(f"FAILED {options.stage}: {manifest.error}"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
