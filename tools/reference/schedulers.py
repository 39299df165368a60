"""Every step of diffusers' schedulers: `schedulers/cases.json` and `schedulers/steps.safetensors`.

There is no model here. Its output at step i is `noise[i % 5] + 0.1 * model_input`: fixed numbers plus
a part that depends on the latents, so that an error at one step is felt at all that follow.

`sd15_scheduler_config.json` and `sd21_scheduler_config.json` are the files of Stable Diffusion 1.5 and
2.1 as published; every case starts from one of them, as `from_config` does, and changes some keys.
"""

from __future__ import annotations

import json
import warnings
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

from golden import GOLDEN_DIR, metadata, use_one_thread, write_json, write_tensors

SEED = 31
FOLDER = GOLDEN_DIR / "schedulers"
SHAPE = (1, 4, 2, 3)
STEP_COUNTS = (5, 20, 50)
CLASSES = {"dpm++": DPMSolverMultistepScheduler, "ddim": DDIMScheduler, "euler": EulerDiscreteScheduler}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

# Name, kind, file, keys that differ from the file, step counts.
Case = tuple[str, str, str, dict[str, Any], tuple[int, ...]]
CASES: list[Case] = []
for _model in ("sd15", "sd21"):  # epsilon and v_prediction
    CASES += [
        (f"dpm_zero_{_model}", "dpm++", _model, {}, STEP_COUNTS),
        (f"dpm_sigma_min_{_model}", "dpm++", _model, {"final_sigmas_type": "sigma_min"}, STEP_COUNTS),
        (f"ddim_{_model}", "ddim", _model, {}, STEP_COUNTS),
        (f"euler_{_model}", "euler", _model, {}, STEP_COUNTS),
        (f"dpm_karras_{_model}", "dpm++", _model, {"use_karras_sigmas": True}, (5, 20)),
        (f"euler_karras_{_model}", "euler", _model, {"use_karras_sigmas": True}, (5, 20)),
    ]
CASES += [
    ("dpm_heun", "dpm++", "sd15", {"solver_type": "heun"}, (5, 20)),
    ("dpm_order_1", "dpm++", "sd15", {"solver_order": 1}, (5, 20)),
    (
        "dpm_euler_at_final",
        "dpm++",
        "sd15",
        {"euler_at_final": True, "final_sigmas_type": "sigma_min"},
        (20,),
    ),
    (
        "dpm_always_order_2",
        "dpm++",
        "sd15",
        {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
        (5,),
    ),
    ("dpm_leading", "dpm++", "sd15", {"timestep_spacing": "leading"}, (5, 20)),
    ("dpm_trailing", "dpm++", "sd15", {"timestep_spacing": "trailing"}, (5, 20)),
    ("dpm_zero_snr", "dpm++", "sd21", ZERO_SNR, (5, 20)),
    ("dpm_sample", "dpm++", "sd15", {"prediction_type": "sample"}, (5,)),
    (
        "dpm_cosine_clipped",
        "dpm++",
        "sd15",
        {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1},
        (5, 20),
    ),
    (
        "dpm_trained_betas",
        "dpm++",
        "sd15",
        {"trained_betas": [0.01 * (i + 1) for i in range(20)], "num_train_timesteps": 20},
        (5,),
    ),
    ("ddim_linspace", "ddim", "sd15", {"timestep_spacing": "linspace"}, (5, 20)),
    ("ddim_trailing", "ddim", "sd15", {"timestep_spacing": "trailing"}, (7, 20)),
    ("ddim_alpha_one", "ddim", "sd15", {"set_alpha_to_one": True}, (5, 20)),
    ("ddim_clipped", "ddim", "sd15", {"clip_sample": True, "clip_sample_range": 0.7}, (5, 20)),
    ("ddim_zero_snr", "ddim", "sd21", ZERO_SNR, (5, 20)),
    ("ddim_sample", "ddim", "sd15", {"prediction_type": "sample"}, (5,)),
    ("ddim_linear", "ddim", "sd15", {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}, (5,)),
    ("ddim_cosine", "ddim", "sd15", {"beta_schedule": "squaredcos_cap_v2"}, (5,)),
    ("euler_leading", "euler", "sd15", {"timestep_spacing": "leading"}, (5, 20)),
    ("euler_trailing", "euler", "sd15", {"timestep_spacing": "trailing"}, (5, 20)),
    ("euler_sigma_min", "euler", "sd15", {"final_sigmas_type": "sigma_min"}, (5, 20)),
    ("euler_zero_snr", "euler", "sd21", ZERO_SNR, (5, 20)),
    ("euler_sample", "euler", "sd15", {"prediction_type": "sample"}, (5,)),
    (
        "euler_karras_bounds",
        "euler",
        "sd15",
        {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0},
        (5,),
    ),
]


def run(
    scheduler: SchedulerMixin, num_steps: int, unit_noise: torch.Tensor, noise: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What the scheduler says and does in `num_steps` steps; `latents` are those after each."""
    scheduler.set_timesteps(num_steps)
    latents = unit_noise * scheduler.init_noise_sigma
    after = []
    for step, timestep in enumerate(scheduler.timesteps):
        # Without it the schedulers look the index up by timestep, and take the second of two equal ones.
        if step == 0 and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        model_input = scheduler.scale_model_input(latents, timestep)
        model_output = noise[step % len(noise)] + 0.1 * model_input
        latents = scheduler.step(model_output, timestep, latents).prev_sample
        after.append(latents)
    tensors = {
        "timesteps": scheduler.timesteps.float(),
        "init_noise_sigma": torch.as_tensor(float(scheduler.init_noise_sigma))[None],
        "latents": torch.cat(after),
    }
    if hasattr(scheduler, "sigmas"):
        tensors["sigmas"] = scheduler.sigmas.float()
    return tensors


def pipeline_config(config: dict[str, Any]) -> dict[str, Any]:
    """The scheduler's settings after Stable Diffusion's pipeline has had its way with them."""
    scheduler = DDIMScheduler.from_config(config)
    StableDiffusionPipeline(
        vae=None,
        text_encoder=None,
        tokenizer=None,
        unet=None,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return {key: scheduler.config[key] for key in ("steps_offset", "clip_sample")}


def main() -> None:
    warnings.simplefilter("ignore", FutureWarning)  # `pipeline_config` asks for an outdated file
    use_one_thread()
    generator = torch.Generator().manual_seed(SEED)
    unit_noise = torch.randn(SHAPE, generator=generator)
    noise = torch.randn((5, *SHAPE[1:]), generator=generator)
    tensors = {"unit_noise": unit_noise, "noise": noise}
    cases = []
    for name, kind, model, changes, step_counts in CASES:
        config = json.loads((FOLDER / f"{model}_scheduler_config.json").read_text())
        config.update(changes)
        for num_steps in step_counts:
            scheduler = CLASSES[kind].from_config(config)
            case = run(scheduler, num_steps, unit_noise, noise)
            assert all(value.isfinite().all() for value in case.values()), name
            tensors |= {f"{name}/{num_steps}/{key}": value for key, value in case.items()}
        cases.append({"name": name, "kind": kind, "num_inference_steps": list(step_counts), "config": config})
    about = metadata(SEED, "float32", diffusers=diffusers.__version__)
    outdated = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}
    pipeline = [{"file": outdated, "becomes": pipeline_config(outdated)}]
    write_json(FOLDER / "cases.json", {"metadata": about, "cases": cases, "pipeline": pipeline})
    write_tensors(FOLDER / "steps.safetensors", tensors, about)


if __name__ == "__main__":
    main()
