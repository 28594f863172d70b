"""Shows broken specs as this file's import error in Airflow, and makes no DAG.

experiments.py passes over a broken spec, so that it costs nobody else a DAG; without this file nobody would be told.
"""

from __future__ import annotations

from exp_platform.config.loading import load_all
from exp_platform.errors import ConfigError

faults = load_all().errors

if faults:
    raise ConfigError("\n".join([f"{len(faults)} fault(s) in the specs:", *map(str, faults)]))
