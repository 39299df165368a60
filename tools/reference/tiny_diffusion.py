"""Two tiny Stable Diffusion models with random weights, as diffusers saves them.

`diffusion_v1` is built as 1.x is (heads as one number, convolutions into and out of the transformers,
epsilon, PNDM in its scheduler file) and saved as `.fp16` variant files. `diffusion_v2` is built as 2.x is
(heads as a list, linear projections, GELU and one text block less, velocity), its UNet in shards, its VAE as
a pickle.

Every weight is a number of float16: the folders are small, and every way of saving holds the same model.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from golden import GOLDEN_DIR, use_one_thread

SEEDS = {"diffusion_v1": 71, "diffusion_v2": 72}
TEXT_WIDTH = 16
MERGES = [
    "c a",
    "ca t</w>",
    "o f</w>",
    "t h",
    "th e</w>",
    "i n",
    "a n",
    "d o",
    "do g</w>",
    "r e",
    "a r",
    "ar t",
]


def byte_symbols() -> list[str]:
    """The characters that stand for bytes in GPT-2's and CLIP's vocabularies, in their order."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + idx) for idx in range(len(others))]


def tokenizer(folder: Path, pad_token: str) -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of bytes and a dozen merges."""
    symbols = byte_symbols()
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + [merge.replace(" ", "") for merge in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: idx for idx, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    made = CLIPTokenizer.from_pretrained(folder, pad_token=pad_token, model_max_length=77)
    assert made("a cat of the dog")["input_ids"] is not None
    return made


def draw_weights(model: torch.nn.Module, seed: int) -> None:
    """Fills every parameter from one generator: gains around 1, matrices so that variance is kept."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, 1.0, generator=generator)
            if "norm" in name:
                parameter.mul_(0.2)
                if name.endswith("weight"):
                    parameter.add_(1.0)
            elif name.endswith("bias"):
                parameter.mul_(0.1)
            elif "embedding.weight" not in name or "time" in name:
                parameter.div_(math.sqrt(parameter[0].numel()))
            parameter.copy_(parameter.half())


def text_encoder(config: CLIPTextConfig, seed: int) -> CLIPTextModel:
    model = CLIPTextModel(config).eval()
    draw_weights(model, seed)
    return model


def text_config(vocab_size: int, **more: object) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        num_attention_heads=2,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
        projection_dim=TEXT_WIDTH,
        **more,
    )


def unet(seed: int, **shape: object) -> UNet2DConditionModel:
    model = UNet2DConditionModel(
        sample_size=8, norm_num_groups=4, cross_attention_dim=TEXT_WIDTH, **shape
    ).eval()
    draw_weights(model, seed)
    return model


def vae(seed: int, contrast: float) -> AutoencoderKL:
    """A VAE whose pictures have a standard deviation of about `contrast` around grey."""
    channels = (8, 8, 12, 12)
    model = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
        scaling_factor=0.18215,
    ).eval()
    draw_weights(model, seed)
    with torch.no_grad():
        model.decoder.conv_out.weight.mul_(contrast)
        model.decoder.conv_out.weight.copy_(model.decoder.conv_out.weight.half())
    return model


def pipeline_v1(folder: Path, seed: int) -> StableDiffusionPipeline:
    """As 1.4: `unet/config.json` keeps the defaults of 1.x but for the sizes."""
    words = tokenizer(folder / "tokenizer", pad_token="<|endoftext|>")
    return StableDiffusionPipeline(
        vae=vae(seed, contrast=0.5),
        text_encoder=text_encoder(
            text_config(len(words), num_hidden_layers=2, hidden_act="quick_gelu"), seed + 10
        ),
        tokenizer=words,
        unet=unet(seed + 20, block_out_channels=(8, 16, 24, 24), layers_per_block=2, attention_head_dim=2),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def pipeline_v2(folder: Path, seed: int) -> StableDiffusionPipeline:
    """As 2.1: velocity, linear projections, attention in f32, `!` as the padding."""
    words = tokenizer(folder / "tokenizer", pad_token="!")
    return StableDiffusionPipeline(
        vae=vae(seed, contrast=0.5),
        text_encoder=text_encoder(text_config(len(words), num_hidden_layers=1, hidden_act="gelu"), seed + 10),
        tokenizer=words,
        unet=unet(
            seed + 20,
            block_out_channels=(8, 16, 16, 32),
            layers_per_block=1,
            attention_head_dim=[1, 2, 4, 4],
            use_linear_projection=True,
            upcast_attention=True,
            norm_eps=1e-3,  # unlike the transformers' own: a mix-up shows
        ),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            steps_offset=1,
            clip_sample=False,
            set_alpha_to_one=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_v1(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """In float16, as the revision `fp16` and today's `variant="fp16"` are."""
    pipeline.to(torch.float16).save_pretrained(folder, variant="fp16")
    (folder / "tokenizer" / "tokenizer.json").unlink()  # the files of 1.x are older than it


def save_v2(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Each component its own way."""
    pipeline.to(torch.float16).save_pretrained(folder)
    shutil.rmtree(folder / "unet")
    pipeline.unet.save_pretrained(folder / "unet", max_shard_size="120KB")
    shutil.rmtree(folder / "vae")
    pipeline.vae.save_pretrained(folder / "vae", safe_serialization=False)


def load(name: str, **components: object) -> StableDiffusionPipeline:
    """The model of a golden folder, in f32, some of its components exchanged."""
    variant = "fp16" if name == "diffusion_v1" else None
    pipeline = StableDiffusionPipeline.from_pretrained(
        GOLDEN_DIR / name, variant=variant, dtype=torch.float32, low_cpu_mem_usage=False, **components
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def main() -> None:
    use_one_thread()
    for name, build, save in [
        ("diffusion_v1", pipeline_v1, save_v1),
        ("diffusion_v2", pipeline_v2, save_v2),
    ]:
        folder = GOLDEN_DIR / name
        shutil.rmtree(folder, ignore_errors=True)
        save(build(folder, SEEDS[name]), folder)


if __name__ == "__main__":
    main()
