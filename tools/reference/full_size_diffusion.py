"""A UNet and a VAE of Stable Diffusion 1.5's full shape with random weights, in a folder of your choice.

    python tools/reference/full_size_diffusion.py --out DIR [--seed 76] [--threads 1]

Writes `DIR/unet` (860M parameters) and `DIR/vae` as diffusers saves them, in float16 and together 1.9 GB, and
what they make of inputs of an image of 512x512, in float32: `DIR/unet.safetensors`, one step with guidance, and
`DIR/vae.safetensors`. Prints how long each took. Nothing of it is committed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from golden import metadata, use_one_thread, write_tensors
from tiny_diffusion import draw_weights

TIMESTEP = 601.0
CHANNELS = (128, 256, 512, 512)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=76)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    use_one_thread()
    torch.set_num_threads(arguments.threads)
    about = metadata(arguments.seed, "float32", diffusers=diffusers.__version__)
    generator = torch.Generator().manual_seed(arguments.seed)

    def timed(name: str, model: torch.nn.Module, *inputs: object) -> torch.Tensor:
        start = time.perf_counter()
        output = model(*inputs).sample
        print(f"{name}: {time.perf_counter() - start:.1f} s, std {output.std().item():.3f}")
        return output

    vae = AutoencoderKL(
        block_out_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        layers_per_block=2,
        sample_size=512,
    ).eval()
    draw_weights(vae, arguments.seed)
    vae.half().save_pretrained(arguments.out / "vae", variant="fp16")
    latents = torch.randn(1, 4, 64, 64, generator=generator)
    vae.float()
    pictures = timed("VAE decode", vae.decode, latents / vae.config.scaling_factor)
    tensors = {"latents": latents, "pictures": pictures}
    write_tensors(arguments.out / "vae.safetensors", tensors, about)
    del vae

    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).eval()
    draw_weights(unet, arguments.seed)
    unet.half().save_pretrained(arguments.out / "unet", variant="fp16")
    unet.float()
    latents = torch.randn(1, 4, 64, 64, generator=generator).repeat(2, 1, 1, 1)
    text = torch.randn(2, 77, 768, generator=generator)
    tensors = {
        "latents": latents,
        "text": text,
        "timestep": torch.tensor([TIMESTEP]),
        "sample": timed("UNet step with guidance", unet, latents, TIMESTEP, text),
    }
    write_tensors(arguments.out / "unet.safetensors", tensors, about)


if __name__ == "__main__":
    main()
