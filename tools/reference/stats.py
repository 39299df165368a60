"""Intervals, tests, strengths, agreement and power by packages that people trust: `statistics/`.

Random inputs and degenerate ones: all equal, ties only, one rater, a system that always wins, n = 1,
ratings missing. `null` stands for what has no finite answer: a reference refuses it, or gives NaN.

Generators of random numbers differ between languages, so a case of the bootstrap holds the resamples'
indices, and the interval is a pure function of them. scipy draws them from a seed, which the script checks;
arch is handed them.
"""

from __future__ import annotations

import itertools
import math
import warnings
from importlib.metadata import version
from typing import Any

import choix
import krippendorff
import numpy as np
from arch.bootstrap import IIDBootstrap
from choix.opt import PairwiseFcts
from scipy import stats
from scipy.sparse.csgraph import connected_components
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from golden_json import GOLDEN_DIR, write_json

SEED = 88
FOLDER = GOLDEN_DIR / "statistics"
RESAMPLES = 199
MANY_RESAMPLES = 200_000
LEVELS = ("nominal", "ordinal", "interval")

Case = dict[str, Any]


def metadata() -> dict[str, str]:
    packages = ("arch", "choix", "krippendorff", "numpy", "scipy", "statsmodels")
    about = {"script": "tools/reference/stats.py", "seed": str(SEED), "dtype": "float64"}
    return about | {package: version(package) for package in packages}


def finite(values: Any) -> Any:  # noqa: ANN401
    """A number or a list of them, `None` if any is not finite."""
    values = np.asarray(values, dtype=float)
    return values.tolist() if np.isfinite(values).all() else None


def samples(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "normal": rng.normal(1.0, 2.0, 12),
        "lognormal": rng.lognormal(0.0, 1.0, 20),
        "far from zero": rng.normal(1e6, 1.0, 15),
        "ties": rng.integers(0, 4, 16).astype(float),
        "shares": (np.arange(20) < 9).astype(float),
        "differences": rng.choice([-1.0, 0.0, 0.0, 0.5], 18),
        "one other": np.r_[np.zeros(9), 1.0],
        "two": np.array([1.0, 4.0]),
        "equal": np.full(7, 0.1),
        "one": np.array([3.0]),
    }


def bootstrap_mean(name: str, values: np.ndarray, seed: int) -> Case:
    """A mean's intervals of each kind from stated resamples."""
    n = len(values)
    indices = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    case: Case = {"name": name, "values": values.tolist(), "indices": indices.tolist()}
    for kind in ("percentile", "BCa"):
        if n == 1:  # scipy refuses a single value
            case[kind] = None if kind == "BCa" else [values[0], values[0]]
            continue
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=RESAMPLES, method=kind, rng=np.random.default_rng(seed)
        )
        np.testing.assert_allclose(found.bootstrap_distribution, values[indices].mean(axis=1), rtol=1e-14)
        case[kind] = finite(found.confidence_interval)
    case["studentised"] = studentised(values, indices)
    return case


def standard_error(values: np.ndarray) -> float:
    return values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0


class StatedResamples(IIDBootstrap):
    """arch's bootstrap over given indices."""

    stated: np.ndarray

    def update_indices(self) -> np.ndarray:
        self.stated, first = self.stated[1:], self.stated[0]
        return first


def studentised(values: np.ndarray, indices: np.ndarray) -> list[float] | None:
    """arch measures the standard error of the mean by the bootstrap, we by the sample: rescaled to that."""
    if np.ptp(values) == 0:
        return None
    bootstrap = StatedResamples(values)
    bootstrap.stated = indices
    error = lambda _, chosen: np.atleast_1d(standard_error(chosen))  # noqa: E731
    bounds = bootstrap.conf_int(
        lambda chosen: np.atleast_1d(chosen.mean()),
        len(indices),
        method="studentized",
        std_err_func=error,
    )
    mean = values.mean()
    theirs = np.sqrt(np.mean((values[indices].mean(axis=1) - values[indices].mean()) ** 2))
    return finite(mean + (bounds[:, 0] - mean) * standard_error(values) / theirs)


def bootstrap_correlation(name: str, a: np.ndarray, b: np.ndarray, seed: int) -> Case:
    """Spearman's interval: the statistic of the indices, so that pairs stay together."""
    n = len(a)
    indices = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    case: Case = {"name": name, "a": a.tolist(), "b": b.tolist(), "indices": indices.tolist()}
    for kind in ("percentile", "BCa"):
        found = stats.bootstrap(
            (np.arange(n),),
            lambda chosen: stats.spearmanr(a[chosen], b[chosen]).statistic,
            vectorized=False,
            n_resamples=RESAMPLES,
            method=kind,
            rng=np.random.default_rng(seed),
        )
        case[kind] = finite(found.confidence_interval)
    return case


def bootstrap_converged(name: str, values: np.ndarray) -> Case:
    """Intervals from so many resamples that the draw hardly matters; `error` is the scale of what is left."""
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=MANY_RESAMPLES,
        method="BCa",
        batch=10_000,
        rng=np.random.default_rng(1),
    )
    indices = np.random.default_rng(2).integers(0, len(values), (MANY_RESAMPLES, len(values)))
    chosen = values[indices]
    errors = chosen.std(axis=1, ddof=1) / math.sqrt(len(values))
    low, high = np.quantile((chosen.mean(axis=1) - values.mean()) / errors, (0.025, 0.975))
    error = standard_error(values)
    studentised = [values.mean() - high * error, values.mean() - low * error]
    interval = list(found.confidence_interval)
    return {
        "name": name,
        "values": values.tolist(),
        "error": error,
        "BCa": interval,
        "studentised": studentised,
    }


def bootstraps(rng: np.random.Generator) -> Case:
    means = [bootstrap_mean(name, values, seed) for seed, (name, values) in enumerate(samples(rng).items())]
    a = rng.normal(size=15)
    related = a + rng.normal(size=15)
    ranks = rng.integers(0, 4, 18).astype(float), rng.integers(0, 3, 18).astype(float)
    correlations = [
        bootstrap_correlation("related", a, related, 21),
        bootstrap_correlation("ties", *ranks, 22),
        bootstrap_correlation("same order", a, np.exp(a), 23),
    ]
    converged = [
        bootstrap_converged("normal", rng.normal(size=40)),
        bootstrap_converged("lognormal", rng.lognormal(size=60)),
        bootstrap_converged("ties", rng.integers(0, 4, 50).astype(float)),
    ]
    return {"means": means, "correlations": correlations, "converged": converged}


def sign_flips(rng: np.random.Generator) -> Case:
    """Exact p-values, which look at all 2^n signs, and one of random signs."""

    def p_value(values: np.ndarray, resamples: float) -> float:
        found = stats.permutation_test(
            (values,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=resamples,
            batch=10_000,
            rng=np.random.default_rng(3),
        )
        return float(found.pvalue)

    exact = list(samples(rng).values())
    exact = [values for values in exact if 2 <= len(values) <= 16]  # scipy refuses a single value
    exact += [rng.normal(0.4, 1.0, n) for n in (2, 3, 5, 8, 11, 14)]
    exact += [rng.integers(-3, 4, n).astype(float) for n in (4, 9, 13)]
    exact += [np.zeros(5), np.array([1.0, -1.0]), np.round(rng.normal(0.1, 0.2, 12), 1)]
    cases = [{"differences": values.tolist(), "p": p_value(values, np.inf)} for values in exact]
    drawn = [rng.normal(0.3, 1.0, 40), rng.exponential(1.0, 60) - 1.0, rng.choice([-1.0, 0.0, 1.0], 80)]
    return {
        "exact": cases,
        "resamples": MANY_RESAMPLES,
        "random": [
            {"differences": values.tolist(), "p": p_value(values, MANY_RESAMPLES)} for values in drawn
        ],
    }


def binomials() -> Case:
    shares = [(k, n) for n in (1, 2, 5, 20) for k in range(n + 1)]
    shares += [(0, 300), (1, 300), (150, 300), (288, 300), (300, 300), (4_321, 10_000)]
    intervals = []
    for successes, n in shares:
        wilson = proportion_confint(successes, n, method="wilson")
        exact = proportion_confint(successes, n, method="beta")
        intervals.append(
            {"successes": successes, "n": n, "wilson": finite(wilson), "clopper_pearson": finite(exact)}
        )
    chances = (0.0, 0.05, 0.3, 0.5, 0.9, 1.0)
    tests = [
        {"successes": successes, "n": n, "p": p, "p_value": float(stats.binomtest(successes, n, p).pvalue)}
        for successes, n in shares
        if n <= 300
        for p in chances
    ]
    means = [
        {"sum": total, "n": n, "wilson": finite(proportion_confint(total, n, method="wilson"))}
        for total, n in [(0.5, 1), (0.5, 2), (2.5, 5), (4.25, 20), (299.5, 300), (0.25, 300), (41.75, 100)]
    ]
    # b and c of n pairs differ, one way and the other.
    tables = [(0, 0, 1), (1, 0, 1), (0, 0, 5), (0, 5, 5), (2, 3, 5), (0, 0, 300), (0, 1, 300), (7, 12, 300)]
    tables += [(150, 150, 300), (0, 300, 300), (20, 5, 44)]
    paired = [{"losses": b, "wins": c, "n": n, "agresti_min": paired_shares(b, c, n)} for b, c, n in tables]
    return {"intervals": intervals, "tests": tests, "means": means, "paired": paired}


def paired_shares(losses: int, wins: int, n: int) -> list[float]:
    """Agresti and Min 2005, as written there: half a pair is added to each cell of the table of two flags."""
    cells = np.array([[n - losses - wins, losses], [wins, 0]]) + 0.5
    shares = cells / cells.sum()
    difference = shares[1, 0] - shares[0, 1]
    error = math.sqrt((shares[1, 0] + shares[0, 1] - difference**2) / cells.sum())
    half = stats.norm.ppf(0.975) * error
    return [max(difference - half, -1.0), min(difference + half, 1.0)]


def multiplicities(rng: np.random.Generator) -> list[Case]:
    cases = [rng.uniform(size=n) ** 3 for n in (1, 2, 7, 20)]
    cases += [np.full(4, 0.01), np.full(3, 1.0), np.array([0.0, 0.5, 0.0]), np.round(rng.uniform(size=12), 1)]
    return [
        {
            "p": values.tolist(),
            "holm": multipletests(values, method="holm")[1].tolist(),
            "benjamini_hochberg": stats.false_discovery_control(values, method="bh").tolist(),
        }
        for values in cases
    ]


def correlations(rng: np.random.Generator) -> list[Case]:
    a = rng.normal(size=25)
    pairs = [(a, a + rng.normal(size=25)), (a, -a), (a + 1e6, a * 1e-6 + 1e-3 * rng.normal(size=25))]
    pairs += [
        (rng.integers(0, 3, n).astype(float), rng.integers(0, 4, n).astype(float)) for n in (6, 30, 200)
    ]
    pairs += [(np.full(5, 0.1), a[:5]), (a[:2], a[2:4]), (np.full(3, 2.0), np.full(3, 2.0))]
    return [
        {
            "a": x.tolist(),
            "b": y.tolist(),
            "pearson": finite(stats.pearsonr(x, y).statistic),
            "spearman": finite(stats.spearmanr(x, y).statistic),
        }
        for x, y in pairs
    ]


def strengths(systems: int, comparisons: list[tuple[int, int, bool]], alpha: float) -> list[float] | None:
    """choix has no ties: a win stands twice, a tie once either way, and the penalty is doubled with them."""
    data = [pair for a, b, tie in comparisons for pair in ([(a, b), (b, a)] if tie else [(a, b), (a, b)])]
    if alpha == 0.0:
        graph = np.zeros((systems, systems))
        for winner, loser in data:
            graph[winner, loser] = 1
        if connected_components(graph, connection="strong")[0] > 1:
            return None
        found = choix.ilsr_pairwise(systems, data, max_iter=100_000, tol=1e-13)
    else:
        found = choix.opt_pairwise(systems, data, alpha=2 * alpha, tol=1e-10)
        found = choix.opt_pairwise(systems, data, 2 * alpha, "BFGS", initial_params=found, tol=1e-9)
    # Both stop early at times: the gradient says how near they are.
    slope = np.abs(PairwiseFcts(data, 2 * alpha).gradient(found)).max(initial=0.0)
    assert slope < 1e-6, slope
    return (found - found.mean()).tolist()


def bradley_terry(rng: np.random.Generator) -> list[Case]:
    def drawn(systems: int, answers: int, tie_share: float) -> list[tuple[int, int, bool]]:
        true = rng.normal(size=systems)
        found = []
        for _ in range(answers):
            a, b = rng.choice(systems, 2, replace=False)
            first = rng.uniform() < 1 / (1 + math.exp(true[b] - true[a]))
            winner, loser = (a, b) if first else (b, a)
            found.append((int(winner), int(loser), bool(rng.uniform() < tie_share)))
        return found

    cases = {
        "two systems": (2, drawn(2, 20, 0.0)),
        "three systems": (3, drawn(3, 100, 0.0)),
        "five systems with ties": (5, drawn(5, 200, 0.3)),
        "few answers": (6, drawn(6, 12, 0.2)),
        "ties only": (3, [(0, 1, True), (1, 2, True), (2, 0, True), (0, 1, True)]),
        "always wins": (3, [(0, 1, False)] * 5 + [(0, 2, False)] * 4 + [(1, 2, False), (2, 1, False)]),
        "always loses but for a tie": (3, [(0, 1, False)] * 3 + [(1, 0, False), (0, 2, False), (1, 2, True)]),
        "never compared": (4, [(0, 1, False), (1, 0, False), (2, 3, False), (3, 2, True)]),
        "one without answers": (3, [(0, 1, False), (1, 0, False), (0, 1, False)]),
        "a cycle": (3, [(0, 1, False), (1, 2, False), (2, 0, False)]),
        "no answers": (2, []),
        "very uneven": (3, [(0, 1, False)] * 400 + [(1, 0, False)] + [(1, 2, False)] * 400 + [(2, 1, False)]),
    }
    return [
        {
            "name": name,
            "systems": systems,
            "comparisons": [[a, b, int(tie)] for a, b, tie in comparisons],
            "alpha": alpha,
            "strengths": strengths(systems, comparisons, alpha),
        }
        for name, (systems, comparisons) in cases.items()
        for alpha in (0.0, 0.01, 0.5)
    ]


def alphas(rng: np.random.Generator) -> list[Case]:
    def drawn(units: int, raters: int, values: int, missing: float) -> np.ndarray:
        truth = rng.integers(0, values, (units, 1))
        noise = rng.integers(0, values, (units, raters))
        ratings = np.where(rng.uniform(size=noise.shape) < 0.6, truth, noise).astype(float)
        ratings[rng.uniform(size=ratings.shape) < missing] = np.nan
        return ratings

    one_rater = drawn(8, 1, 3, 0.0)
    cases = {
        "two raters": drawn(20, 2, 2, 0.0),
        "five raters": drawn(30, 5, 5, 0.0),
        "missing": drawn(25, 4, 4, 0.4),
        "mostly missing": drawn(15, 6, 3, 0.75),
        "amounts": np.round(rng.normal(5.0, 1.0, (10, 1)) + rng.normal(0.0, 0.5, (10, 3)), 2),
        "one rater": one_rater,
        "one rater of three": np.hstack([one_rater, np.full((8, 2), np.nan)]),
        "all equal": np.full((5, 3), 2.0),
        "perfect": np.repeat(np.arange(6.0)[:, None], 3, axis=1),
        "always apart": np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        "one unit": np.array([[1.0, 2.0, 2.0]]),
        "equal where paired": np.array([[1.0, 1.0], [1.0, 1.0], [2.0, np.nan]]),
        "nobody answers": np.full((3, 2), np.nan),
    }
    found = []
    for name, ratings in cases.items():
        case: Case = {"name": name, "ratings": [[finite(value) for value in row] for row in ratings]}
        for level in LEVELS:
            try:
                case[level] = finite(krippendorff.alpha(ratings.T, level_of_measurement=level))
            except ValueError:  # one value in all, or no unit with two ratings
                case[level] = None
        found.append(case)
    return found


def kappas(rng: np.random.Generator) -> list[Case]:
    a = rng.integers(0, 3, 40)
    pairs = [(a, np.where(rng.uniform(size=40) < 0.7, a, rng.integers(0, 3, 40)))]
    pairs += [(rng.integers(0, 2, 10), rng.integers(0, 2, 10)), (a, a), (np.array([0, 1]), np.array([1, 0]))]
    pairs += [(np.zeros(5, int), np.zeros(5, int)), (np.zeros(5, int), np.array([0, 0, 1, 0, 1]))]
    cases = []
    for x, y in pairs:
        table = np.zeros((3, 3))
        np.add.at(table, (x, y), 1)
        cases.append(
            {"a": x.tolist(), "b": y.tolist(), "kappa": finite(cohens_kappa(table, return_results=False))}
        )
    return cases


def powers() -> Case:
    test = TTestPower()
    power = []
    for effect, n, level in itertools.product((0.0, 0.1, 0.3, 0.8, 2.0), (2, 3, 10, 50, 300), (0.05, 0.0025)):
        found = float(test.power(effect, n, level))
        if math.isfinite(found):  # scipy's noncentral t gives up far from 0
            power.append({"effect": effect, "n": n, "level": level, "power": found})
    effects = []
    for n, level, wanted in itertools.product((3, 10, 50, 300, 1632), (0.05, 0.0025), (0.8, 0.95)):
        effect = float(test.solve_power(nobs=n, alpha=level, power=wanted))
        if abs(test.power(effect, n, level) - wanted) < 1e-7:  # it does not always find the root
            effects.append({"n": n, "level": level, "power": wanted, "effect": effect})
    return {"power": power, "effects": effects}


def main() -> None:
    warnings.simplefilter("ignore")  # degenerate cases warn, on purpose
    rng = np.random.default_rng(SEED)
    about = {"metadata": metadata()}
    write_json(FOLDER / "bootstrap.json", about | bootstraps(rng))
    write_json(FOLDER / "sign_flips.json", about | sign_flips(rng))
    write_json(FOLDER / "binomial.json", about | binomials())
    write_json(FOLDER / "multiplicity.json", about | {"cases": multiplicities(rng)})
    write_json(FOLDER / "correlation.json", about | {"cases": correlations(rng)})
    write_json(FOLDER / "bradley_terry.json", about | {"cases": bradley_terry(rng)})
    write_json(FOLDER / "agreement.json", about | {"alpha": alphas(rng), "kappa": kappas(rng)})
    write_json(FOLDER / "power.json", about | powers())


if __name__ == "__main__":
    main()
