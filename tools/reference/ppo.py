"""The equations of PPO in float64, over batches padded on the right, as the released trainer has them.

Writes `ppo/equations.json`. `ppo_round.py` uses the same functions for a whole round.

Shapes: B responses of at most T tokens, `[B, T]` with a mask that is 1 where a response has a token; the end
token is the last of them. Everything under the mask's zeros is 0. Gradients come from autograd, so they
are PyTorch's: where `maximum` has a tie, half of each branch's.

The formulas are those of microsoft/LMOps at 20645abe, `promptist/trlx/trlx/`: `loss` of
`model/accelerate_ppo_model.py`, `make_experience` of `orchestrator/ppo_orchestrator.py`, `whiten` of
`utils/modeling.py`. `losses_by_scalars` goes through them number by number, to check the tensors' way.
"""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from golden import GOLDEN_DIR, metadata, use_one_thread, write_json

SEED = 31
WHITEN_EPS = 1e-8
LARGEST_KL_ERROR = 0.2


def exact(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pad(rows: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Values `[B, T]` with zeros behind each row, and the mask."""
    width = max(map(len, rows))
    values, mask = torch.zeros(2, len(rows), width, dtype=torch.float64)
    for idx, row in enumerate(rows):
        values[idx, : len(row)] = exact(row)
        mask[idx, : len(row)] = 1.0
    return values, mask


def ragged(values: Tensor, mask: Tensor) -> list[list[float]]:
    """The rows without what is under the mask's zeros."""
    return [row[: int(length)].tolist() for row, length in zip(values, mask.sum(1), strict=True)]


def token_rewards(
    logprobs: Tensor, ref_logprobs: Tensor, scores: Tensor, mask: Tensor, kl_coef: float, replaces: bool
) -> Tensor:
    """A charge for every token, and at the last the score: added, or (`replaces`, Q7) in its place."""
    rewards = -kl_coef * (logprobs - ref_logprobs) * mask
    last = mask.sum(1).long()[:, None] - 1
    at_last = scores[:, None] if replaces else rewards.gather(1, last) + scores[:, None]
    return rewards.scatter(1, last, at_last)


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """Advantages by their definition, a sum over what is to come, rather than by the recursion."""
    width = rewards.shape[1]
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    deltas = rewards + gamma * next_values - values
    ahead = torch.arange(width)[None, :] - torch.arange(width)[:, None]  # [t, l] = l - t
    weights = torch.where(ahead >= 0, (gamma * lam) ** ahead.clamp(min=0).to(deltas.dtype), 0.0)
    return deltas @ weights.T


def whiten(advantages: Tensor, mask: Tensor, with_padding: bool) -> Tensor:
    """To mean 0 and unbiased variance 1 over all tokens, or (`with_padding`, Q10) over the whole block."""
    measured = advantages.flatten() if with_padding else advantages[mask.bool()]
    variance, mean = torch.var_mean(measured)
    return (advantages - mean) * torch.rsqrt(variance + WHITEN_EPS) * mask


def policy_losses(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, cliprange: float) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    clamped = torch.clamp(ratio, 1.0 - cliprange, 1.0 + cliprange)
    return torch.maximum(-advantages * ratio, -advantages * clamped)


def policy_is_clipped(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, cliprange: float) -> Tensor:
    """Where only the clipped branch counts."""
    ratio = torch.exp(logprobs - old_logprobs)
    return -advantages * torch.clamp(ratio, 1.0 - cliprange, 1.0 + cliprange) > -advantages * ratio


def value_losses(values: Tensor, old_values: Tensor, returns: Tensor, cliprange: float) -> Tensor:
    clamped = torch.clamp(values, old_values - cliprange, old_values + cliprange)
    return 0.5 * torch.maximum((values - returns) ** 2, (clamped - returns) ** 2)


def value_is_clipped(values: Tensor, old_values: Tensor, returns: Tensor, cliprange: float) -> Tensor:
    clamped = torch.clamp(values, old_values - cliprange, old_values + cliprange)
    return (clamped - returns) ** 2 > (values - returns) ** 2


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over tokens, of all responses together."""
    return (values * mask).sum() / mask.sum()


def next_kl_coef(kl_coef: float, kl: float, responses: int, target: float, horizon: float) -> float:
    """The adaptive controller of Ziegler et al. 2019."""
    error = min(max(kl / target - 1.0, -LARGEST_KL_ERROR), LARGEST_KL_ERROR)
    return kl_coef * (1.0 + error * responses / horizon)


def losses_by_scalars(
    rewards: list[list[float]],
    old_values: list[list[float]],
    old_logprobs: list[list[float]],
    logprobs: list[list[float]],
    values: list[list[float]],
    with_padding: bool,
) -> tuple[float, float]:
    """Policy and value loss in plain Python, with the released gamma, lambda and clips."""
    gamma, lam, clip = 1.0, 0.95, 0.2
    advantages = []
    for row, of_row in zip(rewards, old_values, strict=True):
        ahead, next_value, reversed_row = 0.0, 0.0, []
        for reward, value in zip(reversed(row), reversed(of_row), strict=True):
            ahead = reward + gamma * next_value - value + gamma * lam * ahead
            next_value = value
            reversed_row.append(ahead)
        advantages.append(reversed_row[::-1])
    measured = [advantage for row in advantages for advantage in row]
    tokens = len(measured)
    if with_padding:
        measured += [0.0] * (len(rewards) * max(map(len, rewards)) - tokens)
    mean, deviation = statistics.fmean(measured), math.sqrt(statistics.variance(measured) + 1e-8)
    policy_loss = value_loss = 0.0
    for row, of_row in enumerate(advantages):
        for token, advantage in enumerate(of_row):
            ratio = math.exp(logprobs[row][token] - old_logprobs[row][token])
            whitened = (advantage - mean) / deviation
            policy_loss += max(-whitened * ratio, -whitened * min(max(ratio, 1 - clip), 1 + clip))
            value, old = values[row][token], old_values[row][token]
            near = min(max(value, old - clip), old + clip)
            value_loss += 0.5 * max((value - advantage - old) ** 2, (near - advantage - old) ** 2)
    return policy_loss / tokens, value_loss / tokens


def normal_rows(lengths: list[int], generator: torch.Generator, scale: float = 1.0) -> list[list[float]]:
    return [
        (scale * torch.randn(length, generator=generator, dtype=torch.float64)).tolist() for length in lengths
    ]


def gae_cases(generator: torch.Generator) -> list[dict]:
    settings = [(1.0, 0.95), (1.0, 1.0), (1.0, 0.0), (0.9, 0.7), (0.0, 0.95)]
    cases = []
    for gamma, lam in settings:
        for length in (1, 2, 7, 40):
            rewards, values = normal_rows([length, length], generator, 3.0)
            advantages = gae(exact([rewards]), exact([values]), gamma, lam)[0]
            cases.append(
                {
                    "gamma": gamma,
                    "lambda": lam,
                    "rewards": rewards,
                    "values": values,
                    "advantages": advantages.tolist(),
                }
            )
    return cases


def whiten_cases(generator: torch.Generator) -> list[dict]:
    rows = {
        "random": normal_rows([5, 1, 12, 3], generator, 4.0),
        "far from zero": [[1e3 + value for value in row] for row in normal_rows([4, 2, 9], generator)],
        "tiny": normal_rows([6, 6, 2], generator, 1e-6),
        "single tokens": normal_rows([1, 1, 1], generator),
        "constant": [[0.75] * 3, [0.75], [0.75] * 5],
        "constant zero": [[0.0] * 2, [0.0] * 4],
        "one response": normal_rows([9], generator),
    }
    cases = []
    for name, row in rows.items():
        values, mask = pad(row)
        cases.append(
            {
                "name": name,
                "advantages": row,
                "whitened": ragged(whiten(values, mask, False), mask),
                "whitened_with_padding": ragged(whiten(values, mask, True), mask),
            }
        )
    return cases


def policy_cases(generator: torch.Generator) -> dict:
    """Log-probabilities on both sides of both bounds, far beyond them, equal, and with no advantage."""
    differences = [
        0.0,
        1e-12,
        -1e-12,
        0.1,
        -0.1,
        0.182,
        0.183,
        -0.223,
        -0.2232,
        1.0,
        -1.0,
        5.0,
        -5.0,
        30.0,
        -30.0,
    ]
    rows = []
    for difference in differences:
        for advantage in (2.5, -2.5, 1e-9, 0.0):
            old = -5.0 * torch.rand((), generator=generator, dtype=torch.float64).item()
            rows.append((old + difference, old, advantage))
    for _ in range(40):
        old, difference, advantage = torch.randn(3, generator=generator, dtype=torch.float64).tolist()
        rows.append((old + 0.3 * difference - 3.0, old - 3.0, advantage))
    logprobs, old_logprobs, advantages = exact(rows).T
    logprobs.requires_grad_()
    cliprange = 0.2
    losses = policy_losses(logprobs, old_logprobs, advantages, cliprange)
    losses.sum().backward()
    return {
        "cliprange": cliprange,
        "logprobs": logprobs.tolist(),
        "old_logprobs": old_logprobs.tolist(),
        "advantages": advantages.tolist(),
        "losses": losses.tolist(),
        "gradients": logprobs.grad.tolist(),
        "is_clipped": policy_is_clipped(logprobs, old_logprobs, advantages, cliprange).tolist(),
    }


def value_cases(generator: torch.Generator) -> dict:
    """Values within and beyond the clip, on either side of the return; at the return; and, in numbers that
    are exact in binary, where both branches are equally far from it. Not at the clip's very bound: what the
    gradient is there differs among PyTorch's own ways to clamp."""
    cliprange = 0.25
    rows = []
    for value in (1.0, 1.125, 0.875, 1.375, 0.5, 4.0, -4.0, 1e4, -1e4):
        rows += [(value, 1.0, returned) for returned in (1.0, 3.0, -3.0, 1.25, value)]
    rows.append((2.0, 1.0, 1.625))  # the clipped value, 1.25, is as far
    for _ in range(40):
        old, difference, error = torch.randn(3, generator=generator, dtype=torch.float64).tolist()
        rows.append((old + 0.4 * difference, old, old + error))
    values, old_values, returns = exact(rows).T
    values.requires_grad_()
    losses = value_losses(values, old_values, returns, cliprange)
    losses.sum().backward()
    return {
        "cliprange": cliprange,
        "values": values.tolist(),
        "old_values": old_values.tolist(),
        "returns": returns.tolist(),
        "losses": losses.tolist(),
        "gradients": values.grad.tolist(),
        "is_clipped": value_is_clipped(values, old_values, returns, cliprange).tolist(),
    }


def reward_cases(generator: torch.Generator) -> list[dict]:
    cases = []
    for kl_coef in (0.2, 0.0, 3.0):
        lengths = [6, 1, 3, 11]
        own, reference = normal_rows(lengths, generator), normal_rows(lengths, generator)
        scores = normal_rows([len(lengths)], generator, 2.0)[0]
        (logprobs, mask), (ref_logprobs, _) = pad(own), pad(reference)
        both = [
            token_rewards(logprobs, ref_logprobs, exact(scores), mask, kl_coef, replaces)
            for replaces in (False, True)
        ]
        for row, (added, replaced) in enumerate(zip(*(ragged(r, mask) for r in both), strict=True)):
            cases.append(
                {
                    "kl_coef": kl_coef,
                    "logprobs": own[row],
                    "ref_logprobs": reference[row],
                    "score": scores[row],
                    "kl": math.fsum(a - b for a, b in zip(own[row], reference[row], strict=True)),
                    "rewards": added,
                    "rewards_score_replaces": replaced,
                }
            )
    return cases


def kl_controller_cases() -> list[dict]:
    """Below, at and above the target, and beyond the largest step on both sides."""
    cases = []
    for kl in (-5.0, 0.0, 0.19, 0.2, 0.21, 0.24, 0.25, 1.0, 80.0):
        for responses in (8, 256):
            case = {"kl_coef": 0.2, "kl": kl, "responses": responses, "target": 0.2, "horizon": 10_000.0}
            cases.append({**case, "next": next_kl_coef(0.2, kl, responses, 0.2, 10_000.0)})
    return cases


def optimizer_cases(generator: torch.Generator) -> list[dict]:
    """Three updates of a matrix and a vector, gradients from large to below epsilon. Ours decays matrices
    alone; the released code (Q9) leaves PyTorch's defaults, 0.01 on everything and epsilon 1e-8. The learning
    rate, and our decay, are high enough to see a decay in float32."""
    lr, betas = 1e-2, (0.9, 0.95)
    start = {"matrix": exact(normal_rows([4, 4], generator)), "vector": exact(normal_rows([5], generator)[0])}
    gradients = [
        {
            name: scale * torch.randn(value.shape, generator=generator).double()
            for name, value in start.items()
        }
        for scale in (1.0, 1e-3, 1e-7)
    ]
    cases = []
    for name, eps, decay in (("fixed", 1e-6, {"matrix": 0.1, "vector": 0.0}), ("compat", 1e-8, None)):
        parameters = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
        if decay:
            groups = [{"params": [value], "weight_decay": decay[key]} for key, value in parameters.items()]
            optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, foreach=False)
        else:
            optimizer = torch.optim.AdamW(parameters.values(), lr=lr, betas=betas, foreach=False)
        for gradient in gradients:
            for key, parameter in parameters.items():
                parameter.grad = gradient[key].clone()
            optimizer.step()
        assert all(group["eps"] == eps for group in optimizer.param_groups)
        cases.append(
            {
                "name": name,
                "lr": lr,
                "betas": {"beta_1": betas[0], "beta_2": betas[1]},
                "eps": eps,
                "weight_decay": optimizer.param_groups[0]["weight_decay"],
                "decays_vectors": optimizer.param_groups[-1]["weight_decay"] > 0.0,
                "start": {key: value.flatten().tolist() for key, value in start.items()},
                "gradients": [
                    {key: g.flatten().tolist() for key, g in gradient.items()} for gradient in gradients
                ],
                "end": {key: value.flatten().tolist() for key, value in parameters.items()},
            }
        )
    return cases


def check_losses(generator: torch.Generator) -> None:
    """The pieces put together are what plain Python makes of them."""
    lengths = [4, 9, 1, 6]
    rows = [normal_rows(lengths, generator) for _ in range(5)]
    mask = pad(rows[0])[1]
    rewards, old_values, old_logprobs, logprobs, values = (pad(of_all)[0] for of_all in rows)
    advantages = gae(rewards, old_values, 1.0, 0.95) * mask
    for with_padding in (False, True):
        whitened = whiten(advantages, mask, with_padding)
        policy_loss = masked_mean(policy_losses(logprobs, old_logprobs, whitened, 0.2), mask)
        value_loss = masked_mean(value_losses(values, old_values, advantages + old_values, 0.2), mask)
        expected = losses_by_scalars(*rows, with_padding)
        torch.testing.assert_close(exact([policy_loss, value_loss]), exact(expected), rtol=1e-12, atol=1e-12)


def main() -> None:
    use_one_thread()
    generator = torch.Generator().manual_seed(SEED)
    check_losses(generator)
    write_json(
        GOLDEN_DIR / "ppo" / "equations.json",
        {
            "metadata": metadata(SEED, "float64"),
            "gae": gae_cases(generator),
            "whiten": whiten_cases(generator),
            "rewards": reward_cases(generator),
            "kl_controller": kl_controller_cases(),
            "optimizer": optimizer_cases(generator),
            "policy_loss": policy_cases(generator),
            "value_loss": value_cases(generator),
        },
    )


if __name__ == "__main__":
    main()
