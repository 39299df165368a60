"""Images a second of a whole pipeline, diffusers and us in alternation, on one device.

    python bench/peers/gpu_images.py --model DIR [--device cuda] [--ours vulkan] [--program PATH]

DIR is a Stable Diffusion 1.x or 2.x folder. Both sides draw 512x512 images in 20 steps of DPM-Solver++ with
guidance 7.5, one at a time: diffusers in f16 (f32 on a CPU), ours as `promptist generate` does, f16 on a GPU. A
round of ours is a process that draws one image more than is counted: the first one, which compiles kernels,
is left out; so is diffusers' first. Build ours with the device's feature: `cargo build --release --features vulkan`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

PROMPT = "a lighthouse at dusk, highly detailed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--variant", help="diffusers' variant of the weights, such as fp16")
    parser.add_argument("--device", default="cuda", help="diffusers' device")
    parser.add_argument("--ours", default="vulkan", help="promptist's --device")
    parser.add_argument("--program", type=Path, default=Path("target/release/promptist"))
    parser.add_argument("--images", type=int, default=4, help="counted in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()

    dtype = torch.float32 if arguments.device == "cpu" else torch.float16
    pipeline = StableDiffusionPipeline.from_pretrained(
        arguments.model, torch_dtype=dtype, variant=arguments.variant, safety_checker=None
    )
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, final_sigmas_type="sigma_min"
    )
    pipeline = pipeline.to(arguments.device)
    pipeline.set_progress_bar_config(disable=True)

    draw_theirs(pipeline, 1, arguments)
    theirs, ours = [], []
    for number in range(arguments.rounds):
        sides = [
            lambda: theirs.append(draw_theirs(pipeline, arguments.images, arguments)),
            lambda: ours.append(draw_ours(arguments)),
        ]
        for side in sides if number % 2 == 0 else reversed(sides):
            side()
        print(f"round {number}: diffusers {theirs[-1]:.3f}, promptist {ours[-1]:.3f} images/s", flush=True)
    ratio = median(ours) / median(theirs)
    print(f"median of {arguments.rounds}: diffusers {median(theirs):.3f}, promptist {median(ours):.3f}, {ratio:.2f}x")


def draw_theirs(pipeline: StableDiffusionPipeline, count: int, arguments: argparse.Namespace) -> float:
    """Images a second."""
    started = time.perf_counter()
    for seed in range(count):
        pipeline(
            PROMPT,
            num_inference_steps=arguments.steps,
            guidance_scale=7.5,
            height=arguments.size,
            width=arguments.size,
            generator=torch.Generator("cpu").manual_seed(seed),
        )
    if arguments.device.startswith("cuda"):
        torch.cuda.synchronize()
    return count / (time.perf_counter() - started)


def draw_ours(arguments: argparse.Namespace) -> float:
    """Images a second, the first image and loading left out."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(arguments.program), "generate", PROMPT, "--generator", str(arguments.model), "--json"]
        command += ["--out", f"{folder}/image.png", "-n", str(arguments.images + 1), "--scheduler", "dpm++"]
        command += ["--num-inference-steps", str(arguments.steps), "--device", arguments.ours]
        command += ["--width", str(arguments.size), "--height", str(arguments.size)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    times = [json.loads(line)["elapsed_ms"] / 1e3 for line in output.splitlines()]
    return arguments.images / sum(times[1:])


if __name__ == "__main__":
    main()
