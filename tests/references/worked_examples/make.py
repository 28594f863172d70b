"""Examples that other packages print, to all digits: writes values.json beside this file.

    uv venv /tmp/references && uv pip install --python /tmp/references/bin/python -r requirements.txt
    /tmp/references/bin/python make.py

The inputs are those of published examples (gbstats' sums, statsmodels' powers, Lindon and Malek's counts), which print 5 to 11
digits; here each formula is written out with SciPy and statsmodels, or its root is searched, so that every digit counts.
`printed` are the digits that those packages print, and this script fails where its own number has others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from scipy import optimize, special, stats
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import proportions_ztest

Arm = tuple[float, float, int]  # mean, sample variance, users


def from_sums(total: float, squares: float, n: int) -> Arm:
    return total / n, (squares - total**2 / n) / (n - 1), n


def welch(control: Arm, treatment: Arm, level: float = 0.95) -> dict[str, float]:
    (m0, s0, n0), (m1, s1, n1) = control, treatment
    test = stats.ttest_ind_from_stats(m1, math.sqrt(s1), n1, m0, math.sqrt(s0), n0, equal_var=False)
    v0, v1 = s0 / n0, s1 / n1
    df = (v0 + v1) ** 2 / (v0**2 / (n0 - 1) + v1**2 / (n1 - 1))
    half = stats.t.ppf((1 + level) / 2, df) * math.sqrt(v0 + v1)
    return {
        "estimate": m1 - m0, "degrees_of_freedom": df, "statistic": float(test.statistic), "p_value": float(test.pvalue),
        "low": m1 - m0 - half, "high": m1 - m0 + half,
    }  # fmt: skip


def relative(control: Arm, treatment: Arm, critical: float, df: float) -> dict[str, float]:
    """By the delta method, and by searching both ends of the set that Fieller's test does not reject."""
    (m0, s0, n0), (m1, s1, n1) = control, treatment
    v0, v1, ratio = s0 / n0, s1 / n1, m1 / m0
    error = math.sqrt(v1 + ratio**2 * v0) / m0
    point = ratio - 1

    def rejected(r: float) -> float:
        return (m1 - (1 + r) * m0) ** 2 - critical**2 * (v1 + (1 + r) ** 2 * v0)

    step = 40 * error
    exact = [
        optimize.brentq(rejected, *sorted((point, point + side * step)), xtol=1e-15, rtol=1e-15)
        for side in (-1, 1)
    ]
    log_error = math.sqrt(v1 / m1**2 + v0 / m0**2)
    return {
        "point": point,
        "delta_low": point - critical * error, "delta_high": point + critical * error,
        "delta_p": float(2 * stats.t.sf(abs(point) / error, df)),
        "fieller_low": exact[0], "fieller_high": exact[1],
        "log_low": math.exp(math.log(ratio) - critical * log_error) - 1,
        "log_high": math.exp(math.log(ratio) + critical * log_error) - 1,
    }  # fmt: skip


def sequences() -> dict[str, float]:
    """Robbins' mixture: where exp(n^2 h^2 rho^2 / (2 (n rho^2 + 1))) / sqrt(n rho^2 + 1) reaches 1 / alpha (by root search)."""
    alpha, tuned_for = 0.05, 5000
    x = -2 * math.log(alpha)
    rho = math.sqrt((x + math.log(x + 1)) / tuned_for)

    def width(n: int) -> float:
        def log_mixture(h: float) -> float:
            spread = n * rho**2 + 1
            return (n * h * rho) ** 2 / (2 * spread) - math.log(spread) / 2 + math.log(alpha)

        return float(optimize.brentq(log_mixture, 1e-9, 10, xtol=1e-16, rtol=1e-15))

    return {"rho": rho, "1000": width(1000), "5000": width(5000)}


def e_value(counts: tuple[int, ...]) -> float:
    """The Dirichlet(1, ..., 1) mixture of multinomials over the one of equal shares."""
    k, n = len(counts), sum(counts)
    log = (
        special.gammaln(k)
        - special.gammaln(n + k)
        + sum(special.gammaln(c + 1) for c in counts)
        + n * math.log(k)
    )
    return float(math.exp(log))


def users_per_arm(effect: float, alpha: float, power: float) -> float:
    """Where statsmodels' power is the one that is wanted, to the last digits (its own search stops earlier)."""
    of = TTestIndPower()
    start = of.solve_power(effect, alpha=alpha, power=power)
    found = optimize.brentq(
        lambda n: of.power(effect, n, alpha) - power, start * 0.99, start * 1.01, xtol=1e-10, rtol=1e-15
    )
    return float(found)


def main() -> None:
    a, b = from_sums(1396.87, 52377.9767, 3407), from_sums(2422.7, 134698.29, 3461)
    c, d = from_sums(14, 14, 28), from_sums(16, 16, 30)
    e, f = (50.0, 250.0, 1000), (55.0, 300.0, 1000)  # variances of the means .25 and .30
    z = float(stats.norm.ppf(0.975))
    ab, cd = welch(a, b), welch(c, d)
    t = {
        name: float(stats.t.ppf(0.975, test["degrees_of_freedom"])) for name, test in (("ab", ab), ("cd", cd))
    }
    values = {
        "sums": {"welch": ab, "relative": relative(a, b, t["ab"], ab["degrees_of_freedom"])},
        "conversions": {"welch": cd, "relative": relative(c, d, t["cd"], cd["degrees_of_freedom"])},
        "means": {"relative": relative(e, f, z, math.inf)},
        "sequence": sequences(),
        "split": {
            "473661 471485": float(stats.chisquare([473661, 471485]).pvalue),
            "21 26 30": float(stats.chisquare([21, 26, 30]).pvalue),
        },
        "split_e_values": {
            " ".join(map(str, counts)): e_value(counts) for counts in ((100, 100), (300, 220), (800, 600))
        },
        "pooled_p": float(proportions_ztest([560, 500], [10_000, 10_000])[1]),
        "users_per_arm": {
            f"{effect} {alpha} {power}": users_per_arm(effect, alpha, power)
            for effect, alpha, power in (
                (0.05, 0.05, 0.8),
                (0.2, 0.05, 0.8),
                (0.01, 0.0045, 0.9),
                (0.1, 0.01, 0.95),
            )
        },
    }
    check(values)
    Path(__file__).with_name("values.json").write_text(json.dumps(values, indent=1) + "\n")


def check(values: dict) -> None:
    """Hold every number that is printed elsewhere against its digits."""
    printed: list[tuple[Callable[[dict], float], str]] = [
        (lambda v: v["sums"]["welch"]["low"], "0.0453778926"),
        (lambda v: v["sums"]["welch"]["high"], "0.534622107"),
        (lambda v: v["sums"]["welch"]["p_value"], "0.0201584"),
        (lambda v: v["sums"]["relative"]["point"], "0.707317073"),
        (lambda v: v["sums"]["relative"]["delta_low"], "-0.0352600891"),
        (lambda v: v["sums"]["relative"]["delta_high"], "1.44989424"),
        (lambda v: v["sums"]["relative"]["delta_p"], "0.0619118"),
        (lambda v: v["conversions"]["relative"]["delta_low"], "-0.487358"),
        (lambda v: v["conversions"]["relative"]["delta_high"], "0.620691"),
        (lambda v: v["conversions"]["relative"]["delta_p"], "0.810377"),
        (lambda v: v["means"]["relative"]["fieller_low"], "0.0699871179"),
        (lambda v: v["means"]["relative"]["fieller_high"], "0.1308583278"),
        (lambda v: v["means"]["relative"]["log_low"], "0.0699901377"),
        (lambda v: v["means"]["relative"]["log_high"], "0.1308515446"),
        (lambda v: v["means"]["relative"]["delta_low"], "0.0695731767"),
        (lambda v: v["means"]["relative"]["delta_high"], "0.1304268233"),
        (lambda v: v["sequence"]["rho"], "0.03984006677"),
        (lambda v: v["sequence"]["1000"], "0.10637547006557"),
        (lambda v: v["sequence"]["5000"], "0.04292433718827"),
        (lambda v: v["split"]["473661 471485"], "0.025204472"),
        (lambda v: v["split"]["21 26 30"], "0.452843906"),
        (lambda v: v["split_e_values"]["100 100"], "0.0882921"),
        (lambda v: v["split_e_values"]["300 220"], "26.1495"),
        (lambda v: v["split_e_values"]["800 600"], "55689.32"),
        (lambda v: v["pooled_p"], "0.05826"),
        (lambda v: v["users_per_arm"]["0.05 0.05 0.8"], "6280.0489"),
    ]
    for of, digits in printed:
        places = len(digits.partition(".")[2])
        if abs(of(values) - float(digits)) > 10**-places:  # some sources round, some cut off
            raise SystemExit(f"{digits} is printed elsewhere, {of(values)!r} was found here")


if __name__ == "__main__":
    main()
