"""Images that diffusers' pipeline makes from given latents with the models of `tiny_diffusion.py`.

`pipeline/cases.json` says how; beside it, for each case, the scheduler's file as diffusers saves it (without
one, the model folder's), `latents.safetensors` and an image for each of its rows. All in float32.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
)

from golden import GOLDEN_DIR, metadata, save_tensors, use_one_thread, write_json
from tiny_diffusion import load

SEED = 75
FOLDER = GOLDEN_DIR / "pipeline"
PROMPT = "a cat of the dog, art in the garden"


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    scheduler: Any = None
    """A class of diffusers, with the keys below over those of the model's file; the file's own if none."""
    keys: dict[str, Any] = dataclasses.field(default_factory=dict)
    saves_scheduler: bool = True
    """Whether the scheduler's file is written; without it we are told by name, or fall back."""
    asked: str | None = None
    """The scheduler that we are asked for by name."""
    prompt: str = PROMPT
    negative_prompt: str = ""
    guidance_scale: float = 7.5
    num_inference_steps: int = 8
    height: int = 64
    width: int = 64
    batch: int = 1


DPM, EULER, DDIM = DPMSolverMultistepScheduler, EulerDiscreteScheduler, DDIMScheduler
REWARD = {"timestep_spacing": "linspace", "final_sigmas_type": "sigma_min"}

CASES = [
    Case("v1_dpm_to_zero", "diffusion_v1", DPM, {"final_sigmas_type": "zero"}),
    Case("v1_dpm_to_sigma_min", "diffusion_v1", DPM, {"final_sigmas_type": "sigma_min"}, batch=2),
    Case("v1_pndm_falls_back", "diffusion_v1", DPM, REWARD, saves_scheduler=False, num_inference_steps=20),
    Case("v1_dpm_by_name", "diffusion_v1", DPM, REWARD, saves_scheduler=False, asked="dpm++"),
    Case("v1_euler_by_name", "diffusion_v1", EULER, saves_scheduler=False, asked="euler"),
    Case("v1_ddim_negative", "diffusion_v1", DDIM, negative_prompt="the dog", height=40, width=24),
    Case(
        "v1_ddim_old_file", "diffusion_v1", DDIM, {"steps_offset": 0, "clip_sample": True}, guidance_scale=2.5
    ),
    Case("v1_without_guidance", "diffusion_v1", EULER, {"timestep_spacing": "linspace"}, guidance_scale=1.0),
    Case(
        "v1_long_prompt",
        "diffusion_v1",
        DPM,
        prompt=PROMPT * 4,
        negative_prompt="in " * 90,
        height=48,
        width=80,
    ),
    Case("v2_own_file", "diffusion_v2", batch=2),
    Case("v2_dpm_to_zero", "diffusion_v2", DPM, {"final_sigmas_type": "zero"}, negative_prompt="dog art"),
    Case("v2_dpm_to_sigma_min", "diffusion_v2", DPM, REWARD, height=72, width=40),
    Case("v2_euler", "diffusion_v2", EULER, prompt="", num_inference_steps=12),
    Case("v2_without_guidance", "diffusion_v2", guidance_scale=1.0, num_inference_steps=3),
]


def about() -> dict[str, str]:
    return metadata(SEED, "float32", diffusers=diffusers.__version__)


def scheduler_of(case: Case) -> SchedulerMixin | None:
    """The case's scheduler, from the settings of the model's file."""
    if case.scheduler is None:
        return None
    settings = dict(load(case.model).scheduler.config)
    return case.scheduler.from_config({**settings, **case.keys})


@torch.no_grad()
def run(case: Case) -> None:
    folder = FOLDER / case.name
    folder.mkdir(parents=True)
    scheduler = scheduler_of(case)
    if scheduler is not None and case.saves_scheduler:
        scheduler.save_pretrained(folder)
    pipeline: StableDiffusionPipeline = load(case.model, **({"scheduler": scheduler} if scheduler else {}))
    generator = torch.Generator().manual_seed(SEED)
    latents = torch.randn(case.batch, 4, case.height // 8, case.width // 8, generator=generator)
    save_tensors(folder / "latents.safetensors", {"latents": latents}, about())
    images = pipeline(
        prompt=[case.prompt] * case.batch,
        negative_prompt=[case.negative_prompt] * case.batch,
        guidance_scale=case.guidance_scale,
        num_inference_steps=case.num_inference_steps,
        latents=latents,
        height=case.height,
        width=case.width,
        output_type="pil",
    ).images
    for idx, image in enumerate(images):
        image.save(folder / f"{idx}.png")
    extrema = [band.getextrema() for band in images[0].split()]
    print(case.name, pipeline.scheduler.__class__.__name__, extrema)


def main() -> None:
    use_one_thread()
    shutil.rmtree(FOLDER, ignore_errors=True)
    cases = []
    for case in CASES:
        run(case)
        entry = dataclasses.asdict(case)
        for key in ("keys", "saves_scheduler"):
            del entry[key]
        entry["scheduler"] = case.scheduler.__name__ if case.scheduler else None
        cases.append(entry)
    write_json(FOLDER / "cases.json", {"metadata": about(), "cases": cases})


if __name__ == "__main__":
    main()
