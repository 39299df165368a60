"""Times a round of PPO, the released algorithm in PyTorch and ours in alternation, on the same cores.

    python bench/peers/ppo_round.py --checkpoint DIR --out RESULTS.json

DIR is what `make_checkpoint.py` writes; the interpreter is that of `tools/reference/requirements-diverse.txt`:
group beam search left transformers after 4.56.2. A round is 64 prompts of 16 tokens, in three phases, each
timed apart:

- explore: diverse beam search in chunks of 8 prompts, 8 beams in 8 groups, penalty 1.0, 45 new tokens, the
  end token suppressed; one of the eight answers at random;
- forward: log-probabilities of policy and reference, and values, of what was explored;
- update: 4 epochs, each one step of AdamW over the whole round in micro-batches of 8 rows. Of the policy the
  embeddings, the last two blocks and `ln_f` train, of the value network everything.

The reward is a constant: it costs nothing on either side. Both run in f32. A tool is a process of its own,
pinned to the cores with as many threads; it loads once and warms up on one chunk, where both learn from the
same answers so that their losses can be compared.

With a GPU, PyTorch's `--device` and ours (not yet run: no GPU was at hand):

    cargo build --release --features vulkan --example time_ppo_round
    python bench/peers/ppo_round.py --checkpoint DIR --out RESULTS.json --device cuda --ours vulkan
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from alternation import Worker, about_run, heading, own_stdout, peak_bytes, turns

TOOLS = ("pytorch", "promptist")
PHASES = ("explore", "forward", "update")
PACKAGES = ("torch", "transformers")
# What issue 5 asks: how many times longer PyTorch takes.
GOALS = {"explore": 5.0, "round": 1.3}
KL_COEF, GAMMA, LAMBDA, CLIPRANGE, VALUE_COEF = 0.2, 1.0, 0.95, 0.2, 2.3
REWARD = 1.0


@dataclass(frozen=True)
class Sample:
    tool: str
    round: int
    explore: float
    forward: float
    update: float
    peak_bytes: int

    @property
    def total(self) -> float:
        return self.explore + self.forward + self.update


def main() -> None:
    arguments = parse_arguments()
    results: dict[str, Any] = {
        **about_run("ppo_round.py", PACKAGES),
        "devices": {"pytorch": device_name(arguments.device), "promptist": arguments.ours},
    }
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_inputs(Path(folder), arguments)
        workers = [start(tool, files, arguments) for tool in arguments.tools]
        results["warm_up"] = warm_up(workers, arguments)
        for round_idx in range(arguments.rounds):
            for worker in turns(workers, round_idx):
                samples.append(time_round(worker, round_idx, arguments))
                write(arguments.out, results, samples)
        for worker in workers:
            worker.stop()


def start(tool: str, files: list[Path], arguments: argparse.Namespace) -> Worker:
    is_theirs = tool == "pytorch"
    program = [sys.executable, Path(__file__), "--worker"] if is_theirs else [arguments.program]
    device = arguments.device if is_theirs else arguments.ours
    settings = files[-1].with_name(f"{tool}.json")
    settings.write_text(json.dumps({**json.loads(files[-1].read_text()), "device": device}))
    return Worker(tool, [*program, *files[:-1], settings], arguments.cores, arguments.verbose)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a folder of make_checkpoint.py")
    parser.add_argument("--out", type=Path, required=True, help="a .json; the table goes beside it")
    parser.add_argument("--program", type=Path, default=Path("target/release/examples/time_ppo_round"))
    parser.add_argument("--tools", nargs="+", default=TOOLS, choices=TOOLS)
    parser.add_argument("--cores", type=lambda text: text.split(","), default=["0", "1"], metavar="0,1")
    parser.add_argument("--device", default="cpu", help="PyTorch's, such as cuda")
    parser.add_argument("--ours", default="cpu", help="vulkan, wgpu or cuda, if built with that feature")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=45)
    parser.add_argument("--verbose", action="store_true", help="show what the tools say")
    return parser.parse_args()


def write_inputs(folder: Path, arguments: argparse.Namespace) -> list[Path]:
    """The arguments of a worker: checkpoint, the value head's weights, settings."""
    config = json.loads((arguments.checkpoint / "hf" / "config.json").read_text())
    generator = torch.Generator().manual_seed(5)
    e = config["n_embd"]
    bound = {"0.weight": e**-0.5, "0.bias": e**-0.5, "2.weight": (2 * e) ** -0.5, "2.bias": (2 * e) ** -0.5}
    shapes = {"0.weight": (2 * e, e), "0.bias": (2 * e,), "2.weight": (1, 2 * e), "2.bias": (1,)}
    head = {
        f"v_head.{name}": bound[name] * (2 * torch.rand(shape, generator=generator) - 1)
        for name, shape in shapes.items()
    }
    save_file(head, folder / "value_head.safetensors")
    settings = {
        "new_tokens": arguments.new_tokens,
        "num_beams": 8,
        "chunk_size": 8,
        "trainable_layers": 2,
        "micro_batch_rows": 8,
        "end_token": config["eos_token_id"],
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return [arguments.checkpoint, folder / "value_head.safetensors", folder / "settings.json"]


def warm_up(workers: list[Worker], arguments: argparse.Namespace) -> dict[str, Any]:
    """A chunk and two epochs. All learn from the answers of the last worker, which ours is by default, and
    the others' beams are searched for these."""
    num_prompts = min(8, arguments.prompts)
    request = {"round": 1_000_000, "num_prompts": num_prompts, "epochs": 2}
    answers = {workers[-1].tool: workers[-1].ask(**request, responses=None)}
    given = answers[workers[-1].tool]["responses"]
    for worker in workers[:-1]:
        answers[worker.tool] = worker.ask(**request, responses=given)
    if len(answers) < 2:
        return {}
    theirs, ours = (answers[tool] for tool in TOOLS)
    found = sum(answer in beams for answer, beams in zip(given, theirs["candidates"], strict=True))
    return {
        "losses": {"pytorch": theirs["losses"], "promptist": ours["losses"]},
        "answers_among_beams": f"{found} of {num_prompts}",
    }


def time_round(worker: Worker, round_idx: int, arguments: argparse.Namespace) -> Sample:
    answer = worker.ask(
        round=round_idx, num_prompts=arguments.prompts, epochs=arguments.epochs, responses=None
    )
    lengths = {len(response) for response in answer["responses"]}
    assert lengths == {arguments.new_tokens}, f"{worker.tool}: answers of {lengths} tokens"
    sample = Sample(
        worker.tool,
        round_idx,
        answer["explore_seconds"],
        answer["score_seconds"],
        answer["update_seconds"],
        answer["peak_bytes"],
    )
    shown = ", ".join(f"{phase} {getattr(sample, phase):.2f}" for phase in PHASES)
    print(f"round {round_idx}: {worker.tool} {sample.total:.2f} s: {shown}", file=sys.stderr, flush=True)
    return sample


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def write(out: Path, results: dict[str, Any], samples: list[Sample]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    everything = {**results, "samples": [asdict(sample) for sample in samples]}
    out.write_text(json.dumps(everything, indent=1) + "\n")
    out.with_suffix(".md").write_text(report(results, samples))


def report(results: dict[str, Any], samples: list[Sample]) -> str:
    devices = results["devices"]
    lines = heading(results, f" PyTorch on {devices['pytorch']}, promptist on {devices['promptist']}.")
    of = {tool: [sample for sample in samples if sample.tool == tool] for tool in TOOLS}
    if not all(of.values()):
        return "\n".join(lines)
    rounds = min(map(len, of.values()))
    lines += [
        f"Seconds: median of {rounds} (least-most)",
        "",
        "| | PyTorch | promptist | PyTorch's time over ours | asked |",
        "| --- | --- | --- | --- | --- |",
    ]
    for phase in (*PHASES, "round"):
        field = "total" if phase == "round" else phase
        times = [[getattr(sample, field) for sample in of[tool]] for tool in TOOLS]
        shown = [f"{median(t):.2f} ({min(t):.2f}-{max(t):.2f})" for t in times]
        ratio = median(times[0]) / median(times[1])
        goal = GOALS.get(phase)
        asked = f"{goal:g}: {'pass' if ratio >= goal else '**fail**'}" if goal else ""
        lines.append(f"| {phase} | {shown[0]} | {shown[1]} | {ratio:.2f} | {asked} |")
    peaks = [max(sample.peak_bytes for sample in of[tool]) / 1e9 for tool in TOOLS]
    lines.append(f"| peak memory | {peaks[0]:.2f} GB | {peaks[1]:.2f} GB | {peaks[0] / peaks[1]:.2f} | |")
    if check := results["warm_up"]:
        losses = check["losses"]
        largest = max(
            abs(a - b)
            for theirs, ours in zip(losses["pytorch"], losses["promptist"], strict=True)
            for a, b in zip(theirs, ours, strict=True)
        )
        lines += [
            "",
            f"The same work: {check['answers_among_beams']} of our answers are among PyTorch's beams; losses of "
            f"two epochs over the same answers differ by at most {largest:.1e}.",
        ]
    return "\n".join(lines) + "\n"


class Released:
    """PyTorch's process: the released algorithm, its networks as `ppo_models.py` has them but with a whole
    reference instead of the frozen top, and with its redundant second pass over policy and value left out."""

    def __init__(self, checkpoint: Path, head: Path, settings: dict[str, Any]) -> None:
        from transformers import GPT2LMHeadModel

        self.settings = settings
        self.device = torch.device(settings["device"])
        prompts = json.loads((checkpoint / "prompts.json").read_text())
        self.prompts = torch.tensor(prompts["ids"], device=self.device)

        def load() -> GPT2LMHeadModel:
            model = GPT2LMHeadModel.from_pretrained(checkpoint / "hf", dtype=torch.float32)
            return model.eval().to(self.device)

        self.policy, self.value, self.reference = load(), load().transformer, load()
        self.reference.requires_grad_(False)
        for block in self.policy.transformer.h[: -settings["trainable_layers"]]:
            block.requires_grad_(False)
        e = self.policy.config.n_embd
        self.head = torch.nn.Sequential(
            torch.nn.Linear(e, 2 * e), torch.nn.ReLU(), torch.nn.Linear(2 * e, 1)
        ).to(self.device)
        state = load_file(head)
        self.head.load_state_dict({name.removeprefix("v_head."): value for name, value in state.items()})
        trained = [*self.policy.parameters(), *self.value.parameters(), *self.head.parameters()]
        trained = [parameter for parameter in trained if parameter.requires_grad]
        groups = [
            {"params": [parameter for parameter in trained if parameter.dim() == 2], "weight_decay": 1e-6},
            {"params": [parameter for parameter in trained if parameter.dim() != 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=5e-5, betas=(0.9, 0.95), eps=1e-6)

    def round(self, request: dict[str, Any]) -> dict[str, Any]:
        torch.manual_seed(request["round"])
        prompts = self.prompts[: request["num_prompts"]]
        chunks = prompts.split(self.settings["chunk_size"])
        seconds = dict.fromkeys(PHASES, 0.0)
        with torch.no_grad():
            started = self.now()
            found = [self.explore(chunk) for chunk in chunks]
            seconds["explore"] = self.now() - started
            responses = torch.cat([response for response, _ in found])
            answer = {
                "responses": responses.tolist(),
                "candidates": [beams for _, of_chunk in found for beams in of_chunk.tolist()],
            }
            if request["responses"] is not None:
                responses = torch.tensor(request["responses"], device=self.device)
            # The released code's extra column: the end token that a cut answer gets.
            end = torch.full_like(responses[:, :1], self.settings["end_token"])
            tokens = torch.cat([prompts, responses, end], 1)
            started = self.now()
            old = self.rollout(tokens, prompts.shape[1])
            seconds["forward"] = self.now() - started
        started = self.now()
        answer["losses"] = [self.epoch(tokens, prompts.shape[1], old) for _ in range(request["epochs"])]
        seconds["update"] = self.now() - started
        return {
            **answer,
            "explore_seconds": seconds["explore"],
            "score_seconds": seconds["forward"],
            "update_seconds": seconds["update"],
            "peak_bytes": most_bytes(),
        }

    def explore(self, prompts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One answer to each prompt, and all that were found: `[B, T]` and `[B, K, T]`."""
        beams = self.settings["num_beams"]
        output = self.policy.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            num_beams=beams,
            num_beam_groups=beams,
            diversity_penalty=1.0,
            length_penalty=1.0,
            num_return_sequences=beams,
            max_new_tokens=self.settings["new_tokens"],
            suppress_tokens=[self.settings["end_token"]],
            pad_token_id=self.settings["end_token"],
        )
        rows = prompts.shape[0]
        answers = output[:, prompts.shape[1] :].view(rows, beams, -1)
        picked = torch.randint(0, beams, (rows,), device=self.device)
        return answers[torch.arange(rows, device=self.device), picked], answers

    def rollout(self, tokens: torch.Tensor, prompt_width: int) -> dict[str, torch.Tensor]:
        """What the loss compares with, by token of the answers: `[B, T]` each."""
        parts = []
        for chunk in tokens.split(self.settings["chunk_size"]):
            logprobs, values = self.forward(chunk, prompt_width)
            inputs = self.inputs(chunk)
            reference = logprobs_of(self.reference(**inputs).logits, chunk, prompt_width)
            parts.append((logprobs, values, reference))
        logprobs, values, reference = (torch.cat(part) for part in zip(*parts, strict=True))
        rewards = -KL_COEF * (logprobs - reference)
        rewards[:, -1] += REWARD
        advantages = torch.zeros_like(rewards)
        ahead = next_value = torch.zeros_like(rewards[:, 0])
        for t in reversed(range(rewards.shape[1])):
            delta = rewards[:, t] + GAMMA * next_value - values[:, t]
            ahead = delta + GAMMA * LAMBDA * ahead
            next_value = values[:, t]
            advantages[:, t] = ahead
        variance, mean = torch.var_mean(advantages)
        return {
            "logprobs": logprobs,
            "values": values,
            "returns": advantages + values,
            "advantages": (advantages - mean) * torch.rsqrt(variance + 1e-8),
        }

    def epoch(self, tokens: torch.Tensor, prompt_width: int, old: dict[str, torch.Tensor]) -> list[float]:
        """A step over the round; gradients gather over micro-batches."""
        rows = self.settings["micro_batch_rows"]
        count = old["logprobs"].numel()
        policy_loss = value_loss = 0.0
        self.optimizer.zero_grad()
        for first in range(0, len(tokens), rows):
            part = slice(first, first + rows)
            logprobs, values = self.forward(tokens[part], prompt_width)
            ratio = torch.exp(logprobs - old["logprobs"][part])
            advantages, returns = old["advantages"][part], old["returns"][part]
            clamped = torch.clamp(ratio, 1 - CLIPRANGE, 1 + CLIPRANGE)
            of_policy = torch.max(-advantages * ratio, -advantages * clamped).sum() / count
            old_values = old["values"][part]
            near = old_values + torch.clamp(values - old_values, -CLIPRANGE, CLIPRANGE)
            of_value = 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2).sum() / count
            (of_policy + VALUE_COEF * of_value).backward()
            policy_loss += of_policy.item()
            value_loss += of_value.item()
        self.optimizer.step()
        return [policy_loss, value_loss]

    def forward(self, tokens: torch.Tensor, prompt_width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and values of the answers' tokens."""
        inputs = self.inputs(tokens)
        logprobs = logprobs_of(self.policy(**inputs).logits, tokens, prompt_width)
        values = self.head(self.value(**inputs).last_hidden_state)[..., 0]
        return logprobs, values[:, prompt_width - 1 : -1]

    def inputs(self, tokens: torch.Tensor) -> dict[str, Any]:
        mask = torch.ones_like(tokens)
        return {
            "input_ids": tokens,
            "attention_mask": mask,
            "position_ids": mask.cumsum(-1) - 1,
            "use_cache": False,
        }

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def logprobs_of(logits: torch.Tensor, tokens: torch.Tensor, prompt_width: int) -> torch.Tensor:
    """As the released `logprobs_from_logits`: over all positions, then the answers' are taken."""
    log_probs = torch.log_softmax(logits[:, :-1], -1)
    picked = log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
    return picked[:, prompt_width - 1 :]


def work(checkpoint: Path, head: Path, settings: Path) -> None:
    """PyTorch's process: as `time_ppo_round.rs`."""
    out = own_stdout()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    released = Released(checkpoint, head, json.loads(settings.read_text()))
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(released.round(json.loads(line))), file=out, flush=True)


def most_bytes() -> int:
    """The most memory that this process ever had; on a GPU, what PyTorch had there."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return peak_bytes()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*map(Path, sys.argv[2:]))
    else:
        main()
