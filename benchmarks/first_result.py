"""From data to a decision: the wall time of `exp init --yes` and `exp run` of what it wrote, each in a process of its own.

Usage: first_result.py FILE_OR_FOLDER...; for a table per run, such as the public data sets. Needs `make setup`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXP = ROOT / ".venv" / "bin" / "exp"


def seconds(*arguments: str | Path, env: dict[str, str]) -> tuple[float, str]:
    """What a command took and said. Exits with its message where it failed."""
    begun = time.perf_counter()
    ran = subprocess.run([EXP, *map(str, arguments)], env=env, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"exp {' '.join(map(str, arguments))}: {ran.stderr}")
    return time.perf_counter() - begun, ran.stdout


def main(places: list[str]) -> None:
    """One line per place."""
    print("| data | exp init | exp run | together |", "|---|---:|---:|---:|", sep="\n")
    for place in places:
        with tempfile.TemporaryDirectory() as folder:
            configs = Path(folder) / "configs"
            for shared in ("environments", "spark"):
                shutil.copytree(ROOT / "configs" / shared, configs / shared)
            env = os.environ | {"EXP_CONFIG_DIR": str(configs), "EXP_STATE_DIR": str(Path(folder) / "state")}
            init, said = seconds("init", Path(place).resolve(), "--yes", env=env)
            run, _ = seconds("run", said.split()[-1], env=env)
        print(f"| {Path(place).name} | {init:.1f} s | {run:.1f} s | {init + run:.1f} s |")


if __name__ == "__main__":
    main(sys.argv[1:])
