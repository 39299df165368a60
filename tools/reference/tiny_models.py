"""Tiny GPT-2 models with random weights, as Hugging Face folders.

The weights are drawn wider than GPT-2's own initialisation, so that distributions are peaked and a
mistake in any term shows, and the end token is made likely enough that answers end at different
lengths. The three folders differ in every size, in the epsilon of layer norm, in `n_inner`, in the
scaling of attention and in the prefix of their keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from golden import GOLDEN_DIR, metadata, save_tensors, use_one_thread


@dataclass(frozen=True)
class TinyModel:
    """One folder: its configuration, and how its weights are drawn."""

    config: GPT2Config
    seed: int
    eos_boost: float
    """How much likelier, in logits, the end token is than another token would be."""
    with_prefix: bool = True
    """Whether keys start with `transformer.`, as `GPT2LMHeadModel` saves them."""


def tiny_config(eos_token_id: int, **sizes: object) -> GPT2Config:
    """A GPT-2 configuration whose begin, end and pad tokens are one token."""
    return GPT2Config(
        bos_token_id=eos_token_id, eos_token_id=eos_token_id, pad_token_id=eos_token_id, **sizes
    )


TINY_MODELS: dict[str, TinyModel] = {
    "gpt2_tiny_a": TinyModel(
        config=tiny_config(159, vocab_size=160, n_positions=64, n_embd=32, n_layer=2, n_head=2),
        seed=11,
        eos_boost=3.5,
    ),
    "gpt2_tiny_b": TinyModel(
        config=tiny_config(
            256,
            vocab_size=257,
            n_positions=96,
            n_embd=48,
            n_layer=3,
            n_head=4,
            n_inner=80,
            layer_norm_epsilon=1e-3,
        ),
        seed=12,
        eos_boost=6.0,
        with_prefix=False,
    ),
    "gpt2_tiny_c": TinyModel(
        config=tiny_config(
            2,
            vocab_size=384,
            n_positions=80,
            n_embd=48,
            n_layer=2,
            n_head=3,
            scale_attn_by_inverse_layer_idx=True,
            reorder_and_upcast_attn=True,
        ),
        seed=13,
        eos_boost=8.0,
    ),
}


def draw_weights(model: GPT2LMHeadModel, seed: int, std: float, eos_boost: float = 0.0) -> None:
    """Fills every parameter from one generator, in the order of `named_parameters`.

    Matrices and biases are normal with deviation `std`; the weights of layer norms vary around 1.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, std, generator=generator)
            if "ln_" in name and name.endswith("weight"):
                parameter.add_(1.0)
        eos_row = model.transformer.wte.weight[model.config.eos_token_id]
        model.transformer.ln_f.bias.add_(eos_boost * eos_row / eos_row.dot(eos_row))


def load(name: str, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> GPT2LMHeadModel:
    """A tiny model from its golden folder, in evaluation mode.

    transformers 4.56.2 forgets `scale_attn_by_inverse_layer_idx` unless `attention` is "eager", which
    in turn cannot upcast from float64; upcasting changes nothing in float32, so it is turned off.
    """
    model = GPT2LMHeadModel.from_pretrained(
        GOLDEN_DIR / name, attn_implementation=attention, reorder_and_upcast_attn=False
    )
    return model.to(dtype).eval()


def save(folder: Path, model: GPT2LMHeadModel, with_prefix: bool, about: dict[str, str]) -> None:
    """Writes the folder that transformers writes, with `about` added to the header of the weights."""
    (model if with_prefix else model.transformer).save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_tensors(weights, load_file(weights), {"format": "pt", **about})


def main() -> None:
    use_one_thread()
    for name, tiny in TINY_MODELS.items():
        model = GPT2LMHeadModel(tiny.config).eval()
        draw_weights(model, tiny.seed, std=0.35, eos_boost=tiny.eos_boost)
        save(GOLDEN_DIR / name, model, tiny.with_prefix, metadata(tiny.seed, "float32"))


if __name__ == "__main__":
    main()
