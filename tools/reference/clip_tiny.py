"""Tiny CLIP models with random weights, as Hugging Face folders, and what they compute: folder `clip/`.

`quick_gelu` is in the layout of OpenAI's models at 224 pixels, as transformers 5 saves it. `gelu` is in the
layout of PickScore: `pytorch_model.bin`, vocabulary in two files, an end token that the configuration gets
wrong as old ones do, buffers among the weights. `gelu_f16` and `gelu_sharded` hold `gelu` in other forms;
`text_encoder` and `text_encoder_prefixed` are text towers of their own, as Stable Diffusion's folders have them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
)

from golden import GOLDEN_DIR, metadata, save_tensors, use_one_thread, write_tensors

SEED = 41
FOLDER = GOLDEN_DIR / "clip"
CONTEXT_LENGTH = 77

MERGES = (
    "t h,th e</w>,c a,ca t</w>,d o,do g</w>,i n,in g</w>,p h,o t,ph ot,phot o</w>,o f</w>,s t,st y,sty l,styl e</w>,"
    "r e,re d</w>,8 k</w>,a r,ar t</w>,e r</w>,' s</w>"
).split(",")

TEXTS = (
    "a photo of the cat",
    "the dog's red style art, 8k, painting, " * 12,
    "",
    "A CAT <|endoftext|> the dog",
    "caf\u00e9 \u4e00\u53ea\u5154\u5b50 \U0001f407!",
)


def vocabulary() -> dict[str, int]:
    """CLIP's vocabulary with few merges: every byte, every byte that ends a word, merges, start and end."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = [chr(code) for code in printable]
    characters += [chr(256 + rank) for rank in range(256 - len(printable))]
    tokens = [*characters, *(character + "</w>" for character in characters)]
    tokens += [merge.replace(" ", "") for merge in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: token_id for token_id, token in enumerate(tokens)}


def tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """The tiny tokenizer, as transformers makes it."""
    pairs = [tuple(merge.split(" ")) for merge in MERGES]
    return CLIPTokenizer(
        vocab=vocabulary(), merges=pairs, pad_token=pad_token, model_max_length=CONTEXT_LENGTH
    )


def draw_weights(model: torch.nn.Module, seed: int) -> None:
    """Fills every parameter from one generator, wide enough that a mistake in any term shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "logit_scale":
                continue
            std = 0.08 if "patch_embedding" in name else 0.35
            parameter.normal_(0.0, std, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)


def model(act: str, image: tuple[int, int], text_heads: int, eos_token_id: int, seed: int) -> CLIPModel:
    """A model of 2 layers a tower; `image` is its size and that of a patch."""
    text = {
        "vocab_size": len(vocabulary()),
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": text_heads,
        "max_position_embeddings": CONTEXT_LENGTH,
        "hidden_act": act,
        "bos_token_id": len(vocabulary()) - 2,
        "eos_token_id": eos_token_id,
        "pad_token_id": 1,
        "layer_norm_eps": 1e-5,
    }
    vision = {
        "hidden_size": 20,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 1 if act == "gelu" else 4,
        "image_size": image[0],
        "patch_size": image[1],
        "hidden_act": act,
        "layer_norm_eps": 1e-4,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=28, logit_scale_init_value=4.6)
    clip = CLIPModel(config).eval()
    draw_weights(clip, seed)
    return clip


def rewrite(path: Path, about: dict[str, str]) -> None:
    """The same safetensors file with `about` in its header, and bytes that depend on nothing else."""
    save_tensors(path, load_file(path), {"format": "pt", **about})


@torch.no_grad()
def golden_features(clip: CLIPModel, tokens: CLIPTokenizer, seed: int) -> dict[str, torch.Tensor]:
    """Ids, hidden states and features of `TEXTS` and of two random pictures."""
    encoded = tokens(list(TEXTS), padding="max_length", truncation=True, max_length=CONTEXT_LENGTH)
    input_ids = torch.tensor(encoded["input_ids"])
    size = clip.config.vision_config.image_size
    pixel_values = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))
    # No attention mask: diffusers gives none, and behind the end token it changes nothing before it.
    text = clip.get_text_features(input_ids)
    vision = clip.get_image_features(pixel_values)
    return {
        "input_ids": input_ids,
        "text_hidden_state": text.last_hidden_state,
        "text_features": text.pooler_output,
        "pixel_values": pixel_values,
        "vision_hidden_state": vision.last_hidden_state,
        "image_features": vision.pooler_output,
    }


def write_json(path: Path, value: Any) -> None:
    """A small JSON file as people's folders have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_quick_gelu(about: dict[str, str]) -> None:
    """A folder as transformers 5 writes it."""
    end = len(vocabulary()) - 1
    clip = model("quick_gelu", (224, 16), text_heads=3, eos_token_id=end, seed=SEED)
    folder = FOLDER / "quick_gelu"
    clip.save_pretrained(folder)
    rewrite(folder / "model.safetensors", about)
    CLIPProcessor(CLIPImageProcessorPil(), tokenizer()).save_pretrained(folder)
    tensors = golden_features(clip, tokenizer(), SEED + 1)
    # Random pictures of 224 pixels are large; `clip_images.py` has better ones.
    for name in ("pixel_values", "vision_hidden_state", "image_features"):
        del tensors[name]
    write_tensors(FOLDER / "quick_gelu.safetensors", tensors, about)


def write_gelu(about: dict[str, str]) -> None:
    """A folder in PickScore's layout, and the same weights in other forms."""
    clip = model("gelu", (32, 8), text_heads=2, eos_token_id=2, seed=SEED + 2)
    folder = FOLDER / "gelu"
    clip.config.save_pretrained(folder)
    state = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    # Files from before transformers 4.31 carry these buffers.
    state["text_model.embeddings.position_ids"] = torch.arange(CONTEXT_LENGTH)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    torch.save(state, folder / "pytorch_model.bin")
    write_json(folder / "vocab.json", vocabulary())
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    end = {"content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    write_json(folder / "special_tokens_map.json", {"eos_token": end, "pad_token": "!"})
    write_json(folder / "tokenizer_config.json", {"pad_token": "<|endoftext|>", "model_max_length": CONTEXT_LENGTH})
    write_json(folder / "preprocessor_config.json", {"crop_size": 32, "resample": 3, "size": 32})
    write_tensors(FOLDER / "gelu.safetensors", golden_features(clip, tokenizer("!"), SEED + 3), about)
    clip.save_pretrained(FOLDER / "gelu_sharded", max_shard_size="60KB")

    rounded = clip.half()
    rounded.save_pretrained(FOLDER / "gelu_f16")
    rewrite(FOLDER / "gelu_f16" / "model.safetensors", {**about, "dtype": "float16"})
    tensors = golden_features(rounded.float(), tokenizer("!"), SEED + 3)
    tensors = {name: tensors[name] for name in ("text_features", "image_features")}
    write_tensors(FOLDER / "gelu_f16.safetensors", tensors, about)


@torch.no_grad()
def write_text_encoders(about: dict[str, str]) -> None:
    """Text towers of their own, with and without the prefix that transformers 4 wrote."""
    size = len(vocabulary())
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act="gelu",
        projection_dim=512,
        bos_token_id=size - 2,
        eos_token_id=2,
    )
    tower = CLIPTextModel(config).eval()
    draw_weights(tower, SEED + 4)
    folder, prefixed = FOLDER / "text_encoder", FOLDER / "text_encoder_prefixed"
    tower.save_pretrained(folder)
    rewrite(folder / "model.safetensors", about)
    config.save_pretrained(prefixed)
    state = load_file(folder / "model.safetensors")
    state = {f"text_model.{name}": tensor for name, tensor in state.items()}
    save_tensors(prefixed / "model.safetensors", state, {"format": "pt", **about})
    encoded = tokenizer("!")(list(TEXTS), padding="max_length", truncation=True, max_length=CONTEXT_LENGTH)
    input_ids = torch.tensor(encoded["input_ids"])
    hidden = tower(input_ids).last_hidden_state
    write_tensors(FOLDER / "text_encoder.safetensors", {"input_ids": input_ids, "hidden_state": hidden}, about)


def main() -> None:
    use_one_thread()
    FOLDER.mkdir(parents=True, exist_ok=True)
    about = metadata(SEED, "float32")
    write_json(FOLDER / "texts.json", TEXTS)
    write_quick_gelu(about)
    write_gelu(about)
    write_text_encoders(about)


if __name__ == "__main__":
    main()
