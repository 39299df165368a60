"""Does transformers load what Promptist saved, and compute the same logits?

    python tools/reference/check_roundtrip.py FOLDER LOGITS.safetensors [--text TEXT]

`LOGITS.safetensors` holds `input_ids` `[T]` and the `logits` `[T, V]` that Promptist computed for
them, and may name in its header the `text` that Promptist encoded to these ids. The folder must load
with `AutoModelForCausalLM` with no key missing and none left over, and with `AutoTokenizer`, which
must give the same ids, and whose decoding of an encoded text must be that text. Exits with 1 if
anything differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4
TIED_KEYS = {"lm_head.weight"}


@torch.no_grad()
def faults(folder: Path, logits_file: Path, text: str) -> list[str]:
    """Everything that is wrong, one line each."""
    found = []
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    missing = set(report["missing_keys"]) - TIED_KEYS
    unexpected = set(report["unexpected_keys"])
    if missing or unexpected:
        found.append(f"keys missing: {sorted(missing)}, unexpected: {sorted(unexpected)}")

    expected = load_file(logits_file)
    logits = model.eval().float()(expected["input_ids"].long()[None]).logits[0]
    if logits.shape != expected["logits"].shape:
        found.append(f"logits: {list(logits.shape)} there, {list(expected['logits'].shape)} here")
    else:
        difference = (logits - expected["logits"].float()).abs().max().item()
        print(f"logits differ by at most {difference:.2e}")
        if not difference <= TOLERANCE:
            found.append(f"logits differ by {difference:.2e}, more than {TOLERANCE}")

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with safe_open(logits_file, framework="pt") as header:
        encoded_text = (header.metadata() or {}).get("text")
    if encoded_text is not None:
        theirs = tokenizer.encode(encoded_text, add_special_tokens=False)
        if theirs != expected["input_ids"].tolist():
            found.append(f"tokenizer: {encoded_text!r} gives {theirs} there")
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    decoded = tokenizer.decode(token_ids, clean_up_tokenization_spaces=False)
    if decoded != text:
        found.append(f"tokenizer: {text!r} comes back as {decoded!r}")
    if len(tokenizer) > model.config.vocab_size:
        found.append(f"tokenizer has {len(tokenizer)} tokens, the model {model.config.vocab_size}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("--text", default="a rabbit is wearing a space suit, 4k, \u00e9\u4e2d\U0001f407")
    arguments = parser.parse_args()
    found = faults(arguments.folder, arguments.logits, arguments.text)
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
