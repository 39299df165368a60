"""What `adapt` promises about an answer, checked in the thousands from outside of the program.

    python tools/checks/control.py bans|musts|budgets|variants|replay --inputs FILE.txt --program promptist

Every check draws random requests from a seed, runs the program on inputs of FILE (a prompt a line; several
files may be given), and judges its answers with code that shares nothing with it:

- bans: lists of 1 to 200 phrases, categories and regexes, `check_rules.py`; with the score lost against the
  same search without rules;
- musts: 1 to 4 phrases, the same;
- budgets: counted by transformers' own tokenizers (`--clip DIR` with CLIP's `vocab.json` and `merges.txt`; T5
  from the small folder among the golden files);
- variants: distances counted anew;
- replay: records of other batches, threads and precisions are replayed.

Prints one JSON object. Only `budgets` needs a package: `tools/reference/requirements.txt`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "reference"))

import check_rules  # noqa: E402

T5 = ROOT / "crates/promptist/tests/golden/target_tokens/t5"
PER_REQUEST = 20
CATEGORIES = ["artists", "people", "clothing", "quality-words", "medium", "lighting", "websites", "camera"]
REGEXES = [
    r"\b\d+k\b",
    r"art(ist|station)",
    r"\bby [a-z]+ [a-z]+",
    r"(hyper|ultra|super)[- ]?(real|detail)",
    r"light(s|ing)?\b",
    r"[a-z]+ing",
    r"(concept|digital|fan) art",
    r"^.{0,12}unreal",
    r"(trending|featured) on \w+",
]
SEARCHES = [
    ["--sample"],
    ["--sample", "-n", "3", "--top-k", "40"],
    ["--num-beams", "8"],
    ["--num-beams", "4", "--num-beam-groups", "4", "--diversity-penalty", "1.0", "-n", "4"],
    ["--num-beams", "1", "--guidance", "1"],
    [],
]
MUSTS = """soft light|watercolor|bokeh|golden hour|35mm film|by the sea|vintage postcard|studio lighting|snow
    |oil on canvas|in the style of a woodcut|rim light|pastel colors|art deco|sunset|wide angle|film grain
    |a red umbrella|cherry blossoms|isometric""".replace("\n    ", "").split("|")


class Program:
    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = tempfile.TemporaryDirectory()
        self.count = 0

    def adapt(self, inputs: list[str], *flags: str) -> list[dict[str, Any]]:
        """The lines of `adapt --json`, errors among them."""
        self.count += 1
        path = Path(self.folder.name) / f"{self.count}-{random.random()}.txt"
        path.write_text("\n".join(inputs) + "\n")
        command = [self.path, "adapt", "--input", path, "--json", *flags]
        if "--batch-size" not in flags:
            command += ["--batch-size", "8"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        path.unlink()
        if done.returncode not in (0, 1) or not done.stdout:
            raise ChildProcessError(f"{flags}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("check", choices=["bans", "musts", "budgets", "variants", "replay"])
    parser.add_argument("--inputs", type=Path, nargs="+", required=True)
    parser.add_argument("--program", default="target/release/promptist")
    parser.add_argument("--count", type=int, default=1000, help="adaptations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--clip", type=Path, help="vocab.json and merges.txt of CLIP")
    arguments = parser.parse_args()
    lines = [line for path in arguments.inputs for line in path.read_text().splitlines()]
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    print(json.dumps(globals()[arguments.check](Program(arguments.program), lines, arguments), indent=1))


def campaign(arguments: argparse.Namespace, lines: list[str], per_request: int, one: Any) -> list[Any]:
    """`one(draws, inputs)` for as many requests as `--count` asks for, some at once."""
    starts = range(0, arguments.count, per_request)

    def run(start: int) -> Any:
        draws = random.Random(f"{arguments.check}-{arguments.seed}-{start}")
        return one(draws, draws.choices(lines, k=min(per_request, arguments.count - start)))

    with ThreadPoolExecutor(arguments.jobs) as pool:
        return list(pool.map(run, starts))


def common_phrases(program: Program, lines: list[str]) -> list[str]:
    """What the model adds most, so that bans bite."""
    counts: Counter[str] = Counter()
    for row in program.adapt(lines[:400], "--sample"):
        for output in row.get("outputs", []):
            counts.update(phrase.strip().lower() for phrase in output["text"].split(",")[1:])
    return [phrase for phrase, _ in counts.most_common(400) if re.search(r"\w", phrase)]


def bans(program: Program, lines: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    common = common_phrases(program, lines)

    def one(draws: random.Random, inputs: list[str]) -> dict[str, Any]:
        search = draws.choice(SEARCHES)
        entries = draws.sample(common, min(len(common), draws.choice([1, 3, 10, 30, 100, 200])))
        entries = [entry if draws.random() < 0.9 else f'"{entry}"' for entry in entries if '"' not in entry]
        entries += [f"@{name}" for name in draws.sample(CATEGORIES, draws.choice([0, 0, 1, 2]))]
        entries += [f"/{regex}/" for regex in draws.sample(REGEXES, draws.choice([0, 0, 1, 2]))]
        entries = entries or ["artstation"]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(entries) + "\n")
            file.flush()
            rows = program.adapt(inputs, *search, "--ban-file", file.name)
        free = program.adapt(inputs, *search)
        return judge(rows, free, entries, [], search)

    return summary(campaign(arguments, lines, PER_REQUEST, one))


def musts(program: Program, lines: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    common = common_phrases(program, lines)

    def one(draws: random.Random, inputs: list[str]) -> dict[str, Any]:
        search = draws.choice(SEARCHES)
        phrases = draws.sample(MUSTS, draws.randint(1, 4))
        entries = draws.sample(common, draws.choice([0, 0, 10]))
        entries = [e for e in entries if '"' not in e and not any(e in must or must in e for must in phrases)]
        entries = [e for e in entries if not set(e.split()) & {word for must in phrases for word in must.split()}]
        flags = [flag for must in phrases for flag in ("--must-include", must)]
        flags += [flag for entry in entries for flag in ("--ban", entry)]
        rows = program.adapt(inputs, *search, *flags)
        return judge(rows, program.adapt(inputs, *search), entries, phrases, search)

    return summary(campaign(arguments, lines, PER_REQUEST, one))


def judge(
    rows: list[dict], free: list[dict], entries: list[str], phrases: list[str], search: list[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {"answers": 0, "errors": [], "broken": [], "empty": [], "lost": [], "search": search}
    for row, without in zip(rows, free, strict=True):
        if "error" in row:
            if "error" not in without:
                found["errors"].append([row["user_input"], row["error"], entries[:5], phrases])
            continue
        for output in row["outputs"]:
            found["answers"] += 1
            text, own = output["text"], row["user_input"].strip()
            # The separator belongs to what was there before.
            context = text[: len(own) + 2] if text[len(own) : len(own) + 2] == ", " else text[: len(own) + 1]
            verdict = check_rules.check({"text": text, "context": context, "bans": entries, "musts": phrases})
            if broken := {key: value for key, value in verdict.items() if value}:
                found["broken"].append([text, broken])
            if text.strip(" ,.") == own.strip(" ,.") and without["outputs"][0]["text"].strip() != own:
                found["empty"].append([text, output["finish"], output.get("filtered"), entries[:8], search])
        if "outputs" in without:
            found["lost"].append(without["outputs"][0]["score"] - row["outputs"][0]["score"])
    return found


def summary(parts: list[dict[str, Any]]) -> dict[str, Any]:
    by_search = {}
    for search in {" ".join(part["search"]) for part in parts}:
        lost = [score for part in parts if " ".join(part["search"]) == search for score in part["lost"]]
        if len(lost) > 1:
            by_search[search or "(mini's own)"] = {
                "answers": sum(part["answers"] for part in parts if " ".join(part["search"]) == search),
                "score_lost_median": round(median(lost), 3),
                "score_lost_deciles": [round(q, 3) for q in (quantiles(lost, n=10)[0], quantiles(lost, n=10)[8])],
            }
    broken = [line for part in parts for line in part["broken"]]
    errors = [line for part in parts for line in part["errors"]]
    return {
        "answers": sum(part["answers"] for part in parts),
        "broken": len(broken),
        "empty": sum(len(part["empty"]) for part in parts),
        "rows_without_answer": len(errors),
        "searches": by_search,
        "first_broken": broken[:10],
        "first_empty": [line for part in parts for line in part["empty"]][:10],
        "first_errors": errors[:10],
    }


def budgets(program: Program, lines: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoTokenizer, CLIPTokenizer

    tokenizers = {
        "sd15": CLIPTokenizer(str(arguments.clip / "vocab.json"), str(arguments.clip / "merges.txt")),
        str(T5): AutoTokenizer.from_pretrained(T5),
    }

    def one(draws: random.Random, inputs: list[str]) -> list[Any]:
        target = draws.choice(list(tokenizers))
        budget = draws.choice([30, 40, 60, 75, 150])
        search = draws.choice(SEARCHES)
        flags = ["--target", target, "--budget", str(budget), *draws.choice([[], ["--no-filter"]])]
        if draws.random() < 0.3:
            flags += ["--must-include", draws.choice(MUSTS)]
        return [(target, budget, row) for row in program.adapt(inputs, *search, *flags)]

    found: dict[str, Any] = {"answers": 0, "over": [], "cut": [], "too_long_alone": 0, "use": [], "ended": Counter()}
    for target, budget, row in (row for part in campaign(arguments, lines, PER_REQUEST, one) for row in part):
        if "error" in row:
            assert "the input takes" in row["error"] or "context holds" in row["error"], row
            found["too_long_alone"] += 1
            continue
        for output in row["outputs"]:
            text = output["text"]
            found["answers"] += 1
            used = len(tokenizers[target](text, add_special_tokens=False)["input_ids"])
            if used > budget or used != output["rules"]["tokens"]["used"]:
                found["over"].append([text, used, budget, output["rules"]])
            found["ended"][output["finish"]] += 1
            if output["finish"] == "budget":
                found["use"].append(used / budget)
            # What the search generated ends behind a comma, or with what had to come, or by its own end.
            is_own = text == row["user_input"].strip()
            if output["finish"] != "eos" and not is_own and text.rstrip().endswith((",", " by", " of", " and", " the", "-")):
                found["cut"].append(text)
    use = found.pop("use")
    found["over"], found["cut"] = len(found["over"]), [len(found["cut"]), found["cut"][:5]]
    return {**found, "use_of_the_budget_median": round(median(use), 3) if use else None, "ended_by_budget": len(use)}


def variants(program: Program, lines: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    def words(text: str) -> list[str]:
        return [word.lower() for word in re.split(r"[\W_]+", text) if word]

    def added(own: str, text: str) -> set[str]:
        return set((Counter(words(text)) - Counter(words(own))).keys())

    def one(draws: random.Random, inputs: list[str]) -> list[Any]:
        least = draws.choice([0.2, 0.5, 0.7, 0.9])
        rows = program.adapt(inputs, "-n", "8", "--min-distance", str(least))
        return [(least, row) for row in rows]

    found: dict[str, Any] = {"inputs": 0, "answers": 0, "too_near": [], "fewer": Counter(), "fewer_not_said": 0}
    for least, row in (row for part in campaign(arguments, lines, PER_REQUEST, one) for row in part):
        if "error" in row:
            continue
        found["inputs"] += 1
        sets = [added(row["user_input"], output["text"]) for output in row["outputs"]]
        found["answers"] += len(sets)
        for at, a in enumerate(sets):
            for b in sets[:at]:
                distance = 1 - len(a & b) / len(a | b) if a | b else 0.0
                if distance < least - 1e-12:
                    found["too_near"].append([least, distance, row["user_input"]])
        if len(sets) < 8:
            found["fewer"][str(least)] += 1
        found["fewer_not_said"] += (len(sets) < 8) != ("asked" in row)
    return {**found, "too_near": [len(found["too_near"]), found["too_near"][:5]]}


def replay(program: Program, lines: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    def one(draws: random.Random, inputs: list[str]) -> list[Any]:
        flags = [
            *draws.choice(SEARCHES),
            *draws.choice([[], ["--ban", "@artists"], ["--must-include", "soft light"], ["--budget", "60"]]),
            *draws.choice([[], ["--vary-rows"]]),
            *["--threads", draws.choice("12"), "--precision", draws.choice(["f32", "bf16", "int8"])],
            *["--batch-size", draws.choice(["1", "3", "20"])],
        ]
        if "--num-beams" in flags and "--vary-rows" in flags:
            flags.remove("--vary-rows")
        rows = [row for row in program.adapt(inputs, *flags) if "error" not in row]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            command = [program.path, "replay", file.name, "--json", "--threads", draws.choice("12")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        return [(flags, json.loads(line)) for line in done.stdout.splitlines()]

    rows = [row for part in campaign(arguments, lines, PER_REQUEST, one) for row in part]
    differing = [row for row in rows if not row[1]["same"]]
    return {"replayed": len(rows), "the_same": len(rows) - len(differing), "first_differing": differing[:5]}


if __name__ == "__main__":
    main()
