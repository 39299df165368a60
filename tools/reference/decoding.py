"""What the two search scripts share: prompts, one call of `generate`, and a filter against near-ties.

A prompt whose answer hangs on the last digits of a float cannot tell a right implementation from a
wrong one. So each prompt of a golden file is kept only if its ids stay the same when the model
computes in float64 and when noise of `NOISE` is added to every log-probability; others are redrawn.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from transformers import GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList

from logits import left_padded

NOISE = 1e-4
NOISE_RUNS = 3
LONGEST_PROMPT = 24


@dataclass(frozen=True)
class Case:
    """The settings of one batch, named as `generate` names them."""

    name: str
    model: str
    max_new_tokens: int
    prompt_count: int
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    extra_eos_token_ids: tuple[int, ...] = ()
    max_length: int | None = None
    """A limit of the padded length, in place of `max_new_tokens`, which it must agree with."""
    prompt_lengths: tuple[int, ...] = field(default=())
    """Fixed lengths; drawn from 1 to `LONGEST_PROMPT` when empty."""


@dataclass(frozen=True)
class Answers:
    """What `generate` returned for one prompt, best first."""

    sequences: list[list[int]]
    """Generated ids without the prompt and without padding, the end token included if there is one."""
    scores: list[float]


class Noise(LogitsProcessor):
    """Adds normal noise to every log-probability."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        return scores + NOISE * torch.randn(scores.shape, generator=self.generator)


def eos_token_ids(case: Case, model: GPT2LMHeadModel) -> list[int]:
    """The tokens that end an answer."""
    return [model.config.eos_token_id, *case.extra_eos_token_ids]


@torch.no_grad()
def decode(
    model: GPT2LMHeadModel, case: Case, prompts: list[list[int]], noise_seed: int | None = None
) -> list[Answers]:
    """The answers of one batch, left-padded with the end token; without scores in float64."""
    input_ids, attention_mask = left_padded(prompts, model.config.eos_token_id)
    settings: dict[str, Any] = {"num_beams": case.num_beams}
    if case.num_beams > 1:
        settings |= {"length_penalty": case.length_penalty, "early_stopping": case.early_stopping}
    if case.num_beam_groups > 1:
        settings |= {
            "num_beam_groups": case.num_beam_groups,
            "diversity_penalty": case.diversity_penalty,
        }
    if case.max_length is None:
        settings["max_new_tokens"] = case.max_new_tokens
    else:
        assert case.max_length == input_ids.shape[1] + case.max_new_tokens
        settings["max_length"] = case.max_length
    if noise_seed is not None:
        settings["logits_processor"] = LogitsProcessorList([Noise(noise_seed)])
    ends = eos_token_ids(case, model)
    output = model.generate(
        input_ids,
        attention_mask=attention_mask,
        do_sample=False,
        num_return_sequences=case.num_return_sequences,
        eos_token_id=ends,
        pad_token_id=ends[0],
        return_dict_in_generate=True,
        # transformers 4.56.2 fails when it stores the scores of a float64 model.
        output_scores=model.dtype == torch.float32,
        output_logits=True,
        **settings,
    )
    sequences = [without_padding(row.tolist(), ends) for row in output.sequences[:, input_ids.shape[1] :]]
    if model.dtype != torch.float32:
        scores = [0.0] * len(sequences)
    elif case.num_beams > 1:
        scores = output.sequences_scores.tolist()
    else:
        scores = greedy_scores(output.logits, sequences, case.length_penalty)
    per_prompt = case.num_return_sequences
    return [
        Answers(sequences[start : start + per_prompt], scores[start : start + per_prompt])
        for start in range(0, len(sequences), per_prompt)
    ]


def without_padding(generated_ids: list[int], ends: list[int]) -> list[int]:
    """Cuts after the first end token; the padding that follows is the same token."""
    for idx, token_id in enumerate(generated_ids):
        if token_id in ends:
            return generated_ids[: idx + 1]
    return generated_ids


def greedy_scores(
    logits: tuple[torch.Tensor, ...], sequences: list[list[int]], length_penalty: float
) -> list[float]:
    """Summed log-probabilities over generated length to the power of the length penalty.

    Greedy search returns no score of its own; this is the one that beam search would give.
    """
    log_probs = torch.stack(logits, dim=1).log_softmax(-1)
    return [
        sum(log_probs[row, step, token_id].item() for step, token_id in enumerate(sequence))
        / len(sequence) ** length_penalty
        for row, sequence in enumerate(sequences)
    ]


def is_stable(model: GPT2LMHeadModel, case: Case, prompts: list[list[int]]) -> list[bool]:
    """For each prompt, whether its ids survive float64 and noise."""
    expected = decode(model, case, prompts)
    others = [decode(model.double(), case, prompts)]
    model.float()
    others += [decode(model, case, prompts, noise_seed=seed) for seed in range(NOISE_RUNS)]
    return [
        all(other[row].sequences == expected[row].sequences for other in others)
        for row in range(len(prompts))
    ]


def stable_prompts(
    model: GPT2LMHeadModel, case: Case, generator: torch.Generator
) -> tuple[list[list[int]], int]:
    """Prompts of mixed length that pass `is_stable`, and how many others were drawn."""

    def draw(row: int) -> list[int]:
        if case.prompt_lengths:
            length = case.prompt_lengths[row]
        else:
            length = int(torch.randint(1, LONGEST_PROMPT + 1, (1,), generator=generator))
        return torch.randint(model.config.vocab_size, (length,), generator=generator).tolist()

    prompts = [draw(row) for row in range(case.prompt_count)]
    redrawn = 0
    while True:
        stable = is_stable(model, case, prompts)
        if all(stable):
            return prompts, redrawn
        redrawn += stable.count(False)
        prompts = [
            prompt if keep else draw(row)
            for row, (prompt, keep) in enumerate(zip(prompts, stable, strict=True))
        ]


def record(model: GPT2LMHeadModel, case: Case, prompts: list[list[int]]) -> dict[str, Any]:
    """One entry of a golden file: the settings, and each prompt with its answers."""
    settings = asdict(case)
    for key in ("prompt_count", "prompt_lengths", "extra_eos_token_ids", "max_length"):
        del settings[key]
    settings["eos_token_ids"] = eos_token_ids(case, model)
    answers = decode(model, case, prompts)
    settings["prompts"] = [
        {"input_ids": prompt, "sequences": answer.sequences, "scores": answer.scores}
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return settings


def summary(records: list[dict[str, Any]], redrawn: int) -> dict[str, str]:
    """Counts for the metadata, so that a reader sees what the file covers."""
    prompts = {tuple(prompt["input_ids"]) for entry in records for prompt in entry["prompts"]}
    ended, cut = 0, 0
    for entry in records:
        for prompt in entry["prompts"]:
            for sequence in prompt["sequences"]:
                finished = sequence[-1] in entry["eos_token_ids"]
                ended += finished
                cut += not finished
    return {
        "distinct_prompts": str(len(prompts)),
        "sequences_ended_by_eos": str(ended),
        "sequences_cut_at_the_limit": str(cut),
        "prompts_redrawn_for_a_near_tie": str(redrawn),
    }
