"""Logits of a left-padded batch and of its continuation through the cache: `logits_{a,b,c}.safetensors`.

The header says how far float32 is from float64 here.
"""

from __future__ import annotations

import torch
from transformers import GPT2LMHeadModel

from golden import GOLDEN_DIR, metadata, use_one_thread, write_tensors
from tiny_models import TINY_MODELS, load

SEED = 21
PROMPT_LENGTHS = (1, 20, 7, 13, 2, 18)
CONTINUATION_LENGTH = 6


def left_padded(prompts: list[list[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`input_ids` and `attention_mask`, `[B, T]`, with T the longest prompt."""
    width = max(map(len, prompts))
    input_ids = [[pad_token_id] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(input_ids), torch.tensor(mask)


def positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position ids as `generate` makes them: counted from the first real token; 0 under the padding."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


@torch.no_grad()
def forward_all(
    model: GPT2LMHeadModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    continuation_ids: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the prompts `[B, T, V]`, zero under padding, and of each cached step `[B, S, V]`."""
    output = model(
        input_ids, attention_mask=attention_mask, position_ids=positions(attention_mask), use_cache=True
    )
    logits = output.logits * attention_mask[..., None]
    steps = []
    for step in range(continuation_ids.shape[1]):
        attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(input_ids), 1)], dim=1)
        output = model(
            continuation_ids[:, step : step + 1],
            attention_mask=attention_mask,
            position_ids=positions(attention_mask)[:, -1:],
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        steps.append(output.logits[:, -1])
    return logits, torch.stack(steps, dim=1)


def golden_logits(
    model: GPT2LMHeadModel, seed: int, prompt_lengths: tuple[int, ...]
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of one golden file, and its metadata."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config

    def draw(*shape: int) -> torch.Tensor:
        return torch.randint(config.vocab_size, shape, generator=generator)

    prompts = [draw(length).tolist() for length in prompt_lengths]
    input_ids, attention_mask = left_padded(prompts, config.eos_token_id)
    continuation_ids = draw(len(prompts), CONTINUATION_LENGTH)
    logits, steps = forward_all(model, input_ids, attention_mask, continuation_ids)
    exact = forward_all(model.double(), input_ids, attention_mask, continuation_ids)
    model.float()
    error = max((logits - exact[0]).abs().max().item(), (steps - exact[1]).abs().max().item())
    tensors = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": positions(attention_mask),
        "logits": logits,
        "continuation_ids": continuation_ids,
        "continuation_logits": steps,
    }
    return tensors, metadata(seed, "float32", max_abs_difference_from_float64=f"{error:.2e}")


def main() -> None:
    use_one_thread()
    for name in TINY_MODELS:
        tensors, about = golden_logits(load(name), SEED, PROMPT_LENGTHS)
        print(name, about["max_abs_difference_from_float64"])
        write_tensors(GOLDEN_DIR / f"logits_{name[-1]}.safetensors", tensors, about)


if __name__ == "__main__":
    main()
