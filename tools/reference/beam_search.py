"""Greedy and beam search of transformers 5.23 over the tiny models: `beam.json`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers.utils import logging

from decoding import Case, record, stable_prompts, summary
from golden import GOLDEN_DIR, metadata, use_one_thread, write_json
from tiny_models import TINY_MODELS, load

SEED = 22
MODELS = tuple(TINY_MODELS)
NUM_BEAMS = (2, 4, 8)
LENGTH_PENALTIES = (-1.0, 0.0, 0.6, 1.0, 2.0)
EARLY_STOPPING: tuple[bool | str, ...] = (False, True, "never")


def cases() -> Iterator[Case]:
    """Greedy, then the whole product of the beam settings, then the corners."""
    for idx, length_penalty in enumerate((1.0, 0.0, -1.0)):
        yield Case(
            name=f"greedy_{idx}",
            model=MODELS[idx],
            max_new_tokens=(16, 24, 12)[idx],
            prompt_count=6,
            length_penalty=length_penalty,
        )
    for beam_idx, num_beams in enumerate(NUM_BEAMS):
        for penalty_idx, length_penalty in enumerate(LENGTH_PENALTIES):
            for stop_idx, early_stopping in enumerate(EARLY_STOPPING):
                idx = beam_idx + penalty_idx + stop_idx
                yield Case(
                    name=f"beams_{num_beams}_penalty_{length_penalty}_early_{early_stopping}",
                    model=MODELS[idx % len(MODELS)],
                    max_new_tokens=(12, 16, 20, 24)[idx % 4],
                    prompt_count=4 + idx % 3,
                    num_beams=num_beams,
                    num_return_sequences=1 if idx % 4 == 3 else num_beams,
                    length_penalty=length_penalty,
                    early_stopping=early_stopping,
                )
    yield Case("one_new_token", MODELS[0], 1, 4, num_beams=4, num_return_sequences=4)
    yield Case("one_new_token_greedy", MODELS[1], 1, 4)
    yield Case("single_prompt", MODELS[2], 20, 1, num_beams=8, num_return_sequences=8)
    yield Case(
        "max_length_counts_padding",
        MODELS[1],
        14,
        4,
        num_beams=4,
        length_penalty=1.0,
        early_stopping="never",
        max_length=30,
        prompt_lengths=(3, 16, 9, 1),
    )
    yield Case(
        "whole_context",
        MODELS[0],
        40,
        3,
        num_beams=4,
        num_return_sequences=2,
        prompt_lengths=(24, 11, 1),
    )
    for early_stopping in EARLY_STOPPING:
        yield Case(
            f"two_eos_early_{early_stopping}",
            MODELS[1],
            16,
            4,
            num_beams=4,
            num_return_sequences=4,
            early_stopping=early_stopping,
            extra_eos_token_ids=(7,),
        )


def main() -> None:
    use_one_thread()
    logging.set_verbosity_error()
    generator = torch.Generator().manual_seed(SEED)
    models = {name: load(name) for name in MODELS}
    records, redrawn = [], 0
    for case in cases():
        prompts, more = stable_prompts(models[case.model], case, generator)
        redrawn += more
        records.append(record(models[case.model], case, prompts))
    about = metadata(SEED, "float32", **summary(records, redrawn))
    print(about)
    write_json(GOLDEN_DIR / "beam.json", {"metadata": about, "cases": records})


if __name__ == "__main__":
    main()
