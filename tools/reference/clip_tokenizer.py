"""CLIP's token ids of hostile strings: `clip/tokenizer.json`.

    python tools/reference/clip_tokenizer.py DIR

DIR holds CLIP's `clip_vocab.json` and `clip_merges.txt`, which are not committed; the ids are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from golden import GOLDEN_DIR, metadata, write_json
from tokenizer import PLAIN, SEED, random_texts

CONTEXT_LENGTH = 77

MORE = (
    "<|endoftext|>",
    "<|startoftext|>",
    "a<|endoftext|>b",
    " <|ENDOFTEXT|> <|startoftext|> <|EndOfText|>",
    "<|endoftext|><|endoftext|>",
    "<start_of_text> <end_of_text>",
    "&lt;b&gt; &amp;amp; &quot;x&quot; <br/> &#39;",
    "\u039f\u0394\u039f\u03a3 \u0130STANBUL STRASSE \u1e9e",
    "it''s 'S'S ''' !'s #'re",
    "a cat, " * 40,
    "z" * 75,
    "q " * 75,
    "q " * 76,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    tokenizer = CLIPTokenizer(vocab=str(folder / "clip_vocab.json"), merges=str(folder / "clip_merges.txt"))
    assert tokenizer.vocab_size == 49408
    characters = [f"a{chr(code)}b {chr(code)}" for code in range(256)]
    encoded: list[dict[str, Any]] = []
    for text in dict.fromkeys([*PLAIN, *MORE, *characters, *random_texts()]):
        ids = tokenizer(text, truncation=True, max_length=CONTEXT_LENGTH)["input_ids"]
        encoded.append({"text": text, "ids": ids, "num_tokens": len(tokenizer(text)["input_ids"])})
    write_json(
        GOLDEN_DIR / "clip" / "tokenizer.json",
        {"metadata": metadata(SEED, "none", tokenizer="CLIP BPE, 49408 tokens"), "encode": encoded},
    )


if __name__ == "__main__":
    main()
