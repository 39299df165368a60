"""Single steps of UNets: `unet_{v1,v2}` of the models of `tiny_diffusion.py`, `unet_other` of one more.

Each case has latents, a text's hidden states, a timestep and what diffusers predicts, at sizes that halve
evenly and at sizes that do not. The header says how far float32 is from float64 here.
"""

from __future__ import annotations

import shutil

import diffusers
import torch
from diffusers import UNet2DConditionModel

from golden import GOLDEN_DIR, metadata, use_one_thread, write_tensors
from tiny_diffusion import TEXT_WIDTH, load, unet

SEED = 73
TEXT_LENGTH = 9

# Batch, height and width of the latents, timestep.
CASES: dict[str, tuple[int, int, int, float]] = {
    "first_step": (2, 8, 8, 999),
    "last_step": (1, 8, 8, 1),
    "timestep_zero": (1, 8, 8, 0),
    "between_timesteps": (1, 8, 16, 482.75),
    "odd": (2, 5, 3, 601),
    "odd_height": (1, 7, 8, 301),
    "even_but_not_of_8": (1, 10, 12, 41),
    "one_cell": (1, 1, 1, 500),
}


def other() -> UNet2DConditionModel:
    """What the file allows and no model of Stable Diffusion asks for, saved in float16 in its own folder."""
    folder = GOLDEN_DIR / "unet_other"
    shutil.rmtree(folder, ignore_errors=True)
    model = unet(
        SEED,
        in_channels=4,
        out_channels=4,
        center_input_sample=True,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-2,
        block_out_channels=(8, 16, 12),
        layers_per_block=(1, 2, 1),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        act_fn="swish",
    )
    model.half().save_pretrained(folder)
    return model.float()


@torch.no_grad()
def main() -> None:
    use_one_thread()
    models = {version: load(f"diffusion_{version}").unet for version in ("v1", "v2")} | {"other": other()}
    for version, model in models.items():
        generator = torch.Generator().manual_seed(SEED)
        tensors, error = {}, 0.0
        for name, (batch, height, width, timestep) in CASES.items():
            latents = torch.randn(batch, 4, height, width, generator=generator)
            text = torch.randn(batch, TEXT_LENGTH, TEXT_WIDTH, generator=generator)
            sample = model(latents, timestep, text).sample
            exact = model.double()(latents.double(), timestep, text.double()).sample
            model.float()
            error = max(error, (sample - exact).abs().max().item())
            tensors |= {
                f"{name}.latents": latents,
                f"{name}.text": text,
                f"{name}.timestep": torch.tensor([float(timestep)]),
                f"{name}.sample": sample,
            }
            print(version, name, f"std {sample.std().item():.2f}", f"max {sample.abs().max().item():.2f}")
        about = metadata(
            SEED,
            "float32",
            diffusers=diffusers.__version__,
            max_abs_difference_from_float64=f"{error:.2e}",
        )
        print(version, about["max_abs_difference_from_float64"])
        write_tensors(GOLDEN_DIR / f"unet_{version}.safetensors", tensors, about)


if __name__ == "__main__":
    main()
