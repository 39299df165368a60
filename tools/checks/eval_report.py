"""Every number of an evaluation's report.json, computed again from rows.jsonl and from the saved images.

    python tools/checks/eval_report.py RUN [--clip DIR --head FILE.pth] [--pick-score DIR] [--clip-tokens DIR]
        [--resamples N]

Nothing here is shared with the program: numpy for means, quantiles, eigenvalues and tests, torch and transformers for
CLIP and the aesthetic head. What is exact is compared exactly (counts, means, deciles, histograms, Wilson's, Agresti and
Min's and the jackknife's intervals, Vendi scores, commonness, distinct-n, tests of few differences, Holm's correction);
what is drawn at random is compared with other draws: ends of bootstrap intervals in half-widths, p-values in standard
errors.

`--clip` and `--head` look at the images that rows point to: cosines, aesthetic scores, the reward and its parts.
`--pick-score` does for PickScore, `--clip-tokens` counts tokens by CLIP's tokenizer. Prints one JSON object with the
largest deviation of each kind; exits with 1 if one is larger than it may be.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

# The largest deviation of each kind that passes, and what is left when all is right.
ALLOWED = {
    "counts": 0.0,
    "means": 1e-9,
    "quantiles": 1e-9,
    "wilson": 1e-9,
    "paired_few": 1e-9,
    "jackknife": 1e-9,
    "vendi": 1e-6,
    "differences": 1e-9,
    "holm": 1e-12,
    "exact_p": 1e-12,
    # Of other draws: ends in half-widths of the interval, p in its standard errors.
    "bootstrap_ends": 0.25,
    "drawn_p": 5.0,
    # f32 in another order.
    "clip_cosine": 1e-4,
    "aesthetic": 1e-3,
    "pick_score": 1e-2,
    "reward": 1e-4,
    "tokens": 0.0,
}

LENGTHS = ["0-10", "10-20", "20-30", "30-40", "40+"]


class Deviations:
    """The largest deviation of each kind, and where it is."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[float, str]] = {}
        self.compared: Counter[str] = Counter()

    def add(self, kind: str, ours: float | None, theirs: float | None, where: str, scale: float = 1.0) -> None:
        self.compared[kind] += 1
        if ours is None or theirs is None:
            deviation = 0.0 if ours is theirs else math.inf
        else:
            deviation = abs(ours - theirs) / scale
        if kind not in self.found or not deviation <= self.found[kind][0]:
            self.found[kind] = (deviation, where)

    def report(self) -> dict[str, Any]:
        return {
            kind: {"largest": value, "allowed": ALLOWED[kind], "compared": self.compared[kind], "where": where}
            for kind, (value, where) in sorted(self.found.items())
        }

    def is_right(self) -> bool:
        return all(value <= ALLOWED[kind] for kind, (value, _) in self.found.items())


# --- texts -----------------------------------------------------------------------------------------------------------

ACCENTS = {
    **dict.fromkeys("àáâãäåāăą", "a"), **dict.fromkeys("çćč", "c"), **dict.fromkeys("ďđ", "d"),
    **dict.fromkeys("èéêëēęě", "e"), **dict.fromkeys("ìíîïīı", "i"), "ł": "l", **dict.fromkeys("ñńň", "n"),
    **dict.fromkeys("òóôõöøōő", "o"), "œ": "oe", "æ": "ae", "ř": "r", **dict.fromkeys("śšş", "s"), "ß": "ss",
    **dict.fromkeys("ťţ", "t"), **dict.fromkeys("ùúûüūůű", "u"), **dict.fromkeys("ýÿ", "y"),
    **dict.fromkeys("źżž", "z"), "'": "", "’": "",
}  # fmt: skip


def fold(word: str) -> str:
    return "".join(ACCENTS.get(c, "" if "\u0300" <= c <= "\u036f" else c) for c in word.lower())


def words(text: str) -> list[str]:
    """Runs of letters and digits, apostrophes inside them, and `&`; folded."""
    found, run = [], ""
    for at, c in enumerate(text + " "):
        after = text[at + 1 : at + 2]
        if c.isalnum() or (c in "'’" and run and after.isalpha()):
            run += c
        elif run:
            found.append(fold(run))
            run = ""
        if c == "&":
            found.append("&")
    return found


def phrase_keys(rewrite: dict[str, Any]) -> list[str]:
    return [" ".join(words(phrase)) for phrase in rewrite["added_phrases"]]


def vendi(texts: list[list[str]]) -> float:
    counts = [Counter([(a,) for a in text] + list(pairwise(text))) for text in texts]
    norms = [math.sqrt(sum(c * c for c in of.values())) for of in counts]

    def similarity(i: int, j: int) -> float:
        if i == j or (not counts[i] and not counts[j]):
            return 1.0
        if not counts[i] or not counts[j]:
            return 0.0
        return sum(c * counts[j][gram] for gram, c in counts[i].items()) / norms[i] / norms[j]

    n = len(texts)
    kernel = np.array([[similarity(i, j) for j in range(n)] for i in range(n)]) / n
    eigenvalues = np.linalg.eigvalsh(kernel)
    eigenvalues = eigenvalues[eigenvalues > 1e-15]
    return float(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))


def grouped(rows: list[list[Any]], targets: list[Any]) -> list[list[list[Any]]]:
    groups: dict[Any, list[list[Any]]] = {}
    for row, target in zip(rows, targets, strict=True):
        groups.setdefault(target, []).append(row)
    return list(groups.values())


def commonness(rows: list[list[str]], targets: list[Any]) -> tuple[float, np.ndarray]:
    """The mean share of rewrites that have an added phrase too, and the same without each target, from the start each time."""
    sets = [set(row) for row in rows]
    counts = Counter(phrase for of in sets for phrase in of)

    def mean(left_out: list[int]) -> float:
        gone = Counter(phrase for row in left_out for phrase in sets[row])
        n, out = len(sets) - len(left_out), set(left_out)
        # Only rewrites that share a phrase with what is left out change.
        touched = {row for phrase in gone for row in having[phrase]} - out
        total = whole_sum - sum(means[row] for row in touched | out if sets[row])
        total += sum(sum(counts[p] - gone[p] for p in sets[row]) / len(sets[row]) for row in touched)
        adding = sum(1 for of in sets if of) - sum(1 for row in left_out if sets[row])
        return total / max(adding, 1) / max(n, 1)

    having: dict[str, list[int]] = {}
    for row, of in enumerate(sets):
        for phrase in of:
            having.setdefault(phrase, []).append(row)
    means = {row: sum(counts[p] for p in of) / len(of) for row, of in enumerate(sets) if of}
    whole_sum = sum(means.values())
    members = grouped([[row] for row in range(len(rows))], targets)
    without = np.array([mean([row for (row,) in group]) for group in members])
    return mean([]), without


def distinct(rows: list[list[Any]], targets: list[Any], n: int) -> tuple[float, np.ndarray]:
    """Distinct over all n-grams, and the same without each target."""

    def share(rows: list[list[Any]]) -> float:
        grams = [tuple(row[at : at + n]) for row in rows for at in range(len(row) - n + 1)]
        return len(set(grams)) / max(len(grams), 1)

    total = Counter(tuple(row[at : at + n]) for row in rows for at in range(len(row) - n + 1))
    without = []
    for group in grouped(rows, targets):
        own = Counter(tuple(row[at : at + n]) for row in group for at in range(len(row) - n + 1))
        left = sum(total.values()) - sum(own.values())
        kinds = len(total) - sum(1 for gram, count in own.items() if count == total[gram])
        without.append(kinds / max(left, 1))
    return share(rows), np.array(without)


# --- statistics ------------------------------------------------------------------------------------------------------


def jackknife(whole: float, without: np.ndarray) -> tuple[float, float] | None:
    n = len(without)
    if n < 2:
        return None
    error = math.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return whole - 1.959963984540054 * error, whole + 1.959963984540054 * error


def wilson(successes: float, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def paired_few(differences: np.ndarray, size: float) -> tuple[float, float]:
    """Agresti and Min 2005: half a pair more in each cell of the table of two flags, of another size."""
    n = len(differences) + 2
    middle = differences.sum() / n
    half = 1.959963984540054 * math.sqrt(max(((differences**2).sum() + size**2) / n - middle**2, 0.0) / n)
    return middle - half, middle + half


def sums_by(targets: list[Any], values: np.ndarray) -> np.ndarray:
    order = {target: place for place, target in enumerate(dict.fromkeys(targets))}
    sums = np.zeros(len(order))
    np.add.at(sums, [order[target] for target in targets], values)
    return sums


def spread(targets: list[Any], values: np.ndarray) -> np.ndarray:
    """A number a target: their mean is the values', their variance that of a mean of clusters."""
    if len(set(targets)) == len(values):
        return values
    sums = sums_by(targets, values - values.mean())
    return values.mean() + sums * len(sums) / len(values)


def few_are_not(values: list[float], common: float) -> bool:
    others = sum(value != common for value in values)
    return others < 20 and 2 * others < len(values)


def studentised(values: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[float, float] | None:
    """The studentised bootstrap interval of a mean; none where resamples of equal values spoil it."""
    n, mean = len(values), values.mean()
    error = values.std() / math.sqrt(n)
    if error == 0:
        return mean, mean
    chunk = max(1, 50_000_000 // n)
    means, errors = np.empty(resamples), np.empty(resamples)
    for start in range(0, resamples, chunk):
        part = slice(start, min(start + chunk, resamples))
        resampled = values[rng.integers(0, n, (part.stop - start, n), dtype=np.int32)]
        means[part], errors[part] = resampled.mean(axis=1), resampled.std(axis=1) / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(means == mean, 0.0, (means - mean) / errors)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return (mean - high * error, mean - low * error) if np.isfinite([low, high]).all() else None


def sign_flip(differences: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[float, bool]:
    """The p-value, and whether it is exact."""
    magnitudes = np.abs(differences[differences != 0])
    total = abs(differences.sum())
    threshold = total - 1e-12 * magnitudes.sum()
    if len(magnitudes) == 0:
        return 1.0, True
    if len(magnitudes) <= 20:
        sums = np.zeros(1)
        for magnitude in magnitudes:
            sums = np.concatenate([sums + magnitude, sums - magnitude])
        return float((np.abs(sums) >= threshold).mean()), True
    chunk, as_far = max(1, 50_000_000 // len(magnitudes)), 0
    for start in range(0, resamples, chunk):
        signs = rng.integers(0, 2, (min(chunk, resamples - start), len(magnitudes)), dtype=np.int8) * 2 - 1
        as_far += int((np.abs(signs @ magnitudes) >= threshold).sum())
    return (as_far + 1) / (resamples + 1), False


def holm(p: list[float]) -> list[float]:
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, worst = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = worst
    return adjusted


# --- the report ------------------------------------------------------------------------------------------------------


def target(row: dict[str, Any]) -> tuple[str, int]:
    """What counts as one: what was made of one human prompt, or the input itself."""
    return row["set"], row.get("target", row["index"])


def difference(a: float, b: float) -> float:
    """0 where two values differ by rounding alone."""
    return 0.0 if abs(a - b) <= 1e-12 * max(abs(a), abs(b)) else a - b


class Check:
    def __init__(self, run: Path, resamples: int) -> None:
        self.run, self.resamples = run, resamples
        self.report = json.loads((run / "report.json").read_text())
        lines = (run / "rows.jsonl").read_text().splitlines()
        self.rows = [json.loads(line) for line in lines]
        self.deviations = Deviations()
        self.rng = np.random.default_rng(0)
        self.measures = {of["key"]: of for of in self.report["measures"]}
        self.by_system: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            self.by_system[row["system"]].append(row)

    def rows_of(self, set_name: str, system: str) -> list[dict[str, Any]]:
        report = next(of for of in self.report["sets"] if of["name"] == set_name)
        kind = report.get("source_kind")
        rows = [row for row in self.by_system[system] if row["set"] in report["of"]]
        return [row for row in rows if kind is None or row.get("source_kind") == kind]

    def lacks(self, row: dict[str, Any], measure: dict[str, Any]) -> bool:
        failed = {key for rewrite in row["rewrites"] for key in rewrite.get("failures", {})}
        is_image = measure["family"] == "image" and "images" in failed
        return "missing" in row or measure["key"] in failed or is_image

    def values(self) -> None:
        """Rows' values from their rewrites', and what rewrites' texts say of themselves."""
        for row in self.rows:
            each = [rewrite["values"] for rewrite in row["rewrites"]]
            shared = set.intersection(*(set(of) for of in each)) if each and "missing" not in row else set()
            self.deviations.add("counts", len(shared), len(row["values"]), row["row_id"])
            for key in shared:
                mean = sum(of[key] for of in each) / len(each)
                self.deviations.add("means", mean, row["values"].get(key), f"{row['row_id']} {key}")
            for rewrite in row["rewrites"]:
                found, where = rewrite["values"], row["row_id"]
                self.deviations.add("counts", len(rewrite["added_phrases"]), found["added_phrases"], where)
                self.deviations.add("counts", len(words(rewrite["added_text"])), found["added_words"], where)
                self.deviations.add("counts", float("flaw" in rewrite), found["degenerate"], where)
                self.deviations.add("counts", float("unsafe_rule" in rewrite), found["unsafe"], where)
                same = rewrite["adapted_prompt"].strip() == row["user_input"].strip()
                self.deviations.add("counts", float(same), found["unchanged"], where)

    def candidates(self) -> None:
        """Vendi scores of candidates that open with the input, whose additions are what follows it."""
        for row in self.rows:
            for rewrite in row["rewrites"]:
                texts = rewrite.get("candidates", [])
                start = row["user_input"].strip()
                if texts and all(text.strip().startswith(start) for text in texts):
                    added = [words(text.strip()[len(start) :]) for text in texts]
                    self.deviations.add("vendi", vendi(added), rewrite["values"].get("vendi"), row["row_id"])

    def ends(self, kind: str, ours: tuple[float, float] | None, interval: dict[str, Any], where: str) -> None:
        if ours is None:
            return
        half = max((interval["high"] - interval["low"]) / 2, 1e-12)
        scale = half if kind == "bootstrap_ends" else 1.0
        self.deviations.add(kind, ours[0], interval["low"], where, scale)
        self.deviations.add(kind, ours[1], interval["high"], where, scale)

    def mean(
        self,
        sample: list[tuple[float, Any]],
        measure: dict[str, Any],
        interval: Any,
        where: str,
        *,
        is_difference: bool = False,
    ) -> None:
        values, targets = [value for value, _ in sample], [target for _, target in sample]
        self.deviations.add("counts", len(values), interval["n"] if interval else 0, where)
        if not values:
            self.deviations.add("counts", 0, 0 if interval is None else 1, where)
            return
        array = np.array(values)
        self.deviations.add("means", float(array.mean()), interval["mean"], where)
        is_share = measure["unit"] == "share"
        is_flag = set(values) <= ({-1.0, 0.0, 1.0} if is_difference else {0.0, 1.0})
        by_target = spread(targets, array)
        if is_difference and ((is_share and is_flag) or few_are_not(values, 0.0)):
            largest = float(np.abs(array).max())
            low, high = paired_few(by_target, 1.0 if is_share and largest == 0 else largest)
            ends = (max(low, -1.0), min(high, 1.0)) if is_share else (low, high)
            mean = float(array.mean())
            self.ends("paired_few", (min(ends[0], mean), max(ends[1], mean)), interval, where)
        elif is_share and not is_difference and (is_flag or few_are_not(values, 0.0) or few_are_not(values, 1.0)):
            n = len(by_target)
            total = float(array.sum()) if n == len(array) else float(array.mean()) * n
            self.ends("wilson", wilson(total, n), interval, where)
        elif len(by_target) - Counter(by_target).most_common(1)[0][1] >= 10:
            # Where fewer values stand out, ends jump with the draws.
            self.ends("bootstrap_ends", studentised(by_target, self.resamples, self.rng), interval, where)

    def left_out(self, measure: str, rows: list[dict[str, Any]]) -> tuple[float, np.ndarray] | None:
        models = min((len(row["rewrites"]) for row in rows), default=0)
        found = []
        for model in range(models):
            rewrites = [row["rewrites"][model] for row in rows]
            targets = [target(row) for row in rows]
            if measure == "commonness":
                found.append(commonness([phrase_keys(of) for of in rewrites], targets))
            elif measure == "distinct_phrases":
                found.append(distinct([phrase_keys(of) for of in rewrites], targets, 1))
            else:
                texts = [words(of["added_text"]) for of in rewrites]
                found.append(distinct(texts, targets, int(measure[-1])))
        if not found or any(of[0] == 0 for of in found):
            return None
        return float(np.mean([of[0] for of in found])), np.mean([of[1] for of in found], axis=0)

    def cells(self) -> None:
        for cell in self.report["cells"]:
            where = f"{cell['set']} {cell['measure']} {cell['system']}"
            measure = self.measures[cell["measure"]]
            rows = self.rows_of(cell["set"], cell["system"])
            if measure["level"] == "set":
                whole = [row for row in rows if "missing" not in row]
                found = self.left_out(cell["measure"], whole)
                self.deviations.add("counts", len(whole) if found else 0, cell["n"], where)
                if found and cell["interval"]:
                    self.deviations.add("means", found[0], cell["interval"]["mean"], where)
                    self.ends("jackknife", jackknife(*found), cell["interval"], where)
                continue
            sample = [(row["values"][measure["key"]], target(row)) for row in rows if measure["key"] in row["values"]]
            values = [value for value, _ in sample]
            missing = sum(self.lacks(row, measure) for row in rows)
            self.deviations.add("counts", missing, cell["missing"], where)
            self.deviations.add("counts", len(rows) - missing - len(values), cell["undefined"], where)
            self.deviations.add("counts", len(values), cell["n"], where)
            self.mean(sample, measure, cell["interval"], where)
            for model, mean in enumerate(cell.get("by_model", [])):
                of = [row for row in rows if measure["key"] in row["values"]]
                ours = np.mean([row["rewrites"][model]["values"][measure["key"]] for row in of])
                self.deviations.add("means", float(ours), mean, where)
            if "distribution" in cell:
                self.distribution(values, cell["distribution"], where)

    def distribution(self, values: list[float], found: dict[str, Any], where: str) -> None:
        for ours, theirs in zip(np.quantile(values, np.arange(11) / 10), found["deciles"], strict=True):
            self.deviations.add("quantiles", float(ours), theirs, where)
        low, high, bins = found["low"], found["high"], len(found["counts"])
        counts = [0] * bins
        for value in values:
            share = (value - low) / (high - low) if high > low else 0.0
            counts[min(int(share * bins), bins - 1)] += 1
        for ours, theirs in zip(counts, found["counts"], strict=True):
            self.deviations.add("counts", ours, theirs, where)

    def pairs(self, set_name: str, system: str, against: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        others = {(row["set"], row["index"]): row for row in self.rows_of(set_name, against)}
        rows = self.rows_of(set_name, system)
        return [(row, others[key]) for row in rows if (key := (row["set"], row["index"])) in others]

    def comparisons(self) -> None:
        families = defaultdict(list)
        for of in self.report["comparisons"]:
            where = f"{of['set']} {of['measure']} {of['system']} against {of['against']}"
            measure = self.measures[of["measure"]]
            pairs = self.pairs(of["set"], of["system"], of["against"])
            if measure["level"] == "set":
                both = [(a, b) for a, b in pairs if "missing" not in a and "missing" not in b]
                a = self.left_out(of["measure"], [pair[0] for pair in both])
                b = self.left_out(of["measure"], [pair[1] for pair in both])
                if a and b and of["difference"]:
                    self.deviations.add("differences", a[0] - b[0], of["difference"]["mean"], where)
                    self.ends("jackknife", jackknife(a[0] - b[0], a[1] - b[1]), of["difference"], where)
                continue
            key = measure["key"]
            both = [(a, b) for a, b in pairs if key in a["values"] and key in b["values"]]
            sample = [(difference(a["values"][key], b["values"][key]), target(a)) for a, b in both]
            differences = np.array([value for value, _ in sample])
            self.deviations.add("counts", len(differences), of["n"], where)
            self.mean(sample, measure, of["difference"], where, is_difference=True)
            sign = -1 if measure["better"] == "lower" else 1
            for name, count in [
                ("wins", (sign * differences > 0).sum()),
                ("ties", (differences == 0).sum()),
                ("losses", (sign * differences < 0).sum()),
            ]:
                self.deviations.add("counts", int(count), of["counts"][name], where)
            if len(differences):
                by_target = sums_by([target for _, target in sample], differences)
                p, is_exact = sign_flip(by_target, self.resamples, self.rng)
                if is_exact:
                    self.deviations.add("exact_p", p, of["p"], where)
                else:
                    draws = min(self.resamples, self.report["config"]["permutations"])
                    error = math.sqrt(max(p * (1 - p), 1 / draws) / draws) * math.sqrt(2)
                    self.deviations.add("drawn_p", p, of["p"], where, error)
            if of["p"] is not None:
                families[of["family"]].append(of)
        for family in self.report["families"]:
            members = families.pop(family["name"])
            self.deviations.add("counts", len(members), family["comparisons"], family["name"])
            for of, adjusted in zip(members, holm([of["p"] for of in members]), strict=True):
                self.deviations.add("holm", adjusted, of["p_adjusted"], family["name"])
                significant = adjusted < 0.05
                better = self.measures[of["measure"]]["better"]
                up = (of["difference"]["mean"] > 0) == (better == "higher")
                verdict = "different" if better == "neither" else "better" if up else "worse"
                expected = verdict if significant else "unclear"
                self.deviations.add("counts", float(expected == of["verdict"]), 1.0, f"verdict {of}")
        self.deviations.add("counts", len(families), 0, "comparisons of no family")

    def breakdowns(self) -> None:
        baseline = self.report["baseline"]
        for of in self.report["breakdowns"]:
            where = f"{of['set']} {of['measure']} {of['system']} {of['by']} {of['part']}"
            key = of["measure"]

            def is_in(row: dict[str, Any], of: dict[str, Any] = of) -> bool:
                if of["by"] == "category":
                    return row.get("category") == of["part"]
                return LENGTHS[min(row["input_tokens"] // 10, 4)] == of["part"]

            rows = [row for row in self.rows_of(of["set"], of["system"]) if is_in(row)]
            sample = [(row["values"][key], target(row)) for row in rows if key in row["values"]]
            self.mean(sample, self.measures[key], of["interval"], where)
            self.deviations.add("counts", sum(key in row["values"] for row in rows), of["n"], where)
            members = next(each for each in self.report["sets"] if each["name"] == of["set"])
            is_compared = of["system"] != baseline and len(self.rows_of(of["set"], baseline)) == members["n"]
            self.deviations.add("counts", float(is_compared or of.get("difference") is None), 1.0, where)
            if is_compared:
                pairs = [pair for pair in self.pairs(of["set"], of["system"], baseline) if is_in(pair[0])]
                sample = [
                    (difference(a["values"][key], b["values"][key]), target(a))
                    for a, b in pairs
                    if key in a["values"] and key in b["values"]
                ]
                self.mean(sample, self.measures[key], of["difference"], where, is_difference=True)

    def additions(self) -> None:
        for of in self.report["additions"]:
            where = f"{of['set']} {of['system']}"
            rewrites = [rewrite for row in self.rows_of(of["set"], of["system"]) for rewrite in row["rewrites"]]
            self.deviations.add("counts", len(rewrites), of["rewrites"], where)
            counts = Counter(key for rewrite in rewrites for key in set(phrase_keys(rewrite)))
            expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
            found = [(common["text"], common["count"]) for common in of["commonest_phrases"]]
            self.deviations.add("counts", float(expected == found), 1.0, where)
            for model, n in enumerate(of["distinct_phrases"]):
                keys = {key for rewrite in rewrites if rewrite["model"] == model for key in phrase_keys(rewrite)}
                self.deviations.add("counts", len(keys), n, where)
            flaws = Counter(rewrite["flaw"] for rewrite in rewrites if "flaw" in rewrite)
            self.deviations.add("counts", float(dict(flaws) == of["flaws"]), 1.0, where)

    def sets(self) -> None:
        for of in self.report["sets"]:
            inputs = {(row["set"], row["index"]): row for system in self.by_system for row in self.rows_of(of["name"], system)}
            self.deviations.add("counts", len(inputs), of["n"], of["name"])
            self.deviations.add("counts", len({target(row) for row in inputs.values()}), of["targets"], of["name"])
            lengths = Counter(LENGTHS[min(row["input_tokens"] // 10, 4)] for row in inputs.values())
            for length in of["lengths"]:
                self.deviations.add("counts", lengths[length["name"]], length["n"], of["name"])

    def tokens(self, folder: Path) -> None:
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(folder)

        def count(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])

        for row in self.rows:
            self.deviations.add("tokens", count(row["user_input"].strip()), row["input_tokens"], row["row_id"])
            for rewrite in row["rewrites"]:
                self.deviations.add("tokens", count(rewrite["adapted_prompt"]), rewrite["values"]["tokens"], row["row_id"])

    def images(self, clip: Path, head: Path | None, pick_score: Path | None) -> None:
        root = self.run / self.report["images"]["root"]
        judge = Clip(clip)
        weight, bias = linear_head(head) if head else (None, None)
        picker = Clip(pick_score) if pick_score else None
        for row in self.rows:
            for rewrite in row["rewrites"]:
                images, where = rewrite.get("images"), row["row_id"]
                if images is None:
                    continue
                seen = {whose: [judge.image(root / path) for path in images[whose]] for whose in ("adapted", "user_input")}
                text = judge.text(row["user_input"])
                cosines = [float(text @ image) for image in seen["adapted"]]
                self.each("clip_cosine", cosines, images["clip_cosine"], where)
                if weight is not None:
                    scores = {whose: [float(weight @ image + bias) for image in of] for whose, of in seen.items()}
                    self.each("aesthetic", scores["adapted"], images["aesthetic"], where)
                    self.each("aesthetic", scores["user_input"], images["aesthetic_baseline"], where)
                    self.reward(images, rewrite["values"], where)
                if picker:
                    text = picker.text(row["user_input"])
                    for whose, key in [("adapted", "pick_score"), ("user_input", "pick_score_baseline")]:
                        found = [picker.scale * float(text @ picker.image(root / path)) for path in images[whose]]
                        self.each("pick_score", found, images[key], where)

    def reward(self, images: dict[str, Any], values: dict[str, float], where: str) -> None:
        """The paper's formula on the recorded scores of each image."""
        relevance = np.mean([min(20 * max(cosine, 0) - 5.6, 0) for cosine in images["clip_cosine"]])
        gain = np.mean(images["aesthetic"]) - np.mean(images["aesthetic_baseline"])
        for key, ours in [
            ("relevance", relevance),
            ("aesthetic_gain", gain),
            ("image_reward", gain + relevance),
            ("aesthetic", np.mean(images["aesthetic"])),
            ("clip_cosine", np.mean(images["clip_cosine"])),
        ]:
            self.deviations.add("reward", float(ours), values[key], f"{where} {key}")
        if "pick_score" in images:
            ours = np.mean(images["pick_score"]) - np.mean(images["pick_score_baseline"])
            self.deviations.add("reward", float(ours), values["pick_score_gain"], where)

    def each(self, kind: str, ours: list[float], theirs: list[float], where: str) -> None:
        self.deviations.add("counts", len(ours), len(theirs), where)
        for a, b in zip(ours, theirs, strict=False):
            self.deviations.add(kind, a, b, where)


class Clip:
    """transformers' CLIP: features of length 1."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoProcessor, CLIPModel

        torch.set_num_threads(1)
        self.torch = torch
        self.model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.scale = float(self.model.logit_scale.exp())
        self.seen: dict[Path, np.ndarray] = {}

    def image(self, path: Path) -> np.ndarray:
        from PIL import Image

        if path not in self.seen:
            pixels = self.processor(images=Image.open(path).convert("RGB"), return_tensors="pt")
            with self.torch.no_grad():
                self.seen[path] = self.unit(self.model.get_image_features(**pixels))
        return self.seen[path]

    def text(self, text: str) -> np.ndarray:
        tokens = self.processor(text=[text], return_tensors="pt", truncation=True, max_length=77)
        with self.torch.no_grad():
            return self.unit(self.model.get_text_features(**tokens))

    def unit(self, features: Any) -> np.ndarray:
        features = getattr(features, "pooler_output", features)
        features = features[0].double().numpy()
        return features / np.linalg.norm(features)


def linear_head(path: Path) -> tuple[np.ndarray, float]:
    """A chain of linear layers as one."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    layers = sorted({name.rsplit(".", 1)[0] for name in state}, key=lambda name: int(name.split(".")[-1]))
    weight, bias = None, None
    for layer in layers:
        w, b = (state[f"{layer}.{part}"].double().numpy() for part in ("weight", "bias"))
        weight, bias = (w, b) if weight is None else (w @ weight, w @ bias + b)
    assert weight is not None and bias is not None
    return weight[0], float(bias[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--head", type=Path)
    parser.add_argument("--pick-score", type=Path)
    parser.add_argument("--clip-tokens", type=Path)
    parser.add_argument("--resamples", type=int, default=20_000, help="fewer for tens of thousands of inputs")
    args = parser.parse_args()
    check = Check(args.run, args.resamples)
    check.sets()
    check.values()
    check.candidates()
    check.cells()
    check.comparisons()
    check.breakdowns()
    check.additions()
    if args.clip_tokens:
        check.tokens(args.clip_tokens)
    if args.clip:
        check.images(args.clip, args.head, args.pick_score)
    print(json.dumps(check.deviations.report(), indent=1))
    if not check.deviations.is_right():
        sys.exit("a number differs")


if __name__ == "__main__":
    main()
