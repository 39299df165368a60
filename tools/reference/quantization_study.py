"""Which int8, bf16 and 4-bit schemes keep a GPT-2's answers: a simulation in f32, teacher-forced.

    python tools/reference/quantization_study.py --random compensated --layers 6
    python tools/reference/quantization_study.py --model models/mini --text FILE...
    python tools/reference/quantization_study.py --random plain --save DIR    # for `promptist model precision DIR`

Weights and the inputs of every product are rounded as the engine would round them and multiplied in
f32, which differs from the engine's exact integers by f32 rounding alone. Rounded are `c_attn`,
`attn.c_proj`, `c_fc`, `mlp.c_proj` and the head; the rest stays f32.

A row of the table is a scheme against f32 on the same tokens: top-1 agreement, the same where f32's
top two differ by over 0.1 nat, `exp(KL(f32 || scheme))`, which is the perplexity ratio on text that the
f32 model writes itself, the perplexity ratio on the given text, and the root mean square of the logits'
error over their standard deviation.

The random model draws its weights (seeded). Tokens have ranks, and logits fall with the logarithm of the
rank as in text (through a direction of `wte` and `ln_f`'s bias): with a flat prior the top two of 50,257
Gaussian logits are so close that agreement says nothing of a trained model. Three kinds of outliers:

- `plain`: `--outliers` channels of every LayerNorm's gain times 10 to 60; a few channels are nearly all of
  every product.
- `compensated`: the same, and the weights that read those channels divided by as much, so that an
  outlier says no more than any other channel. A scale that fits the outlier rounds all else away.
- `massive`: three channels of the residual stream fifty times the others, which every LayerNorm's gain
  takes down again: a rule that divides by the gain alone brings them back.

Smoothing divides input channel k by `s_k` (in the LayerNorm's gain and bias, at no cost) and multiplies
its weights: `gain^a` takes `|gain|^a`, `range^a` the channel's range to `a` over its largest weight to
`1 - a`, with the range guessed as `3 |gain| + |bias|`; `calibrated` is `range^0.5` with the range seen on
other tokens. `wide N`: the N channels of the largest range in 16 bits (two products of 8), the others in 8.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.nn.functional import gelu, layer_norm, log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

PRODUCTS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "head")
AFTER_LAYER_NORM = {"attn.c_attn": "ln_1", "mlp.c_fc": "ln_2", "head": "ln_f"}
MARGIN_NATS = 0.1
CONTEXT_NATS = 3.5
BRANCH = 0.04  # of the weights that write to the residual stream


@dataclass(frozen=True)
class Scheme:
    """How the two sides of a product are rounded; `None` leaves a side in f32."""

    name: str
    weights: str | None = "s8"  # s8: per output channel; bf16; u4: asymmetric groups of `weight_group`
    weight_group: int = 32
    activations: str | None = "u8"  # u8, bf16
    group: int | None = None  # input channels that share a scale; None is the whole row
    symmetric: bool = False  # zero point 128
    by_range: bool = False  # input channels after a LayerNorm sorted by their range
    smoothing: str = ""  # gain, range or calibrated, to the power of
    alpha: float = 0.5
    wide: int = 0  # the first input channels after a LayerNorm, by range, in 16 bits
    kv_bf16: bool = False
    only: tuple[str, ...] = PRODUCTS  # the others stay f32


@dataclass
class Product:
    """`[K, N]` weights, and the gain and bias of the LayerNorm that feeds them, where one does."""

    kind: str
    weight: torch.Tensor
    bias: torch.Tensor | None
    norm: tuple[torch.Tensor, torch.Tensor] | None
    seen: torch.Tensor | None = None  # the largest |input| of each channel on calibration tokens
    cache: dict[tuple, tuple] = field(default_factory=dict)

    def divisor(self, scheme: Scheme) -> torch.Tensor | None:
        """What smoothing divides each input channel by, `[K]`."""
        if scheme.smoothing == "calibrated" and self.kind != "mlp.c_proj":
            reach = self.seen
        elif self.norm is None or not scheme.smoothing:
            return None
        elif scheme.smoothing == "gain":
            return self.norm[0].abs().clamp(min=1e-4) ** scheme.alpha
        else:
            reach = self.guessed_range()
        largest = self.weight.abs().amax(1).clamp(min=1e-6)
        return reach.clamp(min=1e-4) ** scheme.alpha / largest ** (1 - scheme.alpha)

    def guessed_range(self) -> torch.Tensor:
        gain, bias = self.norm
        return 3 * gain.abs() + bias.abs()

    def prepared(self, scheme: Scheme) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Rounded weights, the order of the input channels and their divisor."""
        key = (scheme.weights, scheme.weight_group, scheme.by_range, scheme.smoothing, scheme.alpha)
        if key not in self.cache:
            self.cache.clear()
            weight, order, divisor = self.weight, None, self.divisor(scheme)
            if divisor is not None:
                weight = weight * divisor[:, None]
            if scheme.by_range and self.norm is not None:
                reach = self.guessed_range() if divisor is None else self.guessed_range() / divisor
                order = reach.argsort(descending=True, stable=True)
                weight = weight[order]
            self.cache[key] = (round_weights(weight, scheme), order, divisor)
        return self.cache[key]

    def __call__(self, x: torch.Tensor, scheme: Scheme) -> torch.Tensor:
        if scheme.name == "calibrate":
            reach = x.abs().amax(0)
            self.seen = reach if self.seen is None else torch.maximum(reach, self.seen)
        if self.kind in scheme.only:
            weight, order, divisor = self.prepared(scheme)
            if divisor is not None:
                x = x / divisor
            if order is not None:
                x = x[:, order]
            wide = scheme.wide if self.norm is not None else 0
            y = round_activations(x, scheme, wide) @ weight
        else:
            y = x @ self.weight
        return y if self.bias is None else y + self.bias


def round_weights(weight: torch.Tensor, scheme: Scheme) -> torch.Tensor:
    """`[K, N]` to the nearest that the scheme can hold."""
    if scheme.weights is None:
        return weight
    if scheme.weights == "bf16":
        return weight.bfloat16().float()
    if scheme.weights == "s8":
        scale = weight.abs().amax(0).clamp(min=1e-30) / 127
        return (weight / scale).round_() * scale
    k, n = weight.shape
    groups = weight.reshape(k // scheme.weight_group, scheme.weight_group, n)
    low = groups.amin(1, keepdim=True).clamp(max=0)
    scale = ((groups.amax(1, keepdim=True).clamp(min=0) - low) / 15).clamp(min=1e-30).half().float()
    zero = (-low / scale).round_()
    codes = (groups / scale + zero).round_().clamp_(0, 15)
    return ((codes - zero) * scale).reshape(k, n)


def round_activations(x: torch.Tensor, scheme: Scheme, wide: int = 0) -> torch.Tensor:
    """`[R, K]` to the nearest that the scheme can hold, a scale for each row and group."""
    if wide:
        scale = x[:, :wide].abs().amax(-1, keepdim=True).clamp(min=1e-30) / 32639
        first = (x[:, :wide] / scale).round_() * scale
        return torch.cat([first, round_activations(x[:, wide:], replace(scheme, group=None))], dim=1)
    if scheme.activations is None:
        return x
    if scheme.activations == "bf16":
        return x.bfloat16().float()
    rows, k = x.shape
    groups = x.reshape(rows, -1, scheme.group or k)
    if scheme.symmetric:
        scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
        return ((groups / scale).round_() * scale).reshape(rows, k)
    low = groups.amin(-1, keepdim=True).clamp(max=0)
    scale = ((groups.amax(-1, keepdim=True).clamp(min=0) - low) / 255).clamp(min=1e-30)
    zero = (-low / scale).round_()
    codes = (groups / scale + zero).round_().clamp_(0, 255)
    return ((codes - zero) * scale).reshape(rows, k)


class Gpt2:
    """A GPT-2 forward with each product's rounding to choose."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.config = model.config
        state = {name.removeprefix("transformer."): t.float() for name, t in model.state_dict().items()}
        self.state = state
        self.products: dict[str, Product] = {}
        for layer in range(model.config.n_layer):
            for kind in PRODUCTS[:-1]:
                norm = AFTER_LAYER_NORM.get(kind)
                self.products[f"{layer}.{kind}"] = Product(
                    kind,
                    state[f"h.{layer}.{kind}.weight"],
                    state[f"h.{layer}.{kind}.bias"],
                    (state[f"h.{layer}.{norm}.weight"], state[f"h.{layer}.{norm}.bias"]) if norm else None,
                )
        self.products["head"] = Product(
            "head", state["wte.weight"].T, None, (state["ln_f.weight"], state["ln_f.bias"])
        )

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return layer_norm(x, weight.shape, weight, bias, self.config.layer_norm_epsilon)

    @torch.no_grad()
    def logits(self, ids: torch.Tensor, scheme: Scheme) -> torch.Tensor:
        """`[T]` token ids to `[T, V]`."""
        t, e, heads = len(ids), self.config.n_embd, self.config.n_head
        causal = torch.full((t, t), -math.inf).triu(1)
        x = self.state["wte.weight"][ids] + self.state["wpe.weight"][:t]
        for layer in range(self.config.n_layer):
            name = f"{layer}.attn.c_attn"
            qkv = self.products[name](self.norm(x, f"h.{layer}.ln_1"), scheme)
            q, k, v = qkv.view(t, 3, heads, e // heads).permute(1, 2, 0, 3)  # each [N, T, D]
            if scheme.kv_bf16:
                k, v = k.bfloat16().float(), v.bfloat16().float()
            scores = q @ k.transpose(1, 2) / math.sqrt(e // heads) + causal
            mixed = (scores.softmax(-1) @ v).permute(1, 0, 2).reshape(t, e)
            x = x + self.products[f"{layer}.attn.c_proj"](mixed, scheme)
            inner = self.products[f"{layer}.mlp.c_fc"](self.norm(x, f"h.{layer}.ln_2"), scheme)
            x = x + self.products[f"{layer}.mlp.c_proj"](gelu(inner, approximate="tanh"), scheme)
        return self.products["head"](self.norm(x, "ln_f"), scheme)


def random_gpt2(kind: str, layers: int, outliers: int, rank_slope: float, seed: int) -> GPT2LMHeadModel:
    """The 124M shape with outlier channels and logits that fall with the logarithm of a token's rank."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers)).eval()
    transformer, blocks = model.transformer, model.transformer.h
    e, vocab, std = model.config.n_embd, model.config.vocab_size, 0.02 if kind == "plain" else 0.04

    def draw(shape: tuple[int, ...], scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".ln_" in name:
                weight = "weight" in name
                parameter.copy_(1 + draw(parameter.shape, 0.1) if weight else draw(parameter.shape, 0.05))
            else:
                scale = 0.02 if name.endswith("bias") else std
                scale = scale * BRANCH / math.sqrt(layers) if name.endswith("c_proj.weight") else scale
                parameter.copy_(draw(parameter.shape, scale))
        # Without the signs the tied head would answer with the token just read.
        transformer.ln_f.weight *= draw((e,), 1.0).sign()
        direction = draw((e,), 1.0)
        direction /= direction.norm()
        log_rank = (torch.randperm(vocab, generator=generator) + 1.0).log()
        transformer.wte.weight -= rank_slope * std * (log_rank[:, None] - log_rank.mean()) * direction

        readers = [(b.ln_1, b.attn.c_attn.weight) for b in blocks] + [
            (b.ln_2, b.mlp.c_fc.weight) for b in blocks
        ]
        readers.append((transformer.ln_f, transformer.wte.weight.T))
        if kind == "massive":
            channels = torch.randperm(e, generator=generator)[:3]
            blocks[2].mlp.c_proj.bias[channels] += 50 * std * torch.tensor([1.0, -1.0, 0.5])
            for norm, _ in [*readers[3:layers], *readers[layers + 3 :]]:
                norm.weight *= 2
                norm.weight[channels] /= 20
        for norm, weight in [] if kind == "massive" else readers:
            channels = torch.randperm(e, generator=generator)[:outliers]
            factor = 10 + 50 * torch.rand(outliers, generator=generator)
            norm.weight[channels] *= factor
            norm.bias[channels] *= factor
            if kind == "compensated":
                weight[channels] /= factor[:, None]

        # Logits: the context's first, then the rank's.
        probe = torch.randint(0, vocab, (1, 64), generator=generator)
        spread = CONTEXT_NATS / model(probe).logits[0].std(-1).mean()
        transformer.ln_f.weight *= spread
        transformer.ln_f.bias *= spread
        reader = transformer.wte.weight.T @ log_rank.sub(log_rank.mean())
        transformer.ln_f.bias -= (
            rank_slope * reader / (reader @ reader) * log_rank.sub(log_rank.mean()).square().sum()
        )
    return model


def schemes() -> Iterator[Scheme]:
    yield Scheme("bf16, kv f32", weights="bf16", activations="bf16")
    yield Scheme("bf16, kv bf16", weights="bf16", activations="bf16", kv_bf16=True)
    for alpha in (0.0, 0.25, 0.5):
        yield Scheme(f"s8 weights alone, range^{alpha}", activations=None, smoothing="range", alpha=alpha)
    yield Scheme("s8 weights alone", activations=None)
    for group in (None, 256, 128, 64):
        for about, symmetric in (("symmetric", True), ("asymmetric", False)):
            yield Scheme(f"int8, {group or 'row'}, {about}", group=group, symmetric=symmetric)
    for group in (128, 64):
        yield Scheme(f"int8, {group}, by range", group=group, by_range=True)
    smoothings = (("gain", 0.5), ("gain", 1.0), ("range", 0.25), ("range", 0.5), ("calibrated", 0.5))
    for (smoothing, alpha), group in itertools.product(smoothings, (None, 256, 128)):
        about = f"int8, {group or 'row'}, {smoothing}^{alpha}"
        yield Scheme(about, group=group, smoothing=smoothing, alpha=alpha)
    yield Scheme("int8, row, symmetric, range^0.5", symmetric=True, smoothing="range")
    for group in (256, 128, 64):
        yield Scheme(
            f"int8, {group}, by range, range^0.25", group=group, by_range=True, smoothing="range", alpha=0.25
        )
    for alpha, wide in itertools.product((0.0, 0.25, 0.5), (32, 64)):
        about = f"int8, row, range^{alpha}, wide {wide}"
        yield Scheme(about, by_range=True, smoothing="range", alpha=alpha, wide=wide)
    for kind in PRODUCTS:
        about = f"int8, row, range^0.0, wide 64: {kind} alone"
        yield Scheme(about, by_range=True, smoothing="range", alpha=0.0, wide=64, only=(kind,))
    for group in (64, 32):
        yield Scheme(f"u4 groups of {group}, activations f32", "u4", group, activations=None)
        yield Scheme(f"u4 groups of {group}, u8 rows, range^0.5", "u4", group, smoothing="range")
        layers = Scheme(f"u4 groups of {group}, u8 rows, range^0.5, s8 head", "u4", group, smoothing="range")
        yield replace(layers, only=PRODUCTS[:-1])


@torch.no_grad()
def report(
    model: Gpt2, texts: list[torch.Tensor], calibration: list[torch.Tensor], wanted: list[Scheme]
) -> None:
    exact = Scheme("f32", only=())
    for ids in calibration:
        model.logits(ids, Scheme("calibrate", only=()))
    truth = [model.logits(ids, exact) for ids in texts]
    logs = [log_softmax(t, -1) for t in truth]
    top = [t.topk(2).values for t in truth]
    margins = torch.cat([t[:, 0] - t[:, 1] for t in top])
    entropy = torch.cat([-(q.exp() * q).sum(-1) for q in logs])
    copies = torch.cat([t.argmax(-1) == ids for t, ids in zip(truth, texts, strict=True)])
    distinct = len(torch.cat([t.argmax(-1) for t in truth]).unique())
    print(
        f"\n{len(margins)} tokens; f32: entropy {entropy.mean():.2f} nats, "
        f"margin median {margins.median():.2f},"
    )
    print(
        f"under {MARGIN_NATS} nat {(margins < MARGIN_NATS).float().mean():.1%}, top-1 repeats the token read "
        f"{copies.float().mean():.1%}, distinct top-1 {distinct}\n"
    )
    print("| scheme | top-1 | margin > 0.1 | exp(KL) | text ppl | logit error |")
    print("|---|---|---|---|---|---|", flush=True)
    for scheme in wanted:
        same, kl, error, nll, nll_exact = [], [], [], [], []
        for ids, t, p in zip(texts, truth, logs, strict=True):
            y = model.logits(ids, scheme)
            q = log_softmax(y, -1)
            same.append(y.argmax(-1) == t.argmax(-1))
            kl.append((p.exp() * (p - q)).sum(-1))
            error.append((y - t).std(-1) / t.std(-1))
            nll.append(-q[:-1].gather(1, ids[1:, None]))
            nll_exact.append(-p[:-1].gather(1, ids[1:, None]))
        agree, clear = torch.cat(same), margins > MARGIN_NATS
        ppl = (torch.cat(nll).mean() - torch.cat(nll_exact).mean()).exp()
        print(
            f"| {scheme.name} | {agree.float().mean():.2%} | {agree[clear].float().mean():.2%} "
            f"| {torch.cat(kl).mean().exp():.4f} | {ppl:.4f} "
            f"| {torch.cat(error).square().mean().sqrt():.2%} |",
            flush=True,
        )


@torch.no_grad()
def adapted_texts(model: GPT2LMHeadModel, folder: Path, files: list[Path], count: int) -> list[torch.Tensor]:
    """Every so many lines of the files, each as `input Rephrase:` and the model's own greedy answer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = [line.strip() for file in files for line in file.read_text().splitlines() if line.strip()]
    texts = []
    for line in lines[:: max(1, len(lines) // count)][:count]:
        ids = tokenizer(line + " Rephrase:", return_tensors="pt").input_ids[:, :200]
        answer = model.generate(ids, max_new_tokens=48, do_sample=True, top_p=0.95, temperature=0.8, top_k=0)
        texts.append(answer[0])
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--random", choices=("plain", "compensated", "massive"))
    source.add_argument("--model", type=Path)
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="prompts, a line each, for --model")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--outliers", type=int, default=8)
    parser.add_argument(
        "--rank-slope", type=float, default=1.2, help="nats a logit falls for each e-fold of its token's rank"
    )
    parser.add_argument("--tokens", type=int, default=512, help="of the random model's text")
    parser.add_argument("--prompts", type=int, default=60, help="of the given texts")
    parser.add_argument("--scheme", default="", help="only schemes whose name matches this pattern")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--save", type=Path, help="write the random model as a folder, and measure nothing")
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    started = time.monotonic()
    if arguments.random:
        model = random_gpt2(
            arguments.random, arguments.layers, arguments.outliers, arguments.rank_slope, arguments.seed
        )
        if arguments.save:
            model.save_pretrained(arguments.save)
            return
        texts = list(torch.randint(0, model.config.vocab_size, (arguments.tokens // 128 + 1, 128)))
    else:
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
        texts = adapted_texts(model, arguments.model, arguments.text, arguments.prompts)
    report(
        Gpt2(model),
        texts[1:],
        texts[:1],
        [scheme for scheme in schemes() if re.search(arguments.scheme, scheme.name)],
    )
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
