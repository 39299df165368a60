"""Group beam search of transformers 4.56.2, the last to have it: `diverse_beam.json`.

Runs in the environment of `requirements-diverse.txt`, over the folders that `tiny_models.py` wrote.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import transformers
from transformers.utils import logging

from decoding import Case, record, stable_prompts, summary
from golden import GOLDEN_DIR, metadata, use_one_thread, write_json
from tiny_models import TINY_MODELS, load

SEED = 23
MODELS = tuple(TINY_MODELS)
BEAMS_AND_GROUPS = ((8, 8), (16, 16), (6, 3))
DIVERSITY_PENALTIES = (0.5, 1.0)
LENGTH_PENALTIES = (-1.0, 1.0)
EARLY_STOPPING: tuple[bool | str, ...] = (False, True, "never")


def cases() -> Iterator[Case]:
    """The whole product of the settings, then one prompt alone and one new token."""
    idx = 0
    for num_beams, num_beam_groups in BEAMS_AND_GROUPS:
        for diversity_penalty in DIVERSITY_PENALTIES:
            for length_penalty in LENGTH_PENALTIES:
                for early_stopping in EARLY_STOPPING:
                    yield Case(
                        name=f"beams_{num_beams}_groups_{num_beam_groups}_diversity_{diversity_penalty}"
                        f"_penalty_{length_penalty}_early_{early_stopping}",
                        model=MODELS[(idx + idx // 3) % len(MODELS)],
                        max_new_tokens=(12, 16, 20)[idx % 3],
                        prompt_count=3 + idx % 3,
                        num_beams=num_beams,
                        num_return_sequences=(num_beams, 3, num_beams, 1)[idx % 4],
                        length_penalty=length_penalty,
                        early_stopping=early_stopping,
                        num_beam_groups=num_beam_groups,
                        diversity_penalty=diversity_penalty,
                    )
                    idx += 1
    groups = {"num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 1.0}
    yield Case("single_prompt", MODELS[1], 16, 1, num_return_sequences=6, **groups)
    yield Case("one_new_token", MODELS[0], 1, 4, num_return_sequences=6, **groups)


def main() -> None:
    if transformers.__version__ != "4.56.2":
        raise SystemExit("run this in the environment of requirements-diverse.txt")
    use_one_thread()
    logging.set_verbosity_error()
    generator = torch.Generator().manual_seed(SEED)
    models = {name: load(name, attention="eager") for name in MODELS}
    records, redrawn = [], 0
    for case in cases():
        prompts, more = stable_prompts(models[case.model], case, generator)
        redrawn += more
        records.append(record(models[case.model], case, prompts))
    about = metadata(SEED, "float32", **summary(records, redrawn))
    print(about)
    write_json(GOLDEN_DIR / "diverse_beam.json", {"metadata": about, "cases": records})


if __name__ == "__main__":
    main()
