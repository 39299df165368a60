"""GPT-2 token ids of hostile strings: `tokenizer.json`.

    python tools/reference/tokenizer.py DIR

DIR holds GPT-2's `gpt2_encoder.json` and `gpt2_vocab.bpe`, which are not committed; the ids are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2TokenizerFast

from golden import GOLDEN_DIR, metadata, write_json

SEED = 26

PLAIN = (
    "",
    " ",
    "a",
    "a rabbit is wearing a space suit Rephrase:",
    "A Rabbit Is WEARING a sPaCe suit, by greg rutkowski, 4 k, trending on artstation",
    "it's they're we'll I'd I'm you've IT'S 'S 's's '",
    "don\u2019t",
    "3.14159, 1,000,000 \u00bd \u2166 \u0663\u0664 100% 4k 8K",
    "(masterpiece:1.2), ((best quality)), [blurry], {a|b}, <lora:x:0.8>",
    "https://example.com/?a=1&b=%20#x",
    "snake_case camelCase kebab-case __dunder__ a__b",
    "!!!???...,,,;;;---===///\\\\\\|||",
    "\u4e00\u53ea\u5154\u5b50\u7a7f\u7740\u5b87\u822a\u670d",
    "\u0437\u0430\u044f\u0446 \u0432 \u0441\u043a\u0430\u0444\u0430\u043d\u0434\u0440\u0435",
    "\u0623\u0631\u0646\u0628 \u064a\u0631\u062a\u062f\u064a \u0628\u062f\u0644\u0629",
    "\u05d0\u05e8\u05e0\u05d1 \u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0e01\u0e23\u0e30\u0e15\u0e48\u0e32\u0e22 \ud1a0\ub07c",
    "mixed\u6df7\u5408\u0441\u043c\u0435\u0448\u0430\u043d\u043d\u044b\u0439abc\u00df\u01c5\u0130",
    "caf\u00e9 cafe\u0301 \u212b \u00c5 A\u030a \ufb01",
    "\U0001f407\U0001f680",
    "\U0001f469\u200d\U0001f680 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44d\U0001f3fd",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad",
    "\ufffd\ufffe\uffff\U0010ffff\ue000\U000f0000",
    "a\u00a0b\u2003c\u3000d\u2028e\u2029f\u0085g\u1680h",
    "\u202eright to left\u202c",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034dA\u036b\u0357\u0334\u0362",
    "\x00\x01\x02\x07\x08\x0b\x0c\x0e\x1b[31m\x7f",
    "line\nline\r\nline\rline\n\n\nline\t\ttab",
    " \n \n  \n\n   x",
    "  two spaces   three    four     five",
    "a \t \n b",
    "x" * 40,
    "abc" * 30,
    "a" * 1000,
    "supercalifragilisticexpialidocious" * 6,
    "0123456789" * 20,
    "\u00e9" * 100,
    "\U0001f407" * 40,
    " " * 100,
    "\n" * 50,
    "-" * 80,
    " a" * 60,
    "Rephrase: Rephrase:Rephrase :",
    "<|endoftext",
    "|endoftext|>",
    "<|im_start|>",
)
"""Every one also appears with white space around it."""

PADDINGS = (("", ""), (" ", ""), ("", " "), ("  ", "  "), ("\n", "\n"), ("\t ", " \t"))

SPECIAL = ("<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>")
"""The one special token, which a user's text must not be able to name."""


def texts() -> list[str]:
    """Every string, without repetition, in a fixed order."""
    padded = [before + text + after for text in PLAIN for before, after in PADDINGS]
    latin = [chr(code) for code in range(256)]
    around = [f"a{chr(code)}b {chr(code)}{chr(code)} " for code in range(256)]
    leads = [chr(code) for code in (0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x3FFFF, 0x40000, 0xFFFFF)]
    return list(dict.fromkeys([*padded, *latin, *around, *leads, *random_texts()]))


def random_texts() -> list[str]:
    """Random scalar values from a few blocks, mixed with spaces and letters."""
    generator = torch.Generator().manual_seed(SEED)
    blocks = (
        (32, 127),
        (0, 32),
        (128, 0x250),
        (0x370, 0x600),
        (0x2000, 0x2100),
        (0x4E00, 0x5000),
        (0x1F300, 0x1F700),
    )
    found = []
    for _ in range(60):
        characters = []
        for _ in range(int(torch.randint(1, 40, (1,), generator=generator))):
            low, high = blocks[int(torch.randint(len(blocks), (1,), generator=generator))]
            characters.append(chr(int(torch.randint(low, high, (1,), generator=generator))))
            if torch.rand(1, generator=generator) < 0.3:
                characters.append(" ")
        found.append("".join(characters))
    return found


def id_lists(vocab_size: int) -> list[list[int]]:
    """Ids to decode: every byte alone, then random ids, most of them no valid UTF-8."""
    generator = torch.Generator().manual_seed(SEED)
    singles = [[token_id] for token_id in range(256)]
    bytes_mixed = [torch.randint(256, (12,), generator=generator).tolist() for _ in range(60)]
    anything = [torch.randint(vocab_size, (12,), generator=generator).tolist() for _ in range(60)]
    return [*singles, *bytes_mixed, *anything]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    tokenizer = GPT2TokenizerFast(
        vocab=str(folder / "gpt2_encoder.json"), merges=str(folder / "gpt2_vocab.bpe")
    )
    assert tokenizer.vocab_size == 50257

    def decode(token_ids: list[int]) -> str:
        return tokenizer.decode(token_ids, clean_up_tokenization_spaces=False)

    encoded: list[dict[str, Any]] = []
    for text in texts():
        token_ids = tokenizer.encode(text, add_special_tokens=False)
        assert decode(token_ids) == text, text
        encoded.append({"text": text, "ids": token_ids})
    special: list[dict[str, Any]] = []
    for text in SPECIAL:
        special.append(
            {
                "text": text,
                "ids": tokenizer.encode(text, add_special_tokens=False),
                "ids_as_plain_text": tokenizer.encode(
                    text, add_special_tokens=False, split_special_tokens=True
                ),
            }
        )
    decoded = [{"ids": ids, "text": decode(ids)} for ids in id_lists(tokenizer.vocab_size)]
    write_json(
        GOLDEN_DIR / "tokenizer.json",
        {
            "metadata": metadata(SEED, "none", tokenizer="GPT-2 byte-level BPE, 50257 tokens"),
            "encode": encoded,
            "special": special,
            "decode": decoded,
        },
    )


if __name__ == "__main__":
    main()
