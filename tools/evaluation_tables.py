"""The tables of EVALUATION.md, from an evaluation's report.json.

    python tools/evaluation_tables.py RUN

A table a measure: sets down, systems across; the last column is what the second stage changed, input by
input. Python's standard library alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

POOLS = ["all", "in-domain", "out-of-domain"]
SYSTEMS = {
    "input": "user input",
    "human": "human",
    "before_sft": "before SFT",
    "sft": "mini",
    "sft_unguided": "SFT",
    "ppo": "PPO",
}
BEFORE, AFTER = "sft_unguided", "ppo"
TABLES = {
    "Text": [
        "content_kept",
        "all_content_kept",
        "degenerate",
        "three_modifiers",
        "added_phrases",
        "tokens",
        "over_target",
        "artist",
        "distinct_phrases",
    ],
    "Rewards that read text and see no picture": ["reward_text", "reward_text_held_out"],
    "Judges that no reward is made of": ["human_bits_per_byte", "foretold_quality", "commonness"],
}
DIGITS = {"share": 1, "count": 2, "tokens": 1}


def number(value: float, unit: str, *, sign: bool = False) -> str:
    digits = DIGITS.get(unit, 3)
    scaled = 100 * value if unit == "share" else value
    text = f"{scaled:+.{digits}f}" if sign else f"{scaled:.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text


def interval(found: dict[str, Any] | None, unit: str, n: int, *, sign: bool = False) -> str:
    if found is None:
        return "–"
    mean, low, high = (number(found[key], unit, sign=sign) for key in ("mean", "low", "high"))
    of = "" if found["n"] == n else f", n {found['n']}"
    return f"{mean} ({low} to {high}{of})"


def table(report: dict[str, Any], measure: dict[str, Any]) -> None:
    key, unit = measure["key"], measure["unit"]
    means = {(of["set"], of["system"]): of.get("interval") for of in report["cells"] if of["measure"] == key}
    changes = {
        of["set"]: of["difference"]
        for of in report["comparisons"]
        if (of["measure"], of["system"], of["against"]) == (key, AFTER, BEFORE)
    }
    sets = {of["name"]: of["n"] for of in report["sets"]}
    order = [name for name in POOLS if name in sets] + [name for name in sets if name not in POOLS]
    columns = [system for system in SYSTEMS if any(means.get((name, system)) for name in order)]

    better = {"higher": ", more is better", "lower": ", less is better"}.get(measure["better"], "")
    heading = measure["title"] + (", %" if unit == "share" else "")
    print(f"**{heading[0].upper()}{heading[1:]}**{better}. {measure['description']}\n")
    print(f"| set | n | {' | '.join(SYSTEMS[of] for of in columns)} | PPO − SFT |")
    print(f"|---|---|{'---|' * len(columns)}---|")
    for name in order:
        row = [interval(means.get((name, system)), unit, sets[name]) for system in columns]
        row.append(interval(changes.get(name), unit, sets[name], sign=True))
        print(f"| {name} | {sets[name]} | {' | '.join(row)} |")
    print()


def main(run: Path) -> None:
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    measures = {measure["key"]: measure for measure in report["measures"]}
    for title, keys in TABLES.items():
        print(f"### {title}\n")
        for key in keys:
            if key in measures:
                table(report, measures[key])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
