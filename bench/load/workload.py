"""What is asked: request bodies, and the command line that gives the same answers."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEDS = (1, 2, 3, 4)
SUBJECTS = (
    "a cat",
    "a lighthouse",
    "an old knight",
    "two children",
    "a red bicycle",
    "a robot",
    "a forest",
    "soup",
)
PLACES = (
    "",
    " at dusk",
    " in the rain",
    " on a mountain",
    " near the sea",
    " in a market",
    " at home",
    " in space",
)


@dataclass(frozen=True)
class Workload:
    """Requests to one model."""

    name: str
    model: str
    """As `--model` takes it."""
    precision: str
    bodies: list[dict[str, Any]]
    flags: list[str]
    """Of `promptist adapt`, for the settings that all bodies share."""

    @classmethod
    def mini(cls, precision: str) -> Workload:
        """What people use: mini as it comes, each of 64 prompts with several seeds."""
        bodies = [{"user_input": text, "seed": seed} for seed in SEEDS for text in captions()]
        return cls("mini", "mini", precision, bodies, [])

    @classmethod
    def checkpoint(cls, folder: Path, precision: str, settings: dict[str, Any]) -> Workload:
        """What bench/peers times: 64 prompts, of 16 tokens to GPT-2; `settings` are decoding's."""
        settings = {**settings, "keep": "free"}
        texts = json.loads((folder / "prompts.json").read_text())["texts"]
        bodies = [{"user_input": text, **settings, "filter": False} for text in texts]
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        return cls(
            folder.name, str(folder / "hf"), precision, bodies, [*flags, "--no-filter"]
        )

    def expected(self, program: Path) -> list[dict[str, Any]]:
        """`promptist adapt --json` of every request, in order."""
        answers: dict[int, dict[str, Any]] = {}
        for seed in sorted({body.get("seed", 0) for body in self.bodies}):
            of_seed = [i for i, body in enumerate(self.bodies) if body.get("seed", 0) == seed]
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
                for i in of_seed:
                    print(json.dumps({"user_input": self.bodies[i]["user_input"]}), file=file, flush=True)
                command = [
                    str(program),
                    "adapt",
                    "--json",
                    "--model",
                    self.model,
                    "--precision",
                    self.precision,
                ]
                command += ["--input", file.name, "--seed", str(seed), *self.flags]
                lines = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True
                ).stdout.splitlines()
            answers.update(zip(of_seed, map(json.loads, lines), strict=True))
        return [answers[i] for i in range(len(self.bodies))]


def captions() -> Iterator[str]:
    """What people would type, one to seven words each."""
    return ("".join(words) for words in itertools.product(SUBJECTS, PLACES))
