"""Searches of transformers over a toy model: `toy_beam.json` (5.23) and `toy_diverse_beam.json` (4.56.2).

    python tools/reference/toy_beam.py          # which of the two: by the transformers version found

The model is a table of hashes, the same in `tests/decoding/toy.rs`: the logits depend on the last two
tokens and are exact in f32, so only the search itself can differ. Prompts of unequal length go through
`generate` in one left-padded batch, except where a processor would look at the padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from golden import GOLDEN_DIR, metadata, use_one_thread, write_json

IS_V4 = transformers.__version__.startswith("4.")
VOCAB_SIZE = 50
EOS_BIAS = 2.5
NEVER_PADDING = VOCAB_SIZE  # outside the vocabulary: never looked at, only fills the batch

LENGTH_PENALTIES = (-1.0, 0.0, 0.6, 1.0, 2.0)
EARLY_STOPPING = (False, True, "never")


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def toy_logits(before_last: np.ndarray, last: np.ndarray, seed: int, eos: list[int]) -> np.ndarray:
    """`10 u^3` with u uniform in [0, 1) by hash, plus a bias on the end tokens: `[B, V]`, f32."""
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    pair = before_last.astype(np.uint64) * np.uint64(VOCAB_SIZE) + last.astype(np.uint64)
    token = np.arange(VOCAB_SIZE, dtype=np.uint64)
    hashed = mix(state + pair[:, None] * np.uint64(VOCAB_SIZE) + token[None, :])
    u = (hashed >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    logits = u * u * u * np.float32(10)
    logits[:, eos] += np.float32(EOS_BIAS)
    return logits


class ToyConfig(PretrainedConfig):
    model_type = "promptist_toy"
    num_hidden_layers = 1
    vocab_size = VOCAB_SIZE


class ToyModel(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.seed, self.eos = 0, []
        self.generation_config = GenerationConfig()

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):  # noqa: ANN
        return {"input_ids": input_ids}

    def forward(self, input_ids, attention_mask=None, return_dict=True, **_):  # noqa: ANN
        ids = input_ids.numpy()
        logits = torch.from_numpy(toy_logits(ids[:, -2], ids[:, -1], self.seed, self.eos))
        return CausalLMOutputWithPast(logits=logits[:, None, :])


def prompts(seed: int, count: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB_SIZE, size=int(rng.integers(2, 9))).tolist() for _ in range(count)]


def run(
    model: ToyModel, seed: int, batch: list[list[int]], settings: dict[str, Any]
) -> list[list[dict[str, Any]]]:
    """The answers to each prompt, best first."""
    eos = settings.get("eos_token_id", [])
    model.seed, model.eos = seed, [eos] if isinstance(eos, int) else eos
    width = max(map(len, batch))
    input_ids = torch.tensor([[NEVER_PADDING] * (width - len(p)) + p for p in batch])
    mask = (input_ids != NEVER_PADDING).long()
    config = dict(settings)
    if not config["eos_token_id"]:
        config |= {"eos_token_id": None, "pad_token_id": 0}
    is_greedy = config["num_beams"] == 1
    with torch.no_grad():
        output = model.generate(
            input_ids,
            attention_mask=mask,
            use_cache=False,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=is_greedy,
            **config,
        )
    answers = []
    for row, sequence in enumerate(output.sequences[:, width:].tolist()):
        end = next((i for i, token in enumerate(sequence) if token in model.eos), None)
        # Padding follows an end token, and there is none without one.
        token_ids = sequence if end is None else sequence[:end]
        finish = "length" if end is None else "eos"
        assert finish == "eos" or len(token_ids) == settings["max_new_tokens"], sequence
        if is_greedy:
            steps = len(token_ids) + (finish == "eos")
            log_probs = [output.logits[i][row].log_softmax(-1)[sequence[i]] for i in range(steps)]
            score = (torch.stack(log_probs).sum() / steps ** settings["length_penalty"]).item()
        else:
            score = output.sequences_scores[row].item()
        answers.append({"token_ids": token_ids, "score": float(f"{score:.8g}"), "finish": finish})
    count = settings["num_return_sequences"]
    return [answers[i : i + count] for i in range(0, len(answers), count)]


def beam_settings() -> Iterator[tuple[int, dict[str, Any]]]:
    """Prompts a case and settings, for 5.23."""
    product = itertools.product((2, 4, 8), LENGTH_PENALTIES, EARLY_STOPPING)
    for idx, (num_beams, length_penalty, early_stopping) in enumerate(product):
        yield 6, {
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "num_return_sequences": (1, 2, num_beams)[idx % 3],
            "max_new_tokens": (12, 5, 20, 2)[idx % 4],
            "eos_token_id": 7,
        }
    base = {
        "num_beams": 4,
        "length_penalty": 0.6,
        "num_return_sequences": 2,
        "max_new_tokens": 12,
        "eos_token_id": 7,
    }
    for length_penalty in LENGTH_PENALTIES:
        yield 4, base | {"length_penalty": length_penalty, "eos_token_id": [7, 3, 11]}
        yield 4, base | {"length_penalty": length_penalty, "eos_token_id": []}
        yield 4, base | {"num_beams": 1, "num_return_sequences": 1, "length_penalty": length_penalty}
    yield 4, base | {"max_new_tokens": 1, "num_beams": 8, "num_return_sequences": 8}
    for processors in PROCESSORS:
        for num_beams, count in ((1, 1), (4, 3), (8, 2)):
            yield 1, base | processors | {"num_beams": num_beams, "num_return_sequences": count}


PROCESSORS = (
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"min_new_tokens": 6},
    {"suppress_tokens": [1, 5, 9, 20]},
    {"repetition_penalty": 0.8, "no_repeat_ngram_size": 3, "min_new_tokens": 3, "suppress_tokens": [30]},
)


def diverse_beam_settings() -> Iterator[tuple[int, dict[str, Any]]]:
    """Prompts a case and settings, for 4.56.2."""
    groups = ((8, 8), (16, 16), (6, 3))
    product = itertools.product(groups, (0.5, 1.0), LENGTH_PENALTIES, EARLY_STOPPING)
    for idx, ((num_beams, num_groups), penalty, length_penalty, early_stopping) in enumerate(product):
        yield 4, {
            "num_beams": num_beams,
            "num_beam_groups": num_groups,
            "diversity_penalty": penalty,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "num_return_sequences": (1, 3, min(num_beams, 8))[idx % 3],
            "max_new_tokens": (12, 5, 20)[idx % 3],
            "eos_token_id": 7,
        }
    base = {
        "num_beams": 6,
        "num_beam_groups": 3,
        "diversity_penalty": 1.0,
        "length_penalty": 1.0,
        "num_return_sequences": 4,
        "max_new_tokens": 12,
        "eos_token_id": 7,
    }
    for length_penalty in LENGTH_PENALTIES:
        yield 4, base | {"length_penalty": length_penalty, "pad_token_id": 21}
        yield 4, base | {"length_penalty": length_penalty, "eos_token_id": [7, 3, 11]}
        yield 4, base | {"length_penalty": length_penalty, "eos_token_id": []}
    for processors in PROCESSORS:
        yield 1, base | processors


def total_length_settings() -> Iterator[tuple[int, dict[str, Any]]]:
    """One group and lengths with the prompt: beam search as in 4.23.1, which knew no "never"."""
    product = itertools.product((2, 4, 8), LENGTH_PENALTIES, (False, True))
    for idx, (num_beams, length_penalty, early_stopping) in enumerate(product):
        yield 1, {
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "num_return_sequences": (2, 1)[idx % 2],
            "max_new_tokens": (20, 12)[idx % 2],
            "eos_token_id": 7,
        }


def search_as_in_4_23_1() -> None:
    """Puts the two formulas of 4.23.1 back into the scorer of 4.56.2, and one group through it."""
    from transformers.generation import beam_search, configuration_utils

    add, is_done = beam_search.BeamHypotheses.add, beam_search.BeamHypotheses.is_done
    # `hyp.shape[-1]`: prompt counted, end token not.
    beam_search.BeamHypotheses.add = lambda self, hyp, score, beam_indices=None, generated_len=None: add(
        self, hyp, score, beam_indices
    )
    # `cur_len` was the length before the new token.
    beam_search.BeamHypotheses.is_done = lambda self, best, cur_len, prompt_len: is_done(
        self, best, cur_len - 1, 0
    )
    mode = configuration_utils.GenerationMode.GROUP_BEAM_SEARCH
    GenerationConfig.get_generation_mode = lambda self, assistant_model=None: mode


def cases(
    model: ToyModel, all_settings: Iterator[tuple[int, dict[str, Any]]], first_seed: int, singles: int = 3
) -> Iterator[dict[str, Any]]:
    """Runs the settings, each with a seed of its own, over a batch or over `singles` single prompts."""
    for seed, (prompt_count, settings) in enumerate(all_settings, first_seed):
        batches = [prompts(seed, prompt_count)] if prompt_count > 1 else [[p] for p in prompts(seed, singles)]
        for batch in batches:
            answers = run(model, seed, batch, settings)
            yield {"seed": seed, "settings": settings, "prompts": batch, "answers": answers}


def main() -> None:
    use_one_thread()
    np.seterr(over="ignore")
    transformers.logging.set_verbosity_error()
    model = ToyModel(ToyConfig()).eval()
    if IS_V4:
        found = list(cases(model, diverse_beam_settings(), 1000))
        search_as_in_4_23_1()
        total = {"length_normalization": "total"}
        for case in cases(model, total_length_settings(), 2000, singles=12):
            found.append(case | {"settings": case["settings"] | total})
    else:
        found = list(cases(model, beam_settings(), 1))
    about = metadata("each case its own", "float32")
    toy = {"vocab_size": VOCAB_SIZE, "eos_bias": EOS_BIAS}
    name = "toy_diverse_beam.json" if IS_V4 else "toy_beam.json"
    write_json(GOLDEN_DIR / name, {"metadata": about, **toy, "cases": found})
    answers = [answer for case in found for row in case["answers"] for answer in row]
    print(
        f"{sum(len(c['prompts']) for c in found)} prompts under {len(found)} settings, "
        f"{len(answers)} answers, {sum(a['finish'] == 'eos' for a in answers)} of them ended"
    )


if __name__ == "__main__":
    main()
