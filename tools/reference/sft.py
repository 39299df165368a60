"""Supervised fine-tuning of `gpt2_tiny_a`: one batch with every gradient, then 20 steps of AdamW.

Writes `sft.safetensors` (batches, gradients, final weights) and `sft.json` (settings and curves).

Conventions: batches are right-padded with the end token, position ids count from 0, `labels` are
those of Hugging Face (the token at i is predicted at i - 1, -100 is ignored), the loss is the mean
over the target tokens of the batch, no dropout, and the tied `wte.weight` has one gradient.
Weight decay is decoupled and applies to every 2-D parameter, so to `wte` and `wpe` too, and not to
biases and layer norms. Gradients are clipped by their global norm, in PyTorch by the factor
`min(1, max_norm / (norm + 1e-6))`.
"""

from __future__ import annotations

import torch
from transformers import GPT2LMHeadModel

from golden import GOLDEN_DIR, metadata, use_one_thread, write_json, write_tensors
from tiny_models import load

SEED = 25
MODEL = "gpt2_tiny_a"
BATCHES = 4
ROWS = 3
STEPS = 20
WARMUP_STEPS = 5
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-6
WEIGHT_DECAY = 0.1
MAX_NORM = 1.0
IGNORED = -100

Batch = dict[str, torch.Tensor]


def draw_batch(eos_token_id: int, vocab_size: int, generator: torch.Generator) -> Batch:
    """Rows of a prompt, a target and the end token; only target and end token are labels."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    rows = []
    for _ in range(ROWS):
        prompt_length, target_length = draw(2, 9), draw(1, 12)
        ids = torch.randint(vocab_size, (prompt_length + target_length,), generator=generator)
        rows.append((prompt_length, [*ids.tolist(), eos_token_id]))
    width = max(len(ids) for _, ids in rows)
    input_ids = torch.full((ROWS, width), eos_token_id)
    attention_mask = torch.zeros(ROWS, width, dtype=torch.long)
    labels = torch.full((ROWS, width), IGNORED)
    for row, (prompt_length, ids) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
        labels[row, prompt_length : len(ids)] = torch.tensor(ids[prompt_length:])
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def mean_loss(model: GPT2LMHeadModel, batch: Batch) -> torch.Tensor:
    """Cross-entropy, the mean over target tokens, written out rather than left to transformers."""
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    log_probs = logits[:, :-1].log_softmax(-1)
    labels = batch["labels"][:, 1:]
    is_target = labels != IGNORED
    picked = log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -(picked * is_target).sum() / is_target.sum()


def learning_rate(step: int) -> float:
    """Linear warm-up that reaches the peak at the last warm-up step, then linear decay to 0."""
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    return LEARNING_RATE * (STEPS - step) / (STEPS - WARMUP_STEPS)


def train(model: GPT2LMHeadModel, batches: list[Batch]) -> tuple[list[float], list[float]]:
    """20 steps over the batches in turn; the loss and the unclipped gradient norm of each."""
    parameters = dict(model.named_parameters())
    decayed = [parameter for parameter in parameters.values() if parameter.dim() == 2]
    others = [parameter for parameter in parameters.values() if parameter.dim() != 2]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPSILON, foreach=False)
    losses, norms = [], []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        loss = mean_loss(model, batches[step % len(batches)])
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def main() -> None:
    use_one_thread()
    model = load(MODEL)
    config = model.config
    generator = torch.Generator().manual_seed(SEED)
    batches = [draw_batch(config.eos_token_id, config.vocab_size, generator) for _ in range(BATCHES)]
    tensors = {
        f"batch_{idx}.{key}": value for idx, batch in enumerate(batches) for key, value in batch.items()
    }

    first_loss = mean_loss(model, batches[0])
    theirs = model(**batches[0]).loss
    torch.testing.assert_close(first_loss, theirs, rtol=1e-6, atol=0.0)

    exact = load(MODEL, torch.float64)
    exact_loss = mean_loss(exact, batches[0])
    exact_loss.backward()
    for name, parameter in exact.named_parameters():
        tensors[f"gradient.{name}"] = parameter.grad.float()
    exact.zero_grad()

    losses, norms = train(model, batches)
    exact_losses, exact_norms = train(exact, batches)
    checksums = []
    difference = 0.0
    for (name, parameter), exact_parameter in zip(model.named_parameters(), exact.parameters(), strict=True):
        tensors[f"final.{name}"] = parameter.detach()
        difference = max(difference, (parameter - exact_parameter).abs().max().item())
        value = parameter.detach().double()
        checksums.append(
            {"name": name, "sum": value.sum().item(), "sum_of_squares": value.square().sum().item()}
        )

    about = metadata(
        SEED,
        "float32; gradients computed in float64 and cast",
        model=MODEL,
        final_weights_max_abs_difference_from_float64=f"{difference:.2e}",
    )
    print(about)
    write_tensors(GOLDEN_DIR / "sft.safetensors", tensors, about)
    write_json(
        GOLDEN_DIR / "sft.json",
        {
            "metadata": about,
            "betas": {"beta_1": BETAS[0], "beta_2": BETAS[1]},
            "epsilon": EPSILON,
            "weight_decay": WEIGHT_DECAY,
            "max_norm": MAX_NORM,
            "first_loss": first_loss.item(),
            "first_loss_float64": exact_loss.item(),
            "steps": [
                {
                    "batch": step % BATCHES,
                    "learning_rate": learning_rate(step),
                    "loss": losses[step],
                    "gradient_norm": norms[step],
                    "loss_float64": exact_losses[step],
                    "gradient_norm_float64": exact_norms[step],
                }
                for step in range(STEPS)
            ],
            "final_weights": checksums,
        },
    )


if __name__ == "__main__":
    main()
