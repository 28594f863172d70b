"""Run the numerical rooms' unit tests as on other processors: `scripts/test_processors.py [pytest's options]`.

Sums are made by OpenBLAS and NumPy with the widest instructions that a processor has, so their last bits differ from one
processor to another. Here both are told to use fewer. What this processor cannot run is passed over with a word, and so is what gives the
very bits of a run before it or of `make test`: of the widest instructions several processors have the same kernels.
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


# What the rooms are made of, at sizes that fill and overhang every width of instructions; printed: one hash of all bits.
PROBE = """
import hashlib
import numpy as np
from scipy import special
drawn, bits = np.random.default_rng(1), hashlib.sha256()
for n in (*range(1, 18), 31, 33, 64, 100, 129, 500, 1000, 5001):
    a, b = drawn.normal(size=n), 1e3 * drawn.normal(size=n)
    c, p = np.abs(a), np.abs(a) / 9
    found = [a @ b, a.sum(), a.mean(), a.var(), a.std(), np.cumsum(a), np.cumprod(a), np.sort(a), np.argsort(a)]
    found += [np.quantile(a, 0.3), np.exp(a), np.expm1(a), np.log(c), np.log1p(c), np.sqrt(c), c**1.7, b / a, np.diff(a)]
    found += [special.ndtr(a), special.log_ndtr(a), special.ndtri(p), special.erfcx(c), special.gammaln(c), special.logsumexp(a)]
    found += [special.stdtr(7, a), special.stdtrit(9, p), special.betainc(2, 3, p), special.betaincinv(2, 3, p), special.chdtrc(3, c)]
    for one in found:
        bits.update(np.ascontiguousarray(one).tobytes())
for n in (*range(1, 18), 31, 40, 100):
    m = drawn.normal(size=(n + 50, n))
    s = m.T @ m
    found = [s, m @ s, s @ m[0], np.outer(m[0], m[0]), np.einsum("ij,jk->ik", m, s), np.einsum("ij,ik,jk->i", m, m, s)]
    found += [np.linalg.solve(s, m[0]), np.linalg.inv(s), np.linalg.cholesky(s), *np.linalg.eigh(s), *np.linalg.qr(m)]
    found += [np.linalg.pinv(s), *np.linalg.svd(m), *np.linalg.slogdet(s), np.linalg.lstsq(m, m[:, 0])[0]]
    for one in found:
        bits.update(np.ascontiguousarray(one).tobytes())
print(bits.hexdigest())
"""


def bits(**told: str) -> str:
    """What the arithmetic of the rooms gives to the bit when OpenBLAS and NumPy are told so; nothing told: by their own choice."""
    asked = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **told},
        capture_output=True,
        text=True,
        check=True,
    )
    return asked.stdout.strip()


def known_to_numpy(features: tuple[str, ...]) -> str:
    """Those of the features that NumPy would use here: it refuses to be told of others."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(f for f in features if f in __cpu_dispatch__ and __cpu_features__.get(f))


def main() -> int:
    if platform.machine() not in ("x86_64", "AMD64") or not flags():
        print("==> passed over: the processors that can be named here are x86-64 ones under Linux")
        return 0
    computed = {bits()}
    failed = []
    for coretype, (needed, absent) in PROCESSORS.items():
        if not needed <= flags():
            print(f"==> {coretype}: passed over, this processor lacks {', '.join(sorted(needed - flags()))}")
            continue
        told = {"OPENBLAS_CORETYPE": coretype, "NPY_DISABLE_CPU_FEATURES": known_to_numpy(absent)}
        found = bits(**told)
        if found in computed:
            print(
                f"==> {coretype}: passed over, computes to the bit as a run before it or as `make test` does"
            )
            continue
        computed.add(found)
        print(f"==> {', '.join(ROOMS)} as on {coretype}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "unit", *sys.argv[1:]]
        rooms = [f"tests/{room}" for room in ROOMS]
        if subprocess.run(
            [*command, *rooms],
            cwd=ROOT,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"} | told,
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode:
            failed.append(coretype)
    if failed:
        print(
            f"==> failed as on {', '.join(failed)}: repeat by OPENBLAS_CORETYPE={failed[0]} in front of pytest"
        )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
