"""Times a training step of PyTorch and us in alternation, on the same cores, weights and batch.

    python bench/peers/train_step.py --checkpoint DIR --out RESULTS.json

GPT-2 124M with random weights, written to DIR if it is not there; 8 x 128 tokens, every one of them with a
target; f32, no dropout, AdamW with the gradient's norm clipped. PyTorch is transformers' `GPT2LMHeadModel` with
SDPA attention and fused AdamW. Each tool is a process of its own, pinned to the same cores with as many threads
as cores; it loads, takes one step to warm up, and is then timed in rounds, every tool once, who is first moving on
by one each round. Losses and gradient norms of all steps are compared: the work is the same. PyTorch adds its norm
up in f32, which is 1e-4 from the sum of the same gradients in f64.

Writes `RESULTS.json` with every sample and `RESULTS.md` with medians, spread, ratios and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from alternation import Worker, about_run, heading, own_stdout, peak_bytes, turns

ROWS, TOKENS = 8, 128
# As in `time_training_step.rs`.
LEARNING_RATE, BETAS, EPSILON, WEIGHT_DECAY, MAX_NORM = 5e-5, (0.9, 0.999), 1e-6, 0.1, 1.0
TOOLS = ("pytorch", "promptist")
PACKAGES = ("torch", "transformers")
PHASES = {
    "forward": "trunk, forward",
    "head": "head and loss, forward and backward",
    "backward": "trunk, backward",
    "update": "norm, clipping, AdamW",
}


def main() -> None:
    arguments = parse_arguments()
    if not (arguments.checkpoint / "config.json").exists():
        make_checkpoint(arguments.checkpoint)
    results: dict[str, Any] = {
        **about_run("train_step.py", PACKAGES),
    }
    with tempfile.TemporaryDirectory() as folder:
        batch = Path(folder) / "batch.safetensors"
        write_batch(batch)
        workers = [start(tool, batch, arguments) for tool in arguments.tools]
        results["samples"] = time_steps(workers, arguments.rounds)
        for worker in workers:
            worker.stop()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(report(results))


def start(tool: str, batch: Path, arguments: argparse.Namespace) -> Worker:
    own = [sys.executable, Path(__file__), "--worker"]
    program = own if tool == "pytorch" else [arguments.program]
    return Worker(tool, [*program, arguments.checkpoint, batch], arguments.cores, arguments.verbose)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a GPT-2 folder; made if absent, 0.5 GB")
    parser.add_argument("--out", type=Path, required=True, help="a .json; the table goes beside it")
    parser.add_argument("--program", type=Path, default=Path("target/release/examples/time_training_step"))
    parser.add_argument("--tools", nargs="+", default=TOOLS, choices=TOOLS)
    parser.add_argument("--cores", type=lambda text: text.split(","), default=["0", "1"], metavar="0,1")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--verbose", action="store_true", help="show what the tools say")
    return parser.parse_args()


def make_checkpoint(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)


def write_batch(path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(50257, (ROWS, TOKENS + 1), generator=generator)
    # As f32, which holds every id exactly: weights are all that our reader reads.
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:]}
    save_file({name: values.float().contiguous() for name, values in batch.items()}, path)


def time_steps(workers: list[Worker], rounds: int) -> list[dict[str, Any]]:
    samples = []
    for round_idx in range(-1, rounds):  # round -1 warms up
        for worker in turns(workers, round_idx):
            sample = {"tool": worker.tool, "round": round_idx, **worker.ask()}
            samples.append(sample)
            print(f"round {round_idx}: {worker.tool} {sample['seconds']:.3f}", file=sys.stderr)
    return samples


def report(results: dict[str, Any]) -> str:
    timed = [sample for sample in results["samples"] if sample["round"] >= 0]
    lines = [
        *heading(results),
        f"A step of {ROWS} x {TOKENS} tokens, median of {len({sample['round'] for sample in timed})} (least-most)",
        "",
        "| | seconds | tokens/s | peak memory | last loss | last norm of the gradient |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for tool in TOOLS:
        samples = [sample for sample in timed if sample["tool"] == tool]
        if not samples:
            continue
        seconds = [sample["seconds"] for sample in samples]
        middle, last = median(seconds), samples[-1]
        lines.append(
            f"| {tool} | {middle:.3f} ({min(seconds):.3f}-{max(seconds):.3f}) | {ROWS * TOKENS / middle:.0f} "
            f"| {last['peak_bytes'] / 1e9:.2f} GB | {last['loss']:.6f} | {last['norm']:.6f} |"
        )
    theirs, ours = ([s for s in results["samples"] if s["tool"] == tool] for tool in TOOLS)
    if theirs and ours:
        of = lambda samples: median(s["seconds"] for s in samples if s["round"] >= 0)
        differs = {
            field: max(abs(a[field] - b[field]) / abs(a[field]) for a, b in zip(theirs, ours))
            for field in ("loss", "norm")
        }
        lines += [
            "",
            f"Our time over PyTorch's: {of(ours) / of(theirs):.2f}. Largest relative difference over "
            f"{len(ours)} steps: loss {differs['loss']:.1e}, norm {differs['norm']:.1e}.",
        ]
    if ours:
        lines += ["", "| our phases | seconds |", "| --- | --- |"]
        for phase, title in PHASES.items():
            seconds = median(s["phases"][phase] for s in ours if s["round"] >= 0)
            lines.append(f"| {title} | {seconds:.3f} |")
    return "\n".join(lines) + "\n"


def work(model_folder: Path, batch: Path) -> None:
    """PyTorch's process: as `time_training_step.rs`."""
    from torch.nn.functional import cross_entropy
    from transformers import GPT2LMHeadModel

    out = own_stdout()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # `eval` turns dropout off and changes nothing else here.
    model = GPT2LMHeadModel.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)
    tensors = {name: values.long() for name, values in load_file(batch).items()}
    input_ids, targets = tensors["input_ids"], tensors["targets"].flatten()

    print(json.dumps({"ready": True}), file=out, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        logits = model(input_ids, use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), targets)
        del logits
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        answer = {"seconds": time.perf_counter() - started, "loss": loss.item(), "norm": norm.item()}
        print(json.dumps({**answer, "peak_bytes": peak_bytes()}), file=out, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*map(Path, sys.argv[2:]))
    else:
        main()
