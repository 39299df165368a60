"""Token counts of prompts as image models' tokenizers make them: `target_tokens/`.

    python tools/reference/target_tokens.py DIR

DIR holds CLIP's `clip_vocab.json` and `clip_merges.txt`, which are not committed; the counts are. Small
tokenizers of each kind are trained here and committed: CLIP's and Qwen2's BPE, and T5's Unigram model with a
normaliser that SentencePiece compiled. T5's folder comes twice, since transformers 4 and 5 build different
pipelines around one `spiece.model`: the folders on the Hub are of the older form.

Training is on the committed prompts of `main_content_before.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer, T5TokenizerFast

from golden import GOLDEN_DIR, metadata, write_json
from tokenizer import PLAIN, random_texts

SEED = 71
FOLDER = GOLDEN_DIR / "target_tokens"
CORPUS = GOLDEN_DIR / "main_content_before.jsonl"

NUM_CLIP_TOKENS = 900
NUM_T5_TOKENS = 500
NUM_QWEN_TOKENS = 700
NUM_PROMPTS = 120
NUM_MIXES = 200

REMOVED = (*range(1, 9), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)
SPACES = (9, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD)
"""What SentencePiece's `nmt_nfkc`, T5's normaliser, removes or makes a space of, beside NFKC."""

COMPATIBLE = (
    *range(0xA0, 0x100),
    *range(0x2000, 0x200B),
    *range(0x2070, 0x2090),
    *range(0x2100, 0x2150),
    *range(0x2460, 0x2480),
    0x3000,
    *range(0xFB00, 0xFB07),
    *range(0xFC5E, 0xFC64),
    0xFDFA,
    *range(0xFF01, 0xFFA0),
)
"""Where NFKC is compiled in: all of it would take 300 kB."""

COMPOSED = (*range(0xC0, 0x180), 0x1E9E, *range(0x304C, 0x3056), *range(0xAC00, 0xAC10))
"""Characters that are composed from their parts."""

SYNTAX = (
    "(masterpiece:1.2), ((best quality)), [blurry], {a|b}, <lora:add_detail:0.8>, a cat",
    "[a cat:a dog:0.5] BREAK [red|blue] AND __colour__ --ar 16:9 --no text",
    "wow!!! a cat!, !dog! ! !!",
    "a\\(b\\) \\\\ 'quoted' \"text to draw\" \u201cother\u201d",
    "caf\u00e9, &amp; &lt;b&gt; &#39; &quot;tea&quot;",
    "</s> a</s>b <pad> <unk> <extra_id_0>c <extra_id_99> <extra_id_100>",
    "<|im_start|>user\na cat<|im_end|> <|endoftext|>x<|startoftext|> <|vision_start|>",
    " a  cat ,  sitting\u3000on\u00a0a\u2003mat\u0085. \u200b \ufeff",
    "\u0600 a \u06dd b\u0301 \u0301 \u00a0\u0903 \u0d4e x",
    "\u2581a \u2581 b\u2581c",
    "\uff43\uff41\uff54 \ufb01n \u2460 \u00bd \uff76\uff9e \ufdfa \u00a8x",
)


def prompts() -> list[str]:
    """The corpus."""
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def mixes() -> list[str]:
    """Pieces of everything in random order, with odd white space between."""
    generator = random.Random(SEED)
    words = [word for text in (*prompts(), *SYNTAX, *PLAIN) for word in text.split(" ") if len(word) < 40]
    gaps = (" ", " ", " ", ", ", "", "  ", "\n", "\u3000", "\u00a0", " \u0301", "!", "\u200d", "\t ")
    found = []
    for _ in range(NUM_MIXES):
        chosen = generator.choices(words, k=generator.randint(1, 30))
        found.append("".join(word + generator.choice(gaps) for word in chosen))
    return found


def texts() -> list[str]:
    """Every text, without repetition, in a fixed order."""
    lone = (0, 1, 9, 10, 13, 0x1F, 0x7F, 0x85, 0xA0, 0xAD, 0x200B, 0x2028, 0x3000, 0xFEFF, 0xFFFD, 0x1F407)
    around = [f"a{chr(code)}b {chr(code)} {chr(code)}" for code in lone]
    long = ["z" * 75, "q " * 76, "a cat, " * 40, "\u732b" * 90, " " * 40]
    return list(
        dict.fromkeys([*PLAIN, *SYNTAX, *long, *around, *prompts()[:NUM_PROMPTS], *random_texts(), *mixes()])
    )


def clip_like() -> CLIPTokenizer:
    """CLIP's pipeline around a small vocabulary, in the files that Stable Diffusion's folders have."""
    empty = CLIPTokenizer().backend_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer, trained.pre_tokenizer = empty.normalizer, empty.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_CLIP_TOKENS,
        end_of_word_suffix="</w>",
        initial_alphabet=sorted(alphabet),
        show_progress=False,
        special_tokens=[*sorted(alphabet), *(f"{byte}</w>" for byte in sorted(alphabet))],
    )
    trained.train_from_iterator(prompts(), trainer)
    folder = FOLDER / "clip"
    write_bpe(folder, trained, ("<|startoftext|>", "<|endoftext|>"))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    write_config(folder, config)
    return CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))


def qwen_like() -> Qwen2Tokenizer:
    """Qwen2's pipeline around a small vocabulary: as Qwen-Image's folder has it, and as `tokenizer.json`."""
    empty = Qwen2Tokenizer().backend_tokenizer
    trained = Tokenizer(models.BPE())
    trained.normalizer, trained.pre_tokenizer = empty.normalizer, empty.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_QWEN_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(prompts(), trainer)
    folder = FOLDER / "qwen"
    write_bpe(folder, trained, ())
    specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>")
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    start = trained.get_vocab_size()
    declared = {str(start + i): {"content": token, **plain} for i, token in enumerate(specials)}
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "model_max_length": 131072,
        "added_tokens_decoder": declared,
        "additional_special_tokens": list(specials[1:]),
    }
    write_config(folder, config)
    tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    json_folder = FOLDER / "qwen_json"
    with tempfile.TemporaryDirectory() as saved:
        tokenizer.save_pretrained(saved)
        write_tokenizer_json(json_folder, (Path(saved) / "tokenizer.json").read_text(encoding="utf-8"))
    write_config(json_folder, {"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072})
    return tokenizer


def t5_like() -> tuple[T5TokenizerFast, PreTrainedTokenizerFast]:
    """T5's pipelines, of transformers 5 and of 4, around one small SentencePiece model."""
    with tempfile.TemporaryDirectory() as temporary:
        saved = Path(temporary)
        rules = saved / "rules.tsv"
        rules.write_text("".join(f"{source}\t{target}\n" for source, target in normalisation()))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(prompts()),
            model_prefix=str(saved / "spiece"),
            vocab_size=NUM_T5_TOKENS,
            model_type="unigram",
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            normalization_rule_tsv=str(rules),
            num_threads=1,
            minloglevel=2,
        )
        tokenizer = T5TokenizerFast.from_pretrained(saved)
        tokenizer.save_pretrained(saved / "out")
        written = (saved / "out" / "tokenizer.json").read_text(encoding="utf-8")
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "model_max_length": 512}
    write_tokenizer_json(FOLDER / "t5", written)
    write_config(FOLDER / "t5", config)

    older = json.loads(written)
    # T5Converter and SpmConverter of transformers 4.56.2, convert_slow_tokenizer.py.
    compiled = older["normalizer"]
    older_normalizer = normalizers.Sequence(
        [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "\u2581")]
    )
    steps = json.loads(with_normalizer(older_normalizer))["normalizer"]
    steps["normalizers"].insert(0, compiled)
    older["normalizer"] = steps
    older["pre_tokenizer"] = older["pre_tokenizer"]["pretokenizers"][1]
    write_tokenizer_json(FOLDER / "t5_v4", json.dumps(older))
    write_config(FOLDER / "t5_v4", config)
    return tokenizer, PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / "t5_v4" / "tokenizer.json"))


def with_normalizer(normalizer: normalizers.Normalizer) -> str:
    """The JSON of a tokenizer that has nothing else."""
    empty = Tokenizer(models.BPE())
    empty.normalizer = normalizer
    return empty.to_str()


def normalisation() -> list[tuple[str, str]]:
    """A part of `nmt_nfkc`, as the rules that SentencePiece compiles."""
    rules: dict[str, str] = {chr(code): "" for code in REMOVED}
    rules.update({chr(code): " " for code in SPACES})
    for code in (*COMPATIBLE, *COMPOSED):
        source = chr(code)
        target = unicodedata.normalize("NFKC", source)
        if source not in rules and target != source:
            rules[source] = target
    for code in COMPOSED:
        parts = unicodedata.normalize("NFD", chr(code))
        if len(parts) > 1:
            rules[parts] = chr(code)

    def hexadecimal(text: str) -> str:
        return " ".join(f"{ord(character):X}" for character in text)

    return sorted((hexadecimal(source), hexadecimal(target)) for source, target in rules.items())


def write_bpe(folder: Path, trained: Tokenizer, more: tuple[str, ...]) -> None:
    """`vocab.json` and `merges.txt`, `more` tokens at the vocabulary's end."""
    folder.mkdir(parents=True)
    trained.model.save(str(folder))
    path = folder / "vocab.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    vocabulary.update({token: len(vocabulary) + i for i, token in enumerate(more)})
    ordered = dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))
    path.write_text(json.dumps(ordered, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer_json(folder: Path, text: str) -> None:
    """On one line: a third of the size that it is saved in."""
    folder.mkdir(parents=True)
    compact = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact + "\n", encoding="utf-8")


def write_config(folder: Path, config: dict[str, Any]) -> None:
    text = json.dumps(config, indent=1, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    shutil.rmtree(FOLDER, ignore_errors=True)
    clip_files = {"vocab": str(folder / "clip_vocab.json"), "merges": str(folder / "clip_merges.txt")}
    t5, t5_v4 = t5_like()
    tokenizers = {
        "clip": CLIPTokenizer(**clip_files),
        # What pads the second tower of Stable Diffusion XL and 3, and so is special: special_tokens_map.json.
        "open_clip": CLIPTokenizer(**clip_files, pad_token="!"),
        "clip_like": clip_like(),
        "t5_like": t5,
        "t5_like_v4": t5_v4,
        "qwen_like": qwen_like(),
    }
    assert tokenizers["clip"].vocab_size == 49408
    counts: list[dict[str, Any]] = []
    for text in texts():
        found = {
            name: len(tokenizer(text, add_special_tokens=False)["input_ids"])
            for name, tokenizer in tokenizers.items()
        }
        counts.append({"text": text, **found})
    about = metadata(SEED, "none", sentencepiece=sentencepiece.__version__, special_tokens="not counted")
    write_json(FOLDER / "counts.json", {"metadata": about, "counts": counts})


if __name__ == "__main__":
    main()
