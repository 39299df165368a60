"""Pictures that the VAEs of `tiny_diffusion.py` decode: `vae_v{1,2}.safetensors`.

`latents` are scaled as the UNet has them, `pictures` are about -1 to 1 and not cut. The header says how far
float32 is from float64 here.
"""

from __future__ import annotations

import diffusers
import torch

from golden import GOLDEN_DIR, metadata, use_one_thread, write_tensors
from tiny_diffusion import load

SEED = 74
# Batch, height and width of the latents.
CASES: dict[str, tuple[int, int, int]] = {"square": (2, 4, 4), "odd": (1, 3, 5)}


@torch.no_grad()
def main() -> None:
    use_one_thread()
    for version in ("v1", "v2"):
        vae = load(f"diffusion_{version}").vae
        generator = torch.Generator().manual_seed(SEED)
        tensors, error = {}, 0.0
        for name, (batch, height, width) in CASES.items():
            latents = torch.randn(batch, 4, height, width, generator=generator)
            pictures = vae.decode(latents / vae.config.scaling_factor).sample
            exact = vae.double().decode(latents.double() / vae.config.scaling_factor).sample
            vae.float()
            error = max(error, (pictures - exact).abs().max().item())
            clipped = (pictures.abs() >= 1).float().mean().item()
            print(version, name, f"std {pictures.std().item():.2f}, {clipped:.0%} of the pixels at an end")
            tensors |= {f"{name}.latents": latents, f"{name}.pictures": pictures}
        about = metadata(
            SEED,
            "float32",
            diffusers=diffusers.__version__,
            max_abs_difference_from_float64=f"{error:.2e}",
        )
        print(version, about["max_abs_difference_from_float64"])
        write_tensors(GOLDEN_DIR / f"vae_{version}.safetensors", tensors, about)


if __name__ == "__main__":
    main()
