"""Log-probabilities after transformers' sampling filters, in transformers' order: `sampling.json`.

The order is temperature, top-k, top-p, min-p: it comes from transformers itself, which builds the
list of filters here, and the result is `log_softmax` of the filtered logits. A masked token is null.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.utils import logging

from golden import GOLDEN_DIR, metadata, use_one_thread, write_json
from tiny_models import load

SEED = 24
VOCAB_SIZE = 48

TEMPERATURES = (None, 0.7, 1.6)
TOP_KS = (None, 1, 7, 100)
TOP_PS = (None, 0.1, 0.6, 0.95)
MIN_PS = (None, 0.02, 0.4)


def logits_rows() -> list[list[float]]:
    """Rows of different peakedness: flat, usual, peaked, and one far from zero."""
    generator = torch.Generator().manual_seed(SEED)
    rows = torch.randn(4, VOCAB_SIZE, generator=generator)
    scale = torch.tensor([0.3, 1.5, 4.0, 2.0])
    shift = torch.tensor([0.0, 0.0, 0.0, -80.0])
    return (rows * scale[:, None] + shift[:, None]).tolist()


def tied_row() -> list[float]:
    """Few values, each many times: the kth largest is one of several equals, and all of them stay.

    Used without top-p, which cuts between equals in the order of an unstable sort.
    """
    return [float(idx % 6) for idx in range(VOCAB_SIZE)]


def log_probs(rows: list[list[float]], filters: LogitsProcessorList) -> list[list[float | None]]:
    """`[rows, V]`; null stands for minus infinity."""
    input_ids = torch.zeros(len(rows), 1, dtype=torch.long)
    filtered = filters(input_ids, torch.tensor(rows)).log_softmax(-1)
    return [[None if value == -torch.inf else value for value in row] for row in filtered.tolist()]


def main() -> None:
    use_one_thread()
    logging.set_verbosity_error()
    model = load("gpt2_tiny_a")
    rows = logits_rows()
    cases: list[dict[str, Any]] = []
    for temperature, top_k, top_p, min_p in itertools.product(TEMPERATURES, TOP_KS, TOP_PS, MIN_PS):
        count = sum(value is not None for value in (temperature, top_k, top_p, min_p))
        if count == 3:
            continue
        config = GenerationConfig(
            do_sample=True,
            temperature=temperature if temperature is not None else 1.0,
            top_k=top_k if top_k is not None else 0,
            top_p=top_p if top_p is not None else 1.0,
            min_p=min_p,
        )
        filters = model._get_logits_processor(config)
        # Every setting meets one row; the single ones and the empty one meet all.
        kept = list(range(len(rows))) if count <= 1 else [len(cases) % len(rows)]
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        for row_idx in kept:
            result = log_probs([rows[row_idx]], filters)[0]
            cases.append({**settings, "logits": rows[row_idx], "log_probs": result})
        if top_p is None and count <= 1:
            result = log_probs([tied_row()], filters)[0]
            cases.append({**settings, "logits": tied_row(), "log_probs": result})
    about = metadata(SEED, "float32", order="temperature, top_k, top_p, min_p, log_softmax")
    write_json(GOLDEN_DIR / "sampling.json", {"metadata": about, "cases": cases})


if __name__ == "__main__":
    main()
