"""Times the image models of PyTorch and us in alternation, on the same cores, weights and inputs.

    python bench/peers/images.py --checkpoints DIR --out RESULTS.json

`DIR/clip`, `DIR/unet` and `DIR/vae` are what `tools/reference/clip_full_size.py --out DIR/clip` and
`full_size_diffusion.py --out DIR` write. Each tool is a process of its own for each model, pinned to the same
cores with as many threads as cores; it loads, runs once to warm up, and is then timed in rounds, every tool
once, who is first moving on by one each round. Outputs are compared: the work is the same.

Writes `RESULTS.json` with every sample and `RESULTS.md` with medians, spread, ratios and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from alternation import Worker, about_run, heading, own_stdout, peak_bytes, turns

TIMESTEP = 601.0  # as in `time_images.rs`
CASES = {
    "clip": "CLIP ViT-L/14, features of 4 images",
    "unet": "SD 1.5 UNet, a step with guidance, 64x64 latents",
    "vae": "SD 1.5 VAE, 64x64 latents to 512x512",
}
TOOLS = ("pytorch", "promptist")
PACKAGES = ("torch", "transformers", "diffusers", "numpy")


@dataclass(frozen=True)
class Sample:
    tool: str
    case: str
    round: int
    seconds: float
    peak_bytes: int


class ImageWorker(Worker):
    """A tool's process with one model; what it computed last lies in a file."""

    def __init__(self, tool: str, case: str, folder: Path, arguments: argparse.Namespace) -> None:
        self.output = folder / f"{case}-{tool}.f32"
        own = [sys.executable, Path(__file__), "--worker"]
        program = own if tool == "pytorch" else [arguments.program]
        paths = [case, arguments.checkpoints / case, folder / f"{case}.safetensors", self.output]
        super().__init__(tool, [*program, *paths], arguments.cores, arguments.verbose)

    def last_output(self) -> np.ndarray:
        self.stop()
        return np.fromfile(self.output, dtype="<f4")


def main() -> None:
    arguments = parse_arguments()
    results: dict[str, Any] = {
        **about_run("images.py", PACKAGES),
        "differences": {},
    }
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder))
        for case in arguments.cases:
            workers = [ImageWorker(tool, case, Path(folder), arguments) for tool in arguments.tools]
            samples += time_case(case, workers, arguments.rounds)
            outputs = [worker.last_output() for worker in workers]
            results["differences"][case] = difference(outputs)
            write(arguments.out, results, samples)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, required=True, help="a folder with clip, unet and vae")
    parser.add_argument("--out", type=Path, required=True, help="a .json; the table goes beside it")
    parser.add_argument("--program", type=Path, default=Path("target/release/examples/time_images"))
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--tools", nargs="+", default=TOOLS, choices=TOOLS)
    parser.add_argument("--cores", type=lambda text: text.split(","), default=["0", "1"], metavar="0,1")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--verbose", action="store_true", help="show what the tools say")
    return parser.parse_args()


def write_inputs(folder: Path) -> None:
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    save_file({"pixel_values": normal(4, 3, 224, 224)}, folder / "clip.safetensors")
    latents = normal(1, 4, 64, 64)
    guided = {"latents": latents.repeat(2, 1, 1, 1).contiguous(), "text": normal(2, 77, 768)}
    save_file(guided, folder / "unet.safetensors")
    save_file({"latents": latents}, folder / "vae.safetensors")


def time_case(case: str, workers: list[ImageWorker], rounds: int) -> list[Sample]:
    samples = []
    for round_idx in range(-1, rounds):  # round -1 warms up
        for worker in turns(workers, round_idx):
            answer = worker.ask()
            if round_idx >= 0:
                samples.append(Sample(worker.tool, case, round_idx, **answer))
                print(f"{case}, round {round_idx}: {worker.tool} {answer['seconds']:.3f}", file=sys.stderr)
    return samples


def difference(outputs: list[np.ndarray]) -> dict[str, float] | None:
    """The largest difference of two tools' outputs, and the largest number among them."""
    if len(outputs) < 2:
        return None
    left, right = outputs
    return {"largest": float(np.abs(left - right).max()), "of": float(np.abs(left).max())}


def write(out: Path, results: dict[str, Any], samples: list[Sample]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    everything = {**results, "samples": [asdict(sample) for sample in samples]}
    out.write_text(json.dumps(everything, indent=1) + "\n")
    out.with_suffix(".md").write_text(report(results, samples))


def report(results: dict[str, Any], samples: list[Sample]) -> str:
    lines = [
        *heading(results),
        f"Seconds: median of {len({sample.round for sample in samples})} (least-most); peak memory",
        "",
        "| | PyTorch | promptist | PyTorch's time over ours | peak memory, PyTorch | ours "
        "| largest difference of outputs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, title in CASES.items():
        times = {tool: of(samples, case, tool, "seconds") for tool in TOOLS}
        if not all(times.values()):
            continue
        peaks = [max(of(samples, case, tool, "peak_bytes")) / 1e9 for tool in TOOLS]
        shown = [f"{median(t):.3f} ({min(t):.3f}-{max(t):.3f})" for t in times.values()]
        ratio = median(times["pytorch"]) / median(times["promptist"])
        differs = results["differences"].get(case)
        compared = f"{differs['largest']:.1e} of {differs['of']:.2f}" if differs else ""
        lines.append(
            f"| {title} | {shown[0]} | {shown[1]} | {ratio:.2f} "
            f"| {peaks[0]:.2f} GB | {peaks[1]:.2f} GB | {compared} |"
        )
    return "\n".join(lines) + "\n"


def of(samples: list[Sample], case: str, tool: str, field: str) -> list[float]:
    return [getattr(sample, field) for sample in samples if (sample.case, sample.tool) == (case, tool)]


def work(case: str, model: Path, inputs: Path, output: Path) -> None:
    """PyTorch's process: as `time_images.rs`."""
    out = own_stdout()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tensors = load_file(inputs)
    match case:
        case "clip":
            from transformers import CLIPModel

            clip = CLIPModel.from_pretrained(model, dtype=torch.float32).eval()
            run = lambda: clip.get_image_features(tensors["pixel_values"]).pooler_output
        case "unet":
            from diffusers import UNet2DConditionModel

            unet = UNet2DConditionModel.from_pretrained(model, variant="fp16", torch_dtype=torch.float32).eval()
            run = lambda: unet(tensors["latents"], TIMESTEP, tensors["text"]).sample
        case _:
            from diffusers import AutoencoderKL

            vae = AutoencoderKL.from_pretrained(model, variant="fp16", torch_dtype=torch.float32).eval()
            run = lambda: vae.decode(tensors["latents"] / vae.config.scaling_factor).sample

    print(json.dumps({"ready": True}), file=out, flush=True)
    with torch.inference_mode():
        for _ in sys.stdin:
            started = time.perf_counter()
            values = run()
            seconds = time.perf_counter() - started
            values.numpy().astype("<f4").tofile(output)
            print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), file=out, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], *map(Path, sys.argv[3:]))
    else:
        main()
