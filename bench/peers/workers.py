"""One tool, loaded once, timed on request: a JSON object a line in, one out. `run.py` starts these.

    python bench/peers/workers.py TOOL PRECISION --checkpoint DIR --threads N [--program PATH]

A request is `{"prompts": [0, 1], "num_beams": 8, "max_new_tokens": 75}`, prompts by their place in
`prompts.json`, decoded together. The answer is `seconds`, from token ids (promptist: from text) to token
ids, loading excluded; `ids`, the best answer to each prompt without the prompt; `how`, the variant of the
tool that was quickest on the first request of that shape, where it has more than one.

The first request of a shape warms up: it runs twice, in every variant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from alternation import own_stdout

Ids = list[list[int]]

LARGEST_BATCH_ROWS = 64


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    texts: list[str]
    ids: Ids

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        prompts = json.loads((folder / "prompts.json").read_text())
        return cls(folder, prompts["texts"], prompts["ids"])


@dataclass(frozen=True)
class Request:
    prompts: tuple[int, ...]
    num_beams: int
    max_new_tokens: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.prompts), self.num_beams, self.max_new_tokens


Decode = Callable[[Request], Ids]


class Tool(Protocol):
    """What is timed: one way or several of answering a request."""

    def variants(self, request: Request) -> dict[str, Decode]: ...


class Transformers:
    """`generate`, all prompts in one batch."""

    def __init__(self, checkpoint: Checkpoint, precision: str, threads: int) -> None:
        import torch
        from transformers import GPT2LMHeadModel

        torch.set_num_threads(threads)
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.torch = torch
        self.prompts = torch.tensor(checkpoint.ids)
        self.model = GPT2LMHeadModel.from_pretrained(checkpoint.folder / "hf", dtype=dtype).eval()

    def variants(self, request: Request) -> dict[str, Decode]:
        return {"": self.decode}

    def decode(self, request: Request) -> Ids:
        ids = self.prompts[list(request.prompts)]
        beams = {"num_beams": request.num_beams, "length_penalty": -1.0} if request.num_beams > 1 else {}
        with self.torch.inference_mode():
            output = self.model.generate(
                ids,
                attention_mask=self.torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=request.max_new_tokens,
                **beams,
            )
        return output[:, ids.shape[1] :].tolist()


class CTranslate2:
    """`generate_batch`; several prompts in one batch on all threads, or shared among workers."""

    def __init__(self, checkpoint: Checkpoint, precision: str, threads: int) -> None:
        import ctranslate2

        self.threads = threads
        folder = checkpoint.folder / f"ctranslate2-{precision}"
        vocabulary = json.loads((folder / "vocabulary.json").read_text())
        self.prompts = [[vocabulary[token] for token in prompt] for prompt in checkpoint.ids]
        # float32 and int8 by name: "default" would choose by the machine.
        compute = {"float32": "float32", "int8": "int8_float32"}[precision]
        self.open = lambda inter, intra: ctranslate2.Generator(
            str(folder), device="cpu", compute_type=compute, inter_threads=inter, intra_threads=intra
        )
        self.generators = {1: self.open(1, threads)}

    def variants(self, request: Request) -> dict[str, Decode]:
        prompts = len(request.prompts)
        if prompts == 1:
            return {"": lambda request: self.decode(request, 1, 1)}
        inter = {1, self.threads}
        # Larger batches are not tried: 256 rows at once took it over ten times as long as 32.
        largest = min(prompts, max(1, LARGEST_BATCH_ROWS // request.num_beams))
        sizes = {largest, max(1, largest // 2)}
        return {
            f"{workers} worker(s), batches of {size // workers or 1}": (
                lambda request, workers=workers, size=size: self.decode(
                    request, workers, size // workers or 1
                )
            )
            for workers in sorted(inter)
            for size in sorted(sizes)
        }

    def decode(self, request: Request, workers: int, batch_size: int) -> Ids:
        if workers not in self.generators:
            self.generators[workers] = self.open(workers, 1)
        results = self.generators[workers].generate_batch(
            [self.prompts[prompt] for prompt in request.prompts],
            max_batch_size=batch_size,
            beam_size=request.num_beams,
            max_length=request.max_new_tokens,
            length_penalty=-1.0,
            include_prompt_in_result=False,
        )
        return [result.sequences_ids[0] for result in results]


class LlamaCpp:
    """Greedy, one prompt after the other: the package has no beam search."""

    def __init__(self, checkpoint: Checkpoint, precision: str, threads: int) -> None:
        from llama_cpp import Llama

        self.prompts = checkpoint.ids
        self.model = Llama(
            str(checkpoint.folder / f"llama.cpp-{precision}.gguf"),
            n_ctx=256,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )

    def variants(self, request: Request) -> dict[str, Decode]:
        assert request.num_beams == 1, "llama.cpp is greedy here"
        return {"": self.decode}

    def decode(self, request: Request) -> Ids:
        answers = []
        for prompt in request.prompts:
            tokens = self.model.generate(self.prompts[prompt], temp=0.0, repeat_penalty=1.0, reset=True)
            self.model.reset()  # no prefix of the last answer is used again
            answers.append([next(tokens) for _ in range(request.max_new_tokens)])
        return answers


class Promptist:
    """The program itself, `elapsed_ms` of its answers: a process a request, that warms up on another
    prompt of its own, since `adapt` reads all its inputs before the first."""

    def __init__(self, checkpoint: Checkpoint, precision: str, threads: int, program: Path) -> None:
        self.checkpoint = checkpoint
        self.command = [str(program), "adapt", "--json", "--model", str(checkpoint.folder / "hf")]
        self.command += ["--precision", precision, "--threads", str(threads), "--keep", "free", "--no-filter"]
        self.seconds = 0.0

    def variants(self, request: Request) -> dict[str, Decode]:
        return {"": self.decode}

    def decode(self, request: Request) -> Ids:
        texts, count = self.checkpoint.texts, len(request.prompts)
        measured = [texts[prompt] for prompt in request.prompts]
        warm_up = [text for text in texts if text not in measured][:count]
        command = [*self.command, "--num-beams", str(request.num_beams), "--batch-size", str(count)]
        command += ["--max-new-tokens", str(request.max_new_tokens), "--length-penalty", "-1.0"]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(warm_up + measured) + "\n")
            file.flush()
            answer = subprocess.run(
                [*command, "--input", file.name], check=True, stdout=subprocess.PIPE, text=True
            )
        lines = [json.loads(line) for line in answer.stdout.splitlines()][count:]
        # The time of a batch stands in each of its rows.
        self.seconds = max(line["elapsed_ms"] for line in lines) / 1e3
        return [line["outputs"][0]["token_ids"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tool", choices=("transformers", "ctranslate2", "llama.cpp", "promptist"))
    parser.add_argument("precision")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--program", type=Path, default=Path("target/release/promptist"))
    arguments = parser.parse_args()

    out = own_stdout()
    checkpoint = Checkpoint.open(arguments.checkpoint)
    common = (checkpoint, arguments.precision, arguments.threads)
    match arguments.tool:
        case "transformers":
            tool = Transformers(*common)
        case "ctranslate2":
            tool = CTranslate2(*common)
        case "llama.cpp":
            tool = LlamaCpp(*common)
        case _:
            tool = Promptist(*common, arguments.program)

    chosen: dict[tuple[int, int, int], tuple[str, Decode]] = {}
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        request = Request(tuple(asked["prompts"]), asked["num_beams"], asked["max_new_tokens"])
        if request.shape not in chosen:
            chosen[request.shape] = quickest(tool, request)
        how, decode = chosen[request.shape]
        seconds, ids = timed(tool, decode, request)
        assert all(len(answer) == request.max_new_tokens for answer in ids), [len(answer) for answer in ids]
        print(json.dumps({"seconds": seconds, "ids": ids, "how": how}), file=out, flush=True)


def quickest(tool: Tool, request: Request) -> tuple[str, Decode]:
    variants = tool.variants(request)
    if isinstance(tool, Promptist):  # each of its processes warms up by itself
        return next(iter(variants.items()))
    for decode in variants.values():
        decode(request)
    if len(variants) == 1:
        return next(iter(variants.items()))
    return min(variants.items(), key=lambda variant: timed(tool, variant[1], request)[0])


def timed(tool: Tool, decode: Decode, request: Request) -> tuple[float, Ids]:
    started = time.perf_counter()
    ids = decode(request)
    seconds = time.perf_counter() - started
    return (tool.seconds if isinstance(tool, Promptist) else seconds), ids


if __name__ == "__main__":
    main()
