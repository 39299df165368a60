"""What control over an answer costs: `promptist adapt` with each feature beside the same search without.

    python bench/control.py --out CONTROL.json [--program target/release/promptist] [--model DIR]

Every feature is timed in rounds against plain beam search (8 beams, 48 new tokens), one process each, whole
runs of the same inputs on the same two cores, the order moving on by one each round; a run that adds nothing
(`--strength 0`) is taken off both. Needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from alternation import machine  # noqa: E402

T5 = Path(__file__).resolve().parents[1] / "crates/promptist/tests/golden/target_tokens/t5"
WORDS = """castle river old tall glass paper mountain night street lamp garden stone bright fog winter boat quiet
    red blue silver wooden iron small vast open broken golden empty narrow sunny""".split()
REGEXES = [r"\b\d+k\b", r"art(ist|station)", r"(hyper|ultra)[- ]?real", r"\bby [a-z]+ [a-z]+ jr", r"[xyz]{3}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a .json; the table goes beside it")
    parser.add_argument("--program", default="target/release/promptist")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--inputs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", default="0,1")
    arguments = parser.parse_args()
    draws = random.Random(6)
    inputs = [f"a {' '.join(draws.sample(WORDS, 5))}" for _ in range(arguments.inputs)]
    with tempfile.TemporaryDirectory() as folder:
        plain, syntax = Path(folder) / "inputs.txt", Path(folder) / "syntax.txt"
        plain.write_text("\n".join(inputs) + "\n")
        syntax.write_text("\n".join(f"({text}:1.2) <lora:x:0.8> --ar 16:9" for text in inputs) + "\n")
        phrases = Path(folder) / "phrases.txt"
        phrases.write_text("".join(f"{' '.join(draws.sample(WORDS, 2))}\n" for _ in range(200)))
        regexes = Path(folder) / "regexes.txt"
        regexes.write_text("".join(f"/{regex}{'.' * n}/\n" for n in range(4) for regex in REGEXES))
        run(arguments, plain, features(syntax, phrases, regexes))


def features(syntax: Path, phrases: Path, regexes: Path) -> dict[str, tuple[list[str], list[str], Path | None]]:
    """Name: flags, flags of what it is compared with, inputs of its own."""
    beams = ["--num-beams", "8"]
    draw = ["--sample", "-n", "8"]
    must = ["soft light", "oil on canvas", "golden hour", "35mm film"]
    musts = [["--must-include", phrase] for phrase in must]
    return {
        "prompt syntax, --keep words": ([*beams, "--keep", "words"], beams, syntax),
        "a ban": ([*beams, "--ban", "artstation"], beams, None),
        "200 phrases": ([*beams, "--ban-file", str(phrases)], beams, None),
        "@artists (1,500 names)": ([*beams, "--ban", "@artists"], beams, None),
        "@quality-words": ([*beams, "--ban", "@quality-words"], beams, None),
        "20 regexes": ([*beams, "--ban-file", str(regexes)], beams, None),
        "a must": ([*beams, *musts[0]], beams, None),
        "4 musts": ([*beams, *(flag for flags in musts for flag in flags)], beams, None),
        "budget, sd15": ([*beams, "--budget", "75"], beams, None),
        "budget, sdxl": ([*beams, "--target", "sdxl"], beams, None),
        "budget, T5": ([*beams, "--target", str(T5), "--budget", "150"], beams, None),
        "all of them": (
            [*beams, "--ban", "@artists", *musts[0], *musts[1], "--target", "sdxl", "--keep", "words"],
            beams,
            syntax,
        ),
        "diverse beams, a ban and a must": (
            [*beams, "--num-beam-groups", "4", "--diversity-penalty", "1", "--ban", "artstation", *musts[0]],
            [*beams, "--num-beam-groups", "4", "--diversity-penalty", "1"],
            None,
        ),
        "sampling 8, a ban and a must": ([*draw, "--ban", "artstation", *musts[0]], draw, None),
        "8 seeds": (["--sample", "--seeds", "0..8"], draw, None),
        "8 variants, distance 0.5": ([*draw, "--min-distance", "0.5"], draw, None),
        "--explain": ([*beams, "--explain"], beams, None),
    }


def run(arguments: argparse.Namespace, plain: Path, all_features: dict) -> None:
    seconds: dict[str, list[float]] = {}

    tokens_of: dict[str, float] = {}

    def timed(flags: list[str], inputs: Path) -> float:
        tokens = ["--max-new-tokens", "48"] if "--max-new-tokens" not in flags else []
        command = ["taskset", "-c", arguments.cores, arguments.program, "adapt", "--model", arguments.model]
        command += ["--input", inputs, "--json", "--threads", "2", *tokens, *flags]
        started = time.perf_counter()
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        elapsed = time.perf_counter() - started
        if done.returncode not in (0, 1):
            raise ChildProcessError(done.stderr)
        tokens_of[" ".join(flags)] = mean_tokens(done.stdout)
        return elapsed

    cases = list(all_features.items())
    baseline: dict[str, list[float]] = {}
    start: list[float] = []
    for round_idx in range(-1, arguments.rounds):
        first = max(round_idx, 0) % len(cases)
        nothing = timed(["--strength", "0"], plain)
        for name, (flags, without, own) in cases[first:] + cases[:first]:
            pair = [timed(flags, own or plain), timed(without, plain)]
            if round_idx >= 0:
                seconds.setdefault(name, []).append(pair[0])
                baseline.setdefault(name, []).append(pair[1])
        if round_idx >= 0:
            start.append(nothing)
    base = median(start)
    about = machine()
    lines = [
        f"{about['cpu']}, {about['cores']} cores. {arguments.inputs} inputs, {arguments.rounds} rounds, "
        f"model {Path(arguments.model).name}. Start: {base:.3f} s, taken off.",
        "",
        "| | seconds | without | ratio, median (least-most) | tokens an answer | without | ratio a token |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in all_features:
        ratios = [(a - base) / (b - base) for a, b in zip(seconds[name], baseline[name], strict=True)]
        of = (median(seconds[name]) - base, median(baseline[name]) - base)
        flags, without, _ = all_features[name]
        longer, shorter = (tokens_of[" ".join(of_flags)] for of_flags in (flags, without))
        lines.append(
            f"| {name} | {of[0]:.2f} | {of[1]:.2f} | {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) "
            f"| {longer:.0f} | {shorter:.0f} | {median(ratios) * shorter / longer:.2f} |"
        )
    arguments.out.write_text(json.dumps({"about": about, "start": start, "with": seconds, "without": baseline}) + "\n")
    arguments.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def mean_tokens(answers: str) -> float:
    """How many tokens the model wrote an answer."""
    counts = [len(output["token_ids"]) for line in answers.splitlines() for output in json.loads(line)["outputs"]]
    return sum(counts) / len(counts)


if __name__ == "__main__":
    main()
