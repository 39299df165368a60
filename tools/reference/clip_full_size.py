"""A CLIP of the shape of ViT-L/14 with random weights, and its features, in a folder of your choice.

    python tools/reference/clip_full_size.py --out DIR [--seed 51] [--shape l14|h14]

Writes `DIR/config.json`, `DIR/model.safetensors` (1.7 GB; H/14 3.9 GB) and `DIR/features.safetensors`, with the
tensors of the committed `clip/gelu.safetensors`. Nothing of it is committed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

from golden import metadata, use_one_thread, write_tensors

TEXT = {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407}
SHAPES = {
    "l14": {
        "text_config": {**TEXT, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
        "projection_dim": 768,
    },
    "h14": {
        "text_config": {
            **TEXT,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
        },
        "vision_config": {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "patch_size": 14,
            "hidden_act": "gelu",
        },
        "projection_dim": 1024,
    },
}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=51)
    parser.add_argument("--shape", choices=SHAPES, default="l14")
    arguments = parser.parse_args()

    use_one_thread()
    clip = CLIPModel(CLIPConfig(**SHAPES[arguments.shape])).eval()
    generator = torch.Generator().manual_seed(arguments.seed)
    for name, parameter in clip.named_parameters():
        if name == "logit_scale":
            continue
        parameter.normal_(0.0, 0.03, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.add_(1.0)
    clip.save_pretrained(arguments.out, max_shard_size="8GB")

    input_ids = torch.randint(0, 49406, (2, 77), generator=generator)
    input_ids[:, 0] = 49406
    input_ids[0, 20:] = 49407
    input_ids[1, 76] = 49407
    pixel_values = torch.randn(2, 3, 224, 224, generator=generator)
    start = time.perf_counter()
    vision = clip.get_image_features(pixel_values)
    print(f"two images: {time.perf_counter() - start:.2f} s on one thread")
    text = clip.get_text_features(input_ids)
    tensors = {
        "input_ids": input_ids,
        "text_hidden_state": text.last_hidden_state,
        "text_features": text.pooler_output,
        "pixel_values": pixel_values,
        "vision_hidden_state": vision.last_hidden_state,
        "image_features": vision.pooler_output,
    }
    write_tensors(arguments.out / "features.safetensors", tensors, metadata(arguments.seed, "float32"))


if __name__ == "__main__":
    main()
