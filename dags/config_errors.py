"""Shows what keeps experiments from having a DAG as this file's import error in Airflow, and makes no DAG.

experiments.py passes over a broken spec, and over one that no DAG can be made of, so that it costs nobody else a DAG;
without this file nobody would be told.
"""

from __future__ import annotations

from exp_platform.config.faults import one_line
from exp_platform.config.loading import load_all
from exp_platform.errors import ConfigError
from exp_platform.orchestration.dag import build_dags

MOST_TOLD = 200  # Airflow stores the message, and shows it whole

loaded = load_all()
faults = [str(error) for error in loaded.errors]
faults += [
    f"{loaded.experiments[id].spec_file}: {id}: no DAG can be made of it ({type(error).__name__}: {one_line(str(error))}); the other "
    "experiments have theirs"
    for id, error in build_dags(loaded.experiments.values())[1].items()
]

if faults:
    told = faults[:MOST_TOLD]
    if len(faults) > MOST_TOLD:
        told.append(f"{len(faults) - MOST_TOLD:,} more: `exp validate` tells them all")
    raise ConfigError("\n".join([f"{len(faults)} fault(s) in the specs:", *told]))
