"""The GPT-2 that peers and we are timed on: 124M, random weights, in every tool's format.

    python bench/peers/make_checkpoint.py --out DIR [--tokenizer FOLDER] [--layers 12]

| path | what |
|---|---|
| `DIR/hf/` | safetensors in f32, config and tokenizer as on the Hub: for transformers and promptist |
| `DIR/ctranslate2-{float32,int8}/` | by CTranslate2's own converter |
| `DIR/llama.cpp-{f32,bf16,q8_0}.gguf` | by the gguf package |
| `DIR/prompts.json` | `texts` that are 16 tokens each with `" Rephrase:"`, and their `ids` |

The end token is never drawn, so every answer is as long as asked: its logit is -100 in exact arithmetic,
by one channel of the last LayerNorm that is always 1 and that no other token's embedding has. No tool
needs a rule for it that another lacks.

FOLDER holds GPT-2's `gpt2_encoder.json` and `gpt2_vocab.bpe`; the default is `tokenizers/` in
`PROMPTIST_DATA`, or in `../shared/data`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

EOS_TOKEN_ID = 50256
SUFFIX = " Rephrase:"
PROMPT_TOKENS = 16
NUM_PROMPTS = 64
GGUF_TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    data = Path(os.environ.get("PROMPTIST_DATA", "../shared/data"))
    parser.add_argument("--tokenizer", type=Path, default=data / "tokenizers", metavar="FOLDER")
    parser.add_argument("--layers", type=int, default=12, help="fewer for a trial of the scripts")
    parser.add_argument("--seed", type=int, default=47)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    hf = arguments.out / "hf"
    model = random_gpt2(arguments.layers, arguments.seed)
    tokenizer = write_hugging_face(hf, model, arguments.tokenizer)
    write_prompts(arguments.out / "prompts.json", tokenizer, arguments.seed)
    write_ctranslate2(hf, arguments.out)
    for name in GGUF_TYPES:
        write_gguf(arguments.out / f"llama.cpp-{name}.gguf", model, tokenizer, name)


def random_gpt2(layers: int, seed: int) -> GPT2LMHeadModel:
    """The 124M shape with transformers' own initialisation, the last LayerNorm's gain raised so that the
    logits spread by some nats, and an end token that is never drawn."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers)).eval()
    ln_f, wte = model.transformer.ln_f, model.transformer.wte.weight
    with torch.no_grad():
        ln_f.weight.fill_(6.0)
        ln_f.weight[0] = 0.0
        ln_f.bias[0] = 1.0
        wte[:, 0] = 0.0
        wte[EOS_TOKEN_ID] = 0.0
        wte[EOS_TOKEN_ID, 0] = -100.0
    return model


def write_hugging_face(folder: Path, model: GPT2LMHeadModel, bpe: Path) -> GPT2TokenizerFast:
    model.generation_config.eos_token_id = EOS_TOKEN_ID
    model.generation_config.pad_token_id = EOS_TOKEN_ID
    model.save_pretrained(folder)
    shutil.copyfile(bpe / "gpt2_encoder.json", folder / "vocab.json")
    shutil.copyfile(bpe / "gpt2_vocab.bpe", folder / "merges.txt")
    tokenizer = GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_prompts(path: Path, tokenizer: GPT2TokenizerFast, seed: int) -> None:
    """Captions of twelve one-token words each, all different."""
    slots = (
        ("a",),
        (" red", " small", " quiet", " golden", " young"),
        (" house", " cat", " knight", " forest", " ship"),
        (" under", " near", " behind", " above"),
        (" the",),
        (" old", " blue", " green", " silent"),
        (" bridge", " mountain", " castle", " river"),
        (" at",),
        (" night", " dawn", " noon"),
        (" in",),
        (" heavy", " soft", " warm"),
        (" rain", " light", " snow"),
    )
    captions = ["".join(words) for words in itertools.product(*slots)]
    texts = random.Random(seed).sample(captions, NUM_PROMPTS)
    ids = [tokenizer(text + SUFFIX).input_ids for text in texts]
    assert all(len(prompt) == PROMPT_TOKENS for prompt in ids), [len(prompt) for prompt in ids]
    path.write_text(json.dumps({"texts": texts, "ids": ids}, indent=1) + "\n")


def write_ctranslate2(hf: Path, out: Path) -> None:
    """float32 and int8, the compute types that it has on an x86 CPU."""
    from ctranslate2.converters import TransformersConverter

    for precision in ("float32", "int8"):
        converter = TransformersConverter(str(hf))
        converter.convert(str(out / f"ctranslate2-{precision}"), quantization=precision, force=True)


def write_gguf(path: Path, model: GPT2LMHeadModel, tokenizer: GPT2TokenizerFast, name: str) -> None:
    """What llama.cpp's `convert_hf_to_gguf.py` writes for GPT-2: matrices in `name`, the rest in f32."""
    matrix_type, file_type = GGUF_TYPES[name]
    config, state = model.config, model.transformer.state_dict()
    writer = GGUFWriter(path, "gpt2")
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_file_type(file_type)

    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    merges = (path.parent / "hf" / "merges.txt").read_text().splitlines()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocab)
    writer.add_token_types([TokenType.NORMAL] * EOS_TOKEN_ID + [TokenType.CONTROL])
    writer.add_token_merges([line for line in merges if line and not line.startswith("#version")])
    writer.add_bos_token_id(EOS_TOKEN_ID)
    writer.add_eos_token_id(EOS_TOKEN_ID)

    def add(name: str, tensor: torch.Tensor, kind: GGMLQuantizationType = GGMLQuantizationType.F32) -> None:
        array = np.ascontiguousarray(tensor.float().numpy())
        writer.add_tensor(name, quants.quantize(array, kind), raw_dtype=kind)

    add("token_embd.weight", state["wte.weight"], matrix_type)
    add("position_embd.weight", state["wpe.weight"])
    add("output_norm.weight", state["ln_f.weight"])
    add("output_norm.bias", state["ln_f.bias"])
    norms = {"ln_1": "attn_norm", "ln_2": "ffn_norm"}
    products = {
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }
    for layer in range(config.n_layer):
        for ours, theirs in {**norms, **products}.items():
            add(f"blk.{layer}.{theirs}.bias", state[f"h.{layer}.{ours}.bias"])
        for ours, theirs in norms.items():
            add(f"blk.{layer}.{theirs}.weight", state[f"h.{layer}.{ours}.weight"])
        for ours, theirs in products.items():
            add(f"blk.{layer}.{theirs}.weight", state[f"h.{layer}.{ours}.weight"].T, matrix_type)  # Conv1D
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
