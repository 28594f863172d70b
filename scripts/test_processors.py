"""Run the numerical rooms' unit tests as on other processors: `scripts/test_processors.py [pytest's options]`.

Sums are made by OpenBLAS and NumPy with the widest instructions that a processor has, so their last bits differ from one
processor to another. Here both are told to use fewer. What this processor cannot run, and what it uses by itself (so that
`make test` has run it already), is passed over with a word.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("stats", "analyses", "planning", "decision")

# OPENBLAS_CORETYPE -> what /proc/cpuinfo must list, and what of NumPy's own such a processor does not have.
PROCESSORS = {
    "Nehalem": ({"sse4_2"}, ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR")),  # neither AVX2 nor FMA
    "Haswell": ({"avx2", "fma"}, ("X86_V4", "AVX512_ICL", "AVX512_SPR")),
    "Zen": ({"avx2", "fma"}, ("X86_V4", "AVX512_ICL", "AVX512_SPR")),
    "SkylakeX": ({"avx512f", "avx512bw", "avx512dq", "avx512vl"}, ("AVX512_ICL", "AVX512_SPR")),
    "Cooperlake": ({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}, ("AVX512_SPR",)),
}


def flags() -> set[str]:
    """What this processor can do; empty where the system does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def kernels(coretype: str) -> str:
    """Of which processor OpenBLAS takes its kernels when it is told `coretype`; empty: by its own choice."""
    told = {"OPENBLAS_CORETYPE": coretype} if coretype else {}
    code = "import numpy, scipy.linalg"
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **told, "OPENBLAS_VERBOSE": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    return " ".join(line for line in (asked.stdout + asked.stderr).splitlines() if line.startswith("Core:"))


def known_to_numpy(features: tuple[str, ...]) -> str:
    """Those of the features that NumPy would use here: it refuses to be told of others."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(f for f in features if f in __cpu_dispatch__ and __cpu_features__.get(f))


def main() -> int:
    if platform.machine() not in ("x86_64", "AMD64") or not flags():
        print("==> passed over: the processors that can be named here are x86-64 ones under Linux")
        return 0
    used = {(kernels(""), "")}
    failed = []
    for coretype, (needed, absent) in PROCESSORS.items():
        if not needed <= flags():
            print(f"==> {coretype}: passed over, this processor lacks {', '.join(sorted(needed - flags()))}")
            continue
        run = (kernels(coretype), known_to_numpy(absent))
        if run in used:
            print(f"==> {coretype}: passed over, computes as a run before it or as `make test` does")
            continue
        used.add(run)
        print(f"==> {', '.join(ROOMS)} as on {coretype}", flush=True)
        told = {
            "OPENBLAS_CORETYPE": coretype,
            "NPY_DISABLE_CPU_FEATURES": run[1],
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-m", "unit", *sys.argv[1:]]
        rooms = [f"tests/{room}" for room in ROOMS]
        if subprocess.run(
            [*command, *rooms], cwd=ROOT, env=os.environ | told, stdin=subprocess.DEVNULL, check=False
        ).returncode:
            failed.append(coretype)
    if failed:
        print(
            f"==> failed as on {', '.join(failed)}: repeat by OPENBLAS_CORETYPE={failed[0]} in front of pytest"
        )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
