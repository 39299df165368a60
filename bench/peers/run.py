"""Times peers and us in alternation, on the same cores and the same checkpoint, and writes the table.

    python bench/peers/run.py --checkpoint DIR --out RESULTS.json

Each tool lives in its own process (`workers.py`), pinned to the same cores with as many threads as cores.
A case is timed in rounds: every tool once, in an order that moves on by one each round, all on the same
prompts, other prompts in the next round. Nothing else should run; the load before the start is recorded.

Writes `RESULTS.json` with every sample and `RESULTS.md` with medians, spread and ratios. The bandwidth
is what the same cores read from memory before and after (`read_bandwidth.c`; with no compiler, numpy).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from alternation import Worker, about_run, turns

HERE = Path(__file__).parent
TOOLS = (
    "transformers:f32",
    "transformers:bf16",
    "ctranslate2:float32",
    "ctranslate2:int8",
    "llama.cpp:f32",
    "llama.cpp:bf16",
    "llama.cpp:q8_0",
    "promptist:f32",
    "promptist:bf16",
    "promptist:int8",
)
REFERENCE = "transformers:f32"  # whose answers the others are compared with
PACKAGES = ("torch", "transformers", "ctranslate2", "llama-cpp-python", "numpy")
BYTES_A_WEIGHT = {"f32": 4, "bf16": 2, "int8": 1}

# What issue 3 asks with 8 beams on two cores: ours, at most this share of each of theirs.
GOALS = (
    ("promptist:int8", 0.1, ("transformers:f32",)),
    ("promptist:int8", 0.25, ("ctranslate2:int8",)),
    ("promptist:bf16", 0.5, ("ctranslate2:float32", "ctranslate2:int8")),
    ("promptist:f32", 1.0, ("ctranslate2:float32",)),
)


@dataclass(frozen=True)
class Case:
    num_prompts: int
    num_beams: int
    max_new_tokens: int

    @property
    def title(self) -> str:
        beams = "greedy" if self.num_beams == 1 else f"{self.num_beams} beams"
        return beams if self.num_prompts == 1 else f"{self.num_prompts} at once, {beams}"

    def takes(self, tool: str) -> bool:
        return not tool.startswith("llama.cpp") or (self.num_beams == 1 and self.num_prompts == 1)


@dataclass(frozen=True)
class Sample:
    tool: str
    threads: int
    case: Case
    round: int
    seconds: float
    how: str
    same_as_reference: float | None


def main() -> None:
    arguments = parse_arguments()
    cases = [Case(1, beams, arguments.new_tokens) for beams in arguments.beams]
    if arguments.requests:
        cases.append(Case(arguments.requests, arguments.request_beams, arguments.new_tokens))
    results: dict[str, Any] = {
        **about_run("run.py", PACKAGES),
        "versions": versions(arguments.program),
        "weights_a_step": weights_a_step(arguments.checkpoint),
        "bandwidth": {},
        "skipped": {},
    }
    samples: list[Sample] = []
    for threads in arguments.threads:
        cores = arguments.cores[:threads]
        before = read_bandwidth(cores)
        workers = start_workers(cores, arguments, results["skipped"])
        for case in cases:
            samples += time_case(case, threads, workers, arguments, results["skipped"])
            write(arguments.out, results, samples)
        for worker in workers:
            worker.stop()
        results["bandwidth"][threads] = [before, read_bandwidth(cores)]
        write(arguments.out, results, samples)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a folder of make_checkpoint.py")
    parser.add_argument("--out", type=Path, required=True, help="a .json; the table goes beside it")
    parser.add_argument("--program", type=Path, default=Path("target/release/promptist"))
    parser.add_argument("--tools", nargs="+", default=TOOLS, metavar="TOOL:PRECISION", help=" ".join(TOOLS))
    parser.add_argument("--cores", type=lambda text: text.split(","), default=["0", "1"], metavar="0,1")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--beams", type=int, nargs="*", default=[8, 1, 4, 16])
    parser.add_argument("--requests", type=int, default=0, metavar="N", help="also N prompts at once")
    parser.add_argument("--request-beams", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--new-tokens", type=int, default=75)
    parser.add_argument("--verbose", action="store_true", help="show what the tools say")
    arguments = parser.parse_args()
    if max(arguments.threads) > len(arguments.cores):
        parser.error("more threads than cores")
    return arguments


def start_workers(cores: list[str], arguments: argparse.Namespace, skipped: dict[str, str]) -> list[Worker]:
    workers = []
    for tool in arguments.tools:
        try:
            command = [sys.executable, HERE / "workers.py", *tool.split(":"), "--threads", len(cores)]
            command += ["--checkpoint", arguments.checkpoint, "--program", arguments.program]
            workers.append(Worker(tool, command, cores, arguments.verbose))
        except ChildProcessError as error:
            skip(tool, str(error), skipped)
    return workers


def skip(tool: str, why: str, skipped: dict[str, str]) -> None:
    skipped[tool] = why
    print(f"{tool} is left out: {why}", file=sys.stderr)


def time_case(
    case: Case, threads: int, workers: list[Worker], arguments: argparse.Namespace, skipped: dict[str, str]
) -> list[Sample]:
    """Rounds of every tool that can do the case; a tool that fails leaves `workers`."""
    num_texts = len(json.loads((arguments.checkpoint / "prompts.json").read_text())["ids"])
    taking = [worker for worker in workers if case.takes(worker.tool)]
    samples = []
    for round_idx in range(-1, arguments.rounds):  # round -1 warms up
        prompts = [((round_idx + 1) * case.num_prompts + i) % num_texts for i in range(case.num_prompts)]
        request = {"prompts": prompts, "num_beams": case.num_beams, "max_new_tokens": case.max_new_tokens}
        answers = {}
        for worker in turns(taking, round_idx):
            try:
                answers[worker.tool] = worker.ask(**request)
            except ChildProcessError as error:
                skip(worker.tool, f"{case.title}, {threads} threads: {error}", skipped)
                workers.remove(worker)
        taking = [worker for worker in taking if worker in workers]
        if round_idx < 0:
            continue
        truth = answers.get(REFERENCE, {}).get("ids")
        for tool, answer in answers.items():
            same = None
            if truth is not None:
                pairs = zip(answer["ids"], truth, strict=True)
                same = sum(a == b for a, b in pairs) / len(truth)
            samples.append(Sample(tool, threads, case, round_idx, answer["seconds"], answer["how"], same))
        shown = ", ".join(f"{tool} {answer['seconds']:.3f}" for tool, answer in answers.items())
        print(f"{threads} threads, {case.title}, round {round_idx}: {shown}", file=sys.stderr, flush=True)
    return samples


def weights_a_step(checkpoint: Path) -> int:
    """Weights that a step reads whole: the products and the head, which is the token embedding."""
    config = json.loads((checkpoint / "hf" / "config.json").read_text())
    e = config["n_embd"]
    return 12 * config["n_layer"] * e * e + config["vocab_size"] * e


def read_bandwidth(cores: list[str]) -> float:
    """GB/s that these cores read together."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return read_bandwidth_of_numpy(cores)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "read_bandwidth"
        source = str(HERE / "read_bandwidth.c")
        subprocess.run([compiler, "-O3", "-march=native", "-pthread", source, "-o", str(program)], check=True)
        output = subprocess.run([program, ",".join(cores)], check=True, stdout=subprocess.PIPE, text=True)
    return float(output.stdout)


def read_bandwidth_of_numpy(cores: list[str]) -> float:
    code = (
        "import numpy, time; a = numpy.ones(1 << 26); times = []\n"
        "for _ in range(15): start = time.time(); a.max(); times.append(time.time() - start)\n"
        "print(a.nbytes / sorted(times)[7] * 1e-9)"
    )
    readers = [
        subprocess.Popen(
            ["taskset", "-c", core, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        for core in cores
    ]
    return sum(float(reader.communicate()[0]) for reader in readers)


def versions(program: Path) -> dict[str, str]:
    found = {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
    if program.is_file():
        said = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True)
        found["promptist"] = said.stdout.split()[-1]
    return found


def write(out: Path, results: dict[str, Any], samples: list[Sample]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    everything = {**results, "samples": [asdict(sample) for sample in samples]}
    out.write_text(json.dumps(everything, indent=1) + "\n")
    out.with_suffix(".md").write_text(report(results, samples))


def report(results: dict[str, Any], samples: list[Sample]) -> str:
    about, packages = results["machine"], results["versions"]
    lines = [
        f"{about['cpu']}, {about['cores']} cores ({', '.join(about['flags'])}), {about['system']}. "
        f"{results['started']}, load before {results['load_before']:.2f}.",
        ", ".join(f"{package} {number}" for package, number in packages.items()) + ".",
        "",
        f"`{' '.join(results['command'])}`",
        "",
    ]
    for threads in sorted({sample.threads for sample in samples}, reverse=True):
        lines += tables([sample for sample in samples if sample.threads == threads], threads, results)
    lines += [f"Left out: {tool}: {why}." for tool, why in results["skipped"].items()]
    return "\n".join(lines) + "\n"


def tables(samples: list[Sample], threads: int, results: dict[str, Any]) -> list[str]:
    """Of one number of threads: seconds, ratios to ours, bytes a second, goals."""
    cases = list(dict.fromkeys(sample.case for sample in samples))
    tools = [tool for tool in TOOLS if any(sample.tool == tool for sample in samples)]
    taken = {
        (tool, case): sorted(s.seconds for s in samples if s.tool == tool and s.case == case)
        for tool in tools
        for case in cases
    }
    middle = {key: median(seconds) for key, seconds in taken.items() if seconds}

    def cell(tool: str, case: Case) -> str:
        if (tool, case) not in middle:
            return ""
        seconds = taken[tool, case]
        text = f"{middle[tool, case]:.3f} ({seconds[0]:.3f}-{seconds[-1]:.3f})"
        return text if case.num_prompts == 1 else f"{text}, {case.num_prompts / middle[tool, case]:.2f}/s"

    def table(head: list[str], rows: list[list[str]]) -> list[str]:
        return [f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows]] + [""]

    titles = [case.title for case in cases]
    rounds = max(sample.round for sample in samples) + 1
    tokens = cases[0].max_new_tokens
    lines = [
        f"### {threads} threads",
        "",
        f"Seconds for {tokens} new tokens: median of {rounds} (least-most)",
        "",
    ]
    lines += table(
        ["", *titles, "same answer"],
        [
            [
                tool,
                *(cell(tool, case) for case in cases),
                same_answers([s for s in samples if s.tool == tool]),
            ]
            for tool in tools
        ],
    )

    ours = [tool for tool in tools if tool.startswith("promptist")]
    peers = [tool for tool in tools if tool not in ours]
    if ours and peers:
        lines += ["How many times longer a peer takes, by medians", ""]
        rows = [
            [f"{peer} / {our}"]
            + [
                f"{middle[peer, case] / middle[our, case]:.2f}"
                if {(peer, case), (our, case)} <= middle.keys()
                else ""
                for case in cases
            ]
            for our in ours
            for peer in peers
        ]
        lines += table(["", *titles], rows)

    bandwidth = results["bandwidth"].get(threads)
    if ours and bandwidth:
        lines += [
            f"The cores read {bandwidth[0]:.1f} GB/s before and {bandwidth[1]:.1f} after. Of weights, read "
            "once a step: GB/s, and the time, prompt and all else included, over that of reading them alone",
            "",
        ]
        rows = []
        for our in ours:
            bytes_a_step = results["weights_a_step"] * BYTES_A_WEIGHT[our.split(":")[1]]
            rows.append([our])
            for case in cases:
                seconds = middle.get((our, case))
                if seconds is None or case.num_prompts > 1:
                    rows[-1].append("")
                    continue
                achieved = bytes_a_step * tokens / seconds * 1e-9
                rows[-1].append(f"{achieved:.1f}, {max(bandwidth) / achieved:.2f}x")
        lines += table(["", *titles], rows)

    goal_case = next((case for case in cases if case.num_prompts == 1 and case.num_beams == 8), None)
    rows = []
    for our, share, theirs in GOALS:
        quickest = min(
            (middle[peer, goal_case] for peer in theirs if (peer, goal_case) in middle), default=None
        )
        if quickest is None or (our, goal_case) not in middle:
            continue
        seen = middle[our, goal_case] / quickest
        rows.append(
            [our, " or ".join(theirs), f"{share:.2f}", f"{seen:.3f}", "pass" if seen <= share else "**fail**"]
        )
    if rows and threads == 2:
        lines += table(["8 beams", "of", "at most", "measured", ""], rows)
    for tool in tools:
        how = {sample.case.title: sample.how for sample in samples if sample.tool == tool and sample.how}
        lines += [f"{tool}, {title}: quickest with {variant}." for title, variant in how.items()]
    return [*lines, ""]


def same_answers(samples: list[Sample]) -> str:
    shares = [sample.same_as_reference for sample in samples if sample.same_as_reference is not None]
    return f"{sum(shares) / len(shares):.0%}" if shares else ""


if __name__ == "__main__":
    main()
