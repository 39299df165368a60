"""One round of PPO on a tiny GPT-2: what `ppo.py`'s equations are between the networks and the optimiser.

Writes the model folders `ppo/sft/` (the reference), `ppo/policy/` and `ppo/value/` (with `v_head.*`), the
numbers of the round in `ppo/round.json`, and gradients and weights in `ppo/round.safetensors`.

The round starts as if in mid-training: policy and value network are no longer the reference's. Their lowest
block is, so that freezing it makes sense. Responses are drawn from the policy, scores from thin air; the
learning rate is high, so that the clips bite in the later of the four epochs. The cases: everything trains
(`all`); that in two steps an epoch, each over half of the round (`minibatches`); that with the value head on
the policy's trunk (`shared`); embeddings, `ln_f` and the last two blocks train (`last_layers`); that with all
of the released code's behaviours (`compat`).

Rows are padded as the released code pads them: prompts on the left, responses on the right. The network is
written out here; `main` checks it against transformers, and padding against none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from golden import GOLDEN_DIR, metadata, save_tensors, use_one_thread, write_json, write_tensors
from ppo import (
    gae,
    masked_mean,
    next_kl_coef,
    policy_is_clipped,
    policy_losses,
    ragged,
    token_rewards,
    value_is_clipped,
    value_losses,
    whiten,
)
from tiny_models import draw_weights, tiny_config

SEED = 32
FOLDER = GOLDEN_DIR / "ppo"
CONFIG = tiny_config(109, vocab_size=110, n_positions=24, n_embd=16, n_layer=3, n_head=2)
END = CONFIG.eos_token_id
PROMPT_LENGTHS = (3, 7, 5, 4, 6, 2, 7, 5)
MAX_NEW_TOKENS = 12
# Tokens before the end token; twelve is a response that was cut and whose end token is forced.
ANSWER_LENGTHS = (4, 0, 12, 1, 9, 12, 6, 3)
TRAINABLE_LAYERS = 2
EPOCHS = 4
GAMMA, LAMBDA = 1.0, 0.95
CLIPRANGE = CLIPRANGE_VALUE = 0.2
VALUE_COEF = 2.3
KL_COEF, KL_TARGET, KL_HORIZON = 0.2, 0.9, 100.0
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.95)
LEAST_GRADIENT = 1e-6

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    name: str
    num_trainable_layers: int = CONFIG.n_layer
    minibatches: int = 1
    has_shared_trunk: bool = False
    compat: bool = False

    def trains(self, name: str) -> bool:
        """As the released `num_layers_unfrozen`: blocks freeze, embeddings and norm do not."""
        layer = int(name.split(".")[1]) if name.startswith("h.") else CONFIG.n_layer
        return layer >= CONFIG.n_layer - self.num_trainable_layers


CASES = (
    Case("all"),
    Case("minibatches", minibatches=2),
    Case("shared", has_shared_trunk=True),
    Case("last_layers", TRAINABLE_LAYERS),
    Case("compat", TRAINABLE_LAYERS, compat=True),
)
# Losses of later steps depend on every weight; these tensors are kept as well. The value network learns the
# same in `all` and `last_layers`, so that of the latter it is enough to keep the policy's.
KEPT = {
    "all": ("gradient", "after_1", "after_4"),
    "minibatches": (),
    "shared": ("gradient",),
    "last_layers": ("after_4",),
    "compat": ("gradient", "after_1", "after_4"),
}


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the left to Q columns, responses on the right to T."""

    input_ids: Tensor
    """`[B, Q + T]`."""
    attention_mask: Tensor
    """`[B, Q + T]`, 1 for real tokens, end tokens among them."""
    prompt_width: int

    @property
    def mask(self) -> Tensor:
        """`[B, T]`: 1 for the tokens of responses."""
        return self.attention_mask[:, self.prompt_width :]

    def rows(self, rows: slice) -> Batch:
        return Batch(self.input_ids[rows], self.attention_mask[rows], self.prompt_width)

    @classmethod
    def pad(cls, prompts: list[list[int]], responses: list[list[int]], dtype: torch.dtype) -> Batch:
        q, t = max(map(len, prompts)), max(map(len, responses))
        input_ids = torch.full((len(prompts), q + t), END)
        attention_mask = torch.zeros(len(prompts), q + t, dtype=dtype)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            real = slice(q - len(prompt), q + len(response))
            input_ids[row, real] = torch.tensor(prompt + response)
            attention_mask[row, real] = 1.0
        return cls(input_ids, attention_mask, q)


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    shape = (CONFIG.n_embd,)
    return torch.nn.functional.layer_norm(
        x, shape, weights[f"{name}.weight"], weights[f"{name}.bias"], CONFIG.layer_norm_epsilon
    )


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """GPT-2's layout, `[in, out]`."""
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def block(weights: Weights, layer: int, x: Tensor, allowed: Tensor) -> Tensor:
    """A block of GPT-2; `allowed`: `[B, 1, S, S]`, where a position may look."""
    name = f"h.{layer}"
    b, s, e = x.shape
    heads = (b, s, 3, CONFIG.n_head, e // CONFIG.n_head)
    qkv = linear(weights, f"{name}.attn.c_attn", layer_norm(weights, f"{name}.ln_1", x)).view(heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [B, N, S, D] each
    scores = query @ key.transpose(-1, -2) / math.sqrt(e // CONFIG.n_head)
    probabilities = scores.masked_fill(~allowed, -1e30).softmax(-1)
    attended = (probabilities @ value).transpose(1, 2).reshape(b, s, e)
    x = x + linear(weights, f"{name}.attn.c_proj", attended)
    inner = linear(weights, f"{name}.mlp.c_fc", layer_norm(weights, f"{name}.ln_2", x))
    return x + linear(weights, f"{name}.mlp.c_proj", torch.nn.functional.gelu(inner, approximate="tanh"))


def hidden_states(weights: Weights, batch: Batch, frozen_top: Weights | None = None) -> Tensor:
    """Final hidden states, `[B, S, E]`; with `frozen_top`, the last blocks and `ln_f` are its (Q6)."""
    real = batch.attention_mask
    position_ids = (real.cumsum(1).long() - 1).clamp(min=0)
    s = real.shape[1]
    causal = torch.ones(s, s, dtype=torch.bool).tril()
    allowed = (causal & real.bool()[:, None, :])[:, None]
    x = weights["wte.weight"][batch.input_ids] + weights["wpe.weight"][position_ids]
    for layer in range(CONFIG.n_layer):
        is_top = layer >= CONFIG.n_layer - TRAINABLE_LAYERS
        x = block(frozen_top if frozen_top and is_top else weights, layer, x, allowed)
    return layer_norm(frozen_top or weights, "ln_f", x)


def response_logprobs(hidden: Tensor, head: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """log p of the tokens of responses and the entropy where each was chosen, `[B, T]`."""
    log_probs = (hidden[:, batch.prompt_width - 1 : -1] @ head.T).log_softmax(-1)
    tokens = batch.input_ids[:, batch.prompt_width :, None]
    entropies = -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.gather(-1, tokens)[..., 0] * batch.mask, entropies * batch.mask


def response_values(hidden: Tensor, weights: Weights, batch: Batch, after: bool) -> Tensor:
    """V at the state before each token of the responses, or (`after`, Q4) after it: `[B, T]`."""
    hidden = hidden[:, batch.prompt_width :] if after else hidden[:, batch.prompt_width - 1 : -1]
    inner = torch.relu(hidden @ weights["v_head.0.weight"].T + weights["v_head.0.bias"])
    return (inner @ weights["v_head.2.weight"].T + weights["v_head.2.bias"])[..., 0] * batch.mask


def reference_logprobs(sft: Weights, policy: Weights, batch: Batch, compat: bool) -> Tensor:
    """Of the reference as a whole, or (`compat`, Q6) of its top on the current policy's trunk. The head is
    tied: the released code freezes a copy of it with the top."""
    hidden = hidden_states(policy, batch, frozen_top=sft) if compat else hidden_states(sft, batch)
    return response_logprobs(hidden, sft["wte.weight"], batch)[0]


class Round:
    """A round's rollout and its epochs, step by step."""

    def __init__(
        self, case: Case, sft: Weights, policy: Weights, value: Weights, batch: Batch, scores: Tensor
    ) -> None:
        self.case, self.batch = case, batch
        self.policy = {
            name: weight.clone().requires_grad_(case.trains(name)) for name, weight in policy.items()
        }
        head = {name: weight for name, weight in value.items() if name.startswith("v_head.")}
        of_value = head if case.has_shared_trunk else value
        self.value = {name: weight.clone().requires_grad_() for name, weight in of_value.items()}
        self.optimizer = self.make_optimizer()
        with torch.no_grad():
            self.logprobs, _, self.values = self.forward(batch, value_after=False)
            self.ref_logprobs = reference_logprobs(sft, self.policy, batch, case.compat)
        self.rewards = token_rewards(
            self.logprobs, self.ref_logprobs, scores, batch.mask, KL_COEF, replaces=case.compat
        )
        self.gae = gae(self.rewards, self.values, GAMMA, LAMBDA) * batch.mask
        self.returns = self.gae + self.values
        self.advantages = whiten(self.gae, batch.mask, with_padding=case.compat)
        self.kl = (self.logprobs - self.ref_logprobs).sum(1).mean().item()

    def make_optimizer(self) -> torch.optim.AdamW:
        trained = [weight for weight in [*self.policy.values(), *self.value.values()] if weight.requires_grad]
        if self.case.compat:  # PyTorch's defaults, as the released code leaves them (Q9)
            return torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=BETAS, foreach=False)
        groups = [
            {"params": [weight for weight in trained if weight.dim() == 2], "weight_decay": 1e-6},
            {"params": [weight for weight in trained if weight.dim() != 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=1e-6, foreach=False)

    def forward(self, batch: Batch, value_after: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and values of the responses' tokens."""
        hidden = hidden_states(self.policy, batch)
        logprobs, entropies = response_logprobs(hidden, self.policy["wte.weight"], batch)
        hidden = hidden if self.case.has_shared_trunk else hidden_states(self.value, batch)
        return logprobs, entropies, response_values(hidden, self.value, batch, value_after)

    def step(self, rows: slice) -> dict[str, float]:
        """An update by some responses of the round; gradients stay for whoever asks."""
        batch = self.batch.rows(rows)
        mask = batch.mask
        logprobs, entropies, values = self.forward(batch, value_after=self.case.compat)
        of_policy = (logprobs, self.logprobs[rows], self.advantages[rows], CLIPRANGE)
        of_value = (values, self.values[rows], self.returns[rows], CLIPRANGE_VALUE)
        policy_loss = masked_mean(policy_losses(*of_policy), mask)
        value_loss = masked_mean(value_losses(*of_value), mask)
        loss = policy_loss + VALUE_COEF * value_loss
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        change = (logprobs - self.logprobs[rows]).detach()
        return {
            "policy_loss": policy_loss.item(),
            "value_loss": value_loss.item(),
            "clip_fraction": masked_mean(policy_is_clipped(*of_policy).to(mask.dtype), mask).item(),
            "value_clip_fraction": masked_mean(value_is_clipped(*of_value).to(mask.dtype), mask).item(),
            "approx_kl": masked_mean(change.exp() - 1 - change, mask).item(),
            "kl_to_old": change.sum(1).mean().item(),
            "entropy": masked_mean(entropies, mask).item(),
            "grad_norm": norm_of_gradients(self.policy),
            "value_grad_norm": norm_of_gradients(self.value),
        }

    def epoch(self) -> list[dict[str, float]]:
        size = len(PROMPT_LENGTHS) // self.case.minibatches
        return [self.step(slice(first, first + size)) for first in range(0, len(PROMPT_LENGTHS), size)]

    def gradients(self) -> Weights:
        networks = {"policy": self.policy, "value": self.value}
        return {
            f"{network}.{name}": weight.grad.clone()
            for network, weights in networks.items()
            for name, weight in weights.items()
            if weight.grad is not None
        }

    def weights(self) -> Weights:
        networks = {"policy": self.policy, "value": self.value}
        return {
            f"{network}.{name}": weight.detach().clone()
            for network, weights in networks.items()
            for name, weight in weights.items()
            if weight.requires_grad
        }


def norm_of_gradients(weights: Weights) -> float:
    squares = [
        weight.grad.double().square().sum().item() for weight in weights.values() if weight.requires_grad
    ]
    return math.sqrt(math.fsum(squares))


def draw_networks() -> tuple[GPT2LMHeadModel, Weights, Weights, Weights]:
    """The reference, and a policy and a value network some way from it, in float32."""
    model = GPT2LMHeadModel(CONFIG).eval()
    draw_weights(model, SEED, std=0.3)
    sft = {name: weight.detach().clone() for name, weight in model.transformer.named_parameters()}
    generator = torch.Generator().manual_seed(SEED + 1)

    def moved(name: str, weight: Tensor) -> Tensor:
        is_frozen = name.startswith("h.0.")
        return weight if is_frozen else weight + 0.05 * torch.randn(weight.shape, generator=generator)

    policy = {name: moved(name, weight) for name, weight in sft.items()}
    value = {name: moved(name, weight) for name, weight in sft.items()}
    e = CONFIG.n_embd
    for name, shape in {
        "0.weight": (2 * e, e),
        "0.bias": (2 * e,),
        "2.weight": (1, 2 * e),
        "2.bias": (1,),
    }.items():
        value[f"v_head.{name}"] = 0.3 * torch.randn(shape, generator=generator)
    return model, sft, policy, value


def draw_rollout(policy: Weights) -> tuple[list[list[int]], list[list[int]], Tensor]:
    """Prompts, responses of the policy with their end token, and a score for each, exact in float32."""
    generator = torch.Generator().manual_seed(SEED + 2)
    prompts = [torch.randint(END, (length,), generator=generator).tolist() for length in PROMPT_LENGTHS]
    responses: list[list[int]] = []
    for prompt, length in zip(prompts, ANSWER_LENGTHS, strict=True):
        response: list[int] = []
        for _ in range(length):
            hidden = hidden_states(policy, Batch.pad([prompt], [response], torch.float64))[0, -1]
            probabilities = (hidden @ policy["wte.weight"][:END].T).softmax(-1)  # all tokens but the end
            response.append(int(torch.multinomial(probabilities, 1, generator=generator)))
        responses.append([*response, END])
    return prompts, responses, torch.randn(len(prompts), generator=generator)


def cast(weights: Weights, dtype: torch.dtype) -> Weights:
    return {name: weight.to(dtype) for name, weight in weights.items()}


def check_network(model: GPT2LMHeadModel, sft: Weights, batch: Batch) -> None:
    """Against transformers, in float64."""
    real = batch.attention_mask.long()
    position_ids = (real.cumsum(1) - 1).clamp(min=0)
    theirs = model.double().transformer(batch.input_ids, attention_mask=real, position_ids=position_ids)
    ours = hidden_states(cast(sft, torch.float64), batch)
    mask = real.bool()
    torch.testing.assert_close(ours[mask], theirs.last_hidden_state[mask], rtol=1e-10, atol=1e-10)


def check_padding(round_: Round, prompts: list[list[int]], responses: list[list[int]]) -> None:
    """Rows alone, without padding, give the same numbers."""
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        alone = Batch.pad([prompt], [response], torch.float64)
        with torch.no_grad():
            logprobs, _, values = round_.forward(alone, value_after=False)
        length = len(response)
        torch.testing.assert_close(logprobs[0], round_.logprobs[row, :length], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(values[0], round_.values[row, :length], rtol=1e-10, atol=1e-10)


def run(round_: Round) -> tuple[list[dict[str, float]], dict[str, Weights]]:
    """All epochs: a line a step, gradients of the first epoch (its last step's), and weights by epochs."""
    stages: dict[str, Weights] = {}
    steps = []
    for epoch in range(EPOCHS):
        steps += round_.epoch()
        if epoch == 0:
            stages["gradient"], stages["after_1"] = round_.gradients(), round_.weights()
    stages[f"after_{EPOCHS}"] = round_.weights()
    return steps, stages


def kl_coef_after(round_: Round, steps: list[dict[str, float]]) -> float:
    """One update a round by the KL to the reference; the released code's (Q5) is by what the policy moved
    since the rollout, after every epoch."""
    moves = [step["kl_to_old"] for step in steps] if round_.case.compat else [round_.kl]
    kl_coef = KL_COEF
    for move in moves:
        kl_coef = next_kl_coef(kl_coef, move, len(PROMPT_LENGTHS), KL_TARGET, KL_HORIZON)
    return kl_coef


def largest_difference(left: Weights, right: Weights, gradients: Weights) -> float:
    """Where the first gradient is large enough for AdamW, which divides by its size, to mean something."""
    differences = [
        (left[name].double() - right[name].double()).abs()[gradients[name].abs() > LEAST_GRADIENT]
        for name in left
    ]
    return max(difference.max().item() for difference in differences if difference.numel())


def save_model(name: str, weights: Weights) -> None:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    CONFIG.save_pretrained(folder)
    head = {key: value for key, value in weights.items() if key.startswith("v_head.")}
    trunk = {f"transformer.{key}": value for key, value in weights.items() if key not in head}
    save_tensors(
        folder / "model.safetensors", {**trunk, **head}, {"format": "pt", **metadata(SEED, "float32")}
    )


def main() -> None:
    use_one_thread()
    model, *networks = draw_networks()
    for name, weights in zip(("sft", "policy", "value"), networks, strict=True):
        save_model(name, weights)
    prompts, responses, scores = draw_rollout(cast(networks[1], torch.float64))
    batch = Batch.pad(prompts, responses, torch.float64)
    check_network(model, networks[0], batch)

    tensors: Weights = {}
    cases = []
    about = metadata(SEED, "float64, of float32 weights; tensors cast to float32")
    for case in CASES:
        round_ = Round(case, *(cast(weights, torch.float64) for weights in networks), batch, scores.double())
        check_padding(round_, prompts, responses)
        steps, stages = run(round_)
        in_single = Batch.pad(prompts, responses, torch.float32)
        _, single = run(Round(case, *networks, in_single, scores))
        for stage in KEPT[case.name]:
            values = stages[stage]
            off_by = largest_difference(single[stage], values, stages["gradient"])
            about[f"{case.name}.{stage}.float32_is_off_by"] = f"{off_by:.1e}"
            tensors |= {
                f"{case.name}.{stage}.{name}": value.float()
                for name, value in values.items()
                if case.name != "last_layers" or name.startswith("policy.")
            }
        per_token = ("logprobs", "ref_logprobs", "values", "rewards", "returns", "gae", "advantages")
        cases.append(
            {
                "name": case.name,
                "num_trainable_layers": case.num_trainable_layers,
                "minibatches": case.minibatches,
                "has_shared_trunk": case.has_shared_trunk,
                "compat": case.compat,
                **{name: ragged(getattr(round_, name), batch.mask) for name in per_token},
                "kl": round_.kl,
                "kl_coef_after": kl_coef_after(round_, steps),
                "steps": steps,
            }
        )
        for step in steps:
            print(case.name, {name: round(value, 4) for name, value in step.items()})
    print(about)
    write_tensors(FOLDER / "round.safetensors", tensors, about)
    write_json(
        FOLDER / "round.json",
        {
            "metadata": about,
            "max_new_tokens": MAX_NEW_TOKENS,
            "gamma": GAMMA,
            "lambda": LAMBDA,
            "cliprange": CLIPRANGE,
            "cliprange_value": CLIPRANGE_VALUE,
            "value_coef": VALUE_COEF,
            "kl_coef": KL_COEF,
            "kl_target": KL_TARGET,
            "kl_horizon": KL_HORIZON,
            "learning_rate": LEARNING_RATE,
            "betas": {"beta_1": BETAS[0], "beta_2": BETAS[1]},
            "rollout": [
                {"prompt": prompt, "response": response, "score": score}
                for prompt, response, score in zip(prompts, responses, scores.tolist(), strict=True)
            ],
            "cases": cases,
        },
    )


if __name__ == "__main__":
    main()
