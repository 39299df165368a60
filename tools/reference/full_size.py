"""A GPT-2 of 124M parameters with random weights, and its logits, in a folder of your choice.

    python tools/reference/full_size.py --out DIR [--seed 31]

Writes `DIR/config.json`, `DIR/model.safetensors` (about 500 MB) and `DIR/logits.safetensors`, which
holds the same tensors as the committed `logits_a.safetensors`. Nothing of it is committed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers import GPT2Config, GPT2LMHeadModel

from golden import metadata, use_one_thread, write_tensors
from logits import golden_logits
from tiny_models import draw_weights, save

PROMPT_LENGTHS = (1, 16, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=31)
    arguments = parser.parse_args()

    use_one_thread()
    model = GPT2LMHeadModel(GPT2Config()).eval()
    draw_weights(model, arguments.seed, std=0.05)
    save(arguments.out, model, with_prefix=True, about=metadata(arguments.seed, "float32"))
    tensors, about = golden_logits(model, arguments.seed, PROMPT_LENGTHS)
    print("float32 differs from float64 by", about["max_abs_difference_from_float64"])
    write_tensors(arguments.out / "logits.safetensors", tensors, about)


if __name__ == "__main__":
    main()
