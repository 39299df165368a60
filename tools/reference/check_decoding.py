"""DECODING.md as plain code, run over both golden files: exits with 1 if any answer differs.

Written from that page rather than from transformers, one row at a time, without padding, batch or
cache. It shows that the page leaves no rule out, and that answers do not depend on the batch.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from golden import GOLDEN_DIR, use_one_thread
from tiny_models import TINY_MODELS, load

TOLERANCE = 1e-5

Case = dict[str, Any]
Hypothesis = tuple[float, list[int]]
"""Score and generated ids."""


@torch.no_grad()
def log_probs(model: GPT2LMHeadModel, prompt: list[int], beams: list[list[int]]) -> np.ndarray:
    """`[beams, V]`, f32."""
    rows = torch.tensor([prompt + beam for beam in beams])
    mask = torch.ones_like(rows)
    return model(rows, attention_mask=mask).logits[:, -1].log_softmax(-1).numpy()


def candidates(sums: np.ndarray, count: int) -> list[tuple[np.float32, int, int]]:
    """The `count` best of `[beams, V]` as (sum, beam, token), ties to the lower (beam, token)."""
    flat = sums.ravel()
    order = np.argsort(-flat, kind="stable")[:count]
    return [(flat[idx], *divmod(int(idx), sums.shape[1])) for idx in order]


def first_sums(num_beams: int) -> np.ndarray:
    return np.array([0.0] + [-1e9] * (num_beams - 1), np.float32)


def bound_length(case: Case, length: int) -> int:
    """The length that the best running sum is divided by."""
    never = case["early_stopping"] == "never" and case["length_penalty"] > 0
    return case["max_new_tokens"] if never else length


def beam_search(model: GPT2LMHeadModel, prompt: list[int], case: Case) -> list[Hypothesis]:
    """The pool of transformers 5.23, best first."""
    num_beams, limit, penalty = case["num_beams"], case["max_new_tokens"], case["length_penalty"]
    ends, stop_when_full = case["eos_token_ids"], case["early_stopping"] is True
    count = max(2, 1 + len(ends)) * num_beams
    beams: list[list[int]] = [[] for _ in range(num_beams)]
    sums = first_sums(num_beams)
    pool: list[Hypothesis] = []
    for length in range(1, limit + 1):
        running, newcomers = [], []
        extended = log_probs(model, prompt, beams) + sums[:, None]
        for rank, (total, beam, token) in enumerate(candidates(extended, count)):
            if token in ends or length == limit:
                if rank < num_beams:
                    score = total / np.float32(length**penalty)
                    newcomers.append((float(score), [*beams[beam], token]))
            elif len(running) < num_beams:
                running.append((total, [*beams[beam], token]))
        pool = sorted(pool + newcomers, key=lambda hypothesis: -hypothesis[0])[:num_beams]
        if length == limit:
            break
        beams = [ids for _, ids in running]
        sums = np.array([total for total, _ in running], np.float32)
        if len(pool) == num_beams:
            bound = sums[0] / np.float32(bound_length(case, length) ** penalty)
            if stop_when_full or not bound > pool[-1][0]:
                break
    return pool


def add(pool: list[Hypothesis], hypothesis: Hypothesis, size: int) -> None:
    """Keeps the `size` best; a full pool takes only what is better than its worst."""
    if len(pool) == size:
        worst = min(pool, key=lambda kept: kept[0])
        if hypothesis[0] <= worst[0]:
            return
        pool.remove(worst)
    pool.append(hypothesis)


def diverse_beam_search(model: GPT2LMHeadModel, prompt: list[int], case: Case) -> list[Hypothesis]:
    """All pools of transformers 4.56.2, best first."""
    limit, penalty, ends = case["max_new_tokens"], case["length_penalty"], case["eos_token_ids"]
    groups = range(case["num_beam_groups"])
    size = case["num_beams"] // case["num_beam_groups"]
    count = max(2, 1 + len(ends)) * size
    beams: list[list[list[int]]] = [[[] for _ in range(size)] for _ in groups]
    sums = [first_sums(size) for _ in groups]
    pools: list[list[Hypothesis]] = [[] for _ in groups]
    done = [False for _ in groups]
    for length in range(1, limit + 1):
        chosen = np.zeros(model.config.vocab_size, np.float32)
        for group in groups:
            if done[group]:
                chosen[ends[0]] += size
                continue
            penalised = log_probs(model, prompt, beams[group])
            penalised -= np.float32(case["diversity_penalty"]) * chosen
            best = candidates(penalised + sums[group][:, None], count)
            running = []
            for rank, (total, beam, token) in enumerate(best):
                ids = beams[group][beam]
                if token not in ends:
                    running.append((total, [*ids, token]))
                elif rank < size:
                    add(pools[group], (float(total) / length**penalty, [*ids, ends[0]]), size)
                if len(running) == size:
                    break
            beams[group] = [ids for _, ids in running]
            sums[group] = np.array([total for total, _ in running], np.float32)
            for ids in beams[group]:
                chosen[ids[-1]] += 1
            if len(pools[group]) == size:
                worst = min(score for score, _ in pools[group])
                bound = float(best[0][0]) / bound_length(case, length) ** penalty
                done[group] = case["early_stopping"] is True or worst >= bound
        if all(done):
            break
    for group in groups:
        if not done[group]:
            for total, ids in zip(sums[group], beams[group], strict=True):
                add(pools[group], (float(total) / limit**penalty, ids), size)
    everything = [hypothesis for pool in pools for hypothesis in pool]
    return sorted(everything, key=lambda hypothesis: hypothesis[0])[::-1]


def differences(file_name: str, models: dict[str, GPT2LMHeadModel]) -> int:
    """How many prompts of a golden file get another answer here."""
    cases = json.loads((GOLDEN_DIR / file_name).read_text(encoding="utf-8"))["cases"]
    prompts, differing = 0, 0
    for case in cases:
        if case["num_beams"] == 1:
            continue
        search = diverse_beam_search if case["num_beam_groups"] > 1 else beam_search
        for prompt in case["prompts"]:
            found = search(models[case["model"]], prompt["input_ids"], case)[: case["num_return_sequences"]]
            same_ids = [ids for _, ids in found] == prompt["sequences"]
            close = np.allclose(
                [score for score, _ in found], prompt["scores"], rtol=TOLERANCE, atol=TOLERANCE
            )
            prompts += 1
            differing += not (same_ids and close)
    print(f"{file_name}: {differing} of {prompts} prompts differ")
    return differing


def main() -> None:
    use_one_thread()
    models = {name: load(name) for name in TINY_MODELS}
    sys.exit(any([differences("beam.json", models), differences("diverse_beam.json", models)]))


if __name__ == "__main__":
    main()
