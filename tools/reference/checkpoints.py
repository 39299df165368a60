"""One tiny model in every form of checkpoint that people have: folder `pickle/`.

The folder holds `config.json` and `model.safetensors` (float32, the truth), and beside them the same
weights as `torch.save` writes them, new format and legacy, and as safetensors in other dtypes and in
shards. The float16 and bfloat16 files hold the float32 weights rounded once.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from golden import GOLDEN_DIR, metadata, save_tensors, use_one_thread
from tiny_models import draw_weights, save, tiny_config

SEED = 27
FOLDER = GOLDEN_DIR / "pickle"
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def write_torch_save(path: Path, state: dict[str, torch.Tensor], legacy: bool) -> None:
    """A `pytorch_model.bin` under a name that tells what is in it."""
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)


def main() -> None:
    use_one_thread()
    config = tiny_config(63, vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    draw_weights(model, SEED, std=0.35)
    about = metadata(SEED, "float32")
    save(FOLDER, model, with_prefix=True, about=about)

    # `state_dict` names the tied head too; both names share one storage, and torch.save keeps that.
    # It is an OrderedDict with an attribute `_metadata`, as in the files that people have.
    tied = model.state_dict()
    untied = {name: tensor for name, tensor in tied.items() if name != "lm_head.weight"}
    for suffix, dtype in DTYPES.items():
        state = {name: tensor.to(dtype) for name, tensor in untied.items()}
        write_torch_save(FOLDER / f"zip_{suffix}.bin", state, legacy=False)
        write_torch_save(FOLDER / f"legacy_{suffix}.bin", state, legacy=True)
        if dtype != torch.float32:
            save_tensors(
                FOLDER / f"model_{suffix}.safetensors", state, {"format": "pt", **about, "dtype": str(dtype)}
            )
    write_torch_save(FOLDER / "zip_tied_f32.bin", tied, legacy=False)
    write_torch_save(FOLDER / "legacy_tied_f32.bin", tied, legacy=True)
    without_prefix = {name.removeprefix("transformer."): tensor for name, tensor in untied.items()}
    write_torch_save(FOLDER / "zip_no_prefix_f32.bin", without_prefix, legacy=False)
    # Old checkpoints carry the causal mask as buffers, which a reader must pass over.
    old = dict(untied)
    for layer in range(config.n_layer):
        mask = torch.ones(config.n_positions, config.n_positions, dtype=torch.bool).tril()
        old[f"transformer.h.{layer}.attn.bias"] = mask[None, None]
        old[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    write_torch_save(FOLDER / "zip_mask_buffers_f32.bin", old, legacy=False)
    # Tensors that are views: a transposed one, and two that lie in one storage at different offsets.
    views = dict(untied)
    joined = torch.cat([tensor.flatten() for tensor in untied.values()])
    offset = 0
    for name, tensor in untied.items():
        views[name] = joined[offset : offset + tensor.numel()].view(tensor.shape)
        offset += tensor.numel()
    transposed = "transformer.h.0.attn.c_attn.weight"
    views[transposed] = untied[transposed].t().contiguous().t()
    write_torch_save(FOLDER / "zip_views_f32.bin", views, legacy=False)
    write_torch_save(FOLDER / "legacy_views_f32.bin", views, legacy=True)
    model.save_pretrained(FOLDER / "sharded", max_shard_size="12KB")
    # The same with torch.save: an index and two files.
    write_torch_shards(FOLDER / "sharded_bin", config, untied)


def write_torch_shards(folder: Path, config: GPT2Config, state: dict[str, torch.Tensor]) -> None:
    """`pytorch_model.bin.index.json` and its two files, as transformers wrote them before safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    names = list(state)
    half = len(names) // 2
    weight_map = {}
    for idx, part in enumerate((names[:half], names[half:]), start=1):
        file_name = f"pytorch_model-{idx:05}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / file_name)
        weight_map |= dict.fromkeys(part, file_name)
    total_size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
