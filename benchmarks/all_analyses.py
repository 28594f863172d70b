"""All analyses of one large experiment from its aggregates: ten metrics, three arms, twenty segment values, twenty-eight days.

Run with `PYTHONPATH=tests .venv/bin/python benchmarks/all_analyses.py`; prints CPU seconds, least and median of 20 rounds.
"""

from __future__ import annotations

import statistics
import time

from analyses.simulated import large
from exp_platform.analyses.registry import analyse_all


def main() -> None:
    """Time the rounds after one to warm up."""
    spec, day = large()
    seconds = []
    for _ in range(21):
        began = time.process_time()
        rows = len(analyse_all(spec, day))
        seconds.append(time.process_time() - began)
    print(
        f"{rows} rows: least {min(seconds[1:]):.3f} s, median {statistics.median(seconds[1:]):.3f} s of CPU"
    )


if __name__ == "__main__":
    main()
