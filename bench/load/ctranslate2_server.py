"""CTranslate2 behind HTTP, as people put it into services: uvicorn, and a queue from which batches are taken.

    python bench/load/ctranslate2_server.py DIR/ctranslate2-int8 --tokenizer DIR/hf/tokenizer.json

`POST /v1/adapt` takes `user_input`, `num_beams`, `max_new_tokens` and `length_penalty`, as `promptist serve`
does, and answers with `user_input` and `outputs`; a full queue is refused with 429. A worker takes all that
waits, up to `--max-batch` requests of equal settings, and the next batch begins when that one ends:
CTranslate2 has no way to add to a batch that is being decoded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ctranslate2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from tokenizers import Tokenizer

TEMPLATE = "{} Rephrase:"


@dataclass
class Waiting:
    """A request that is not answered yet."""

    tokens: list[str]
    settings: tuple[int, int, float]
    answer: asyncio.Future[list[int]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """The queue and those who work on it, one for each of CTranslate2's workers."""

    def __init__(
        self, generator: ctranslate2.Generator, workers: int, max_batch: int, max_pending: int
    ) -> None:
        self.generator = generator
        self.max_batch = max_batch
        self.max_pending = max_pending
        self.workers = workers
        self.queue: deque[Waiting] = deque()
        self.pending = 0
        self.arrived = asyncio.Condition()
        self.threads = ThreadPoolExecutor(workers)

    async def answer(self, request: Waiting) -> list[int] | None:
        """The ids of the best answer; None if the queue is full."""
        if self.pending >= self.max_pending:
            return None
        self.pending += 1
        try:
            async with self.arrived:
                self.queue.append(request)
                self.arrived.notify()
            return await request.answer
        finally:
            self.pending -= 1

    async def work(self) -> None:
        while True:
            async with self.arrived:
                await self.arrived.wait_for(lambda: self.queue)
                batch = self.take()
            loop = asyncio.get_running_loop()
            try:
                results = await loop.run_in_executor(self.threads, self.generate, batch)
            except Exception as error:  # whatever it is, everyone of the batch is told
                results = [error] * len(batch)
            for request, result in zip(batch, results, strict=True):
                if request.answer.done():  # the client left
                    continue
                if isinstance(result, Exception):
                    request.answer.set_exception(result)
                else:
                    request.answer.set_result(result)

    def take(self) -> list[Waiting]:
        """The longest waiting, and those after it that can be decoded with it."""
        settings = self.queue[0].settings
        batch = [request for request in self.queue if request.settings == settings][: self.max_batch]
        for request in batch:
            self.queue.remove(request)
        return batch

    def generate(self, batch: list[Waiting]) -> list[list[int]]:
        num_beams, max_new_tokens, length_penalty = batch[0].settings
        results = self.generator.generate_batch(
            [request.tokens for request in batch],
            beam_size=num_beams,
            max_length=max_new_tokens,
            length_penalty=length_penalty,
            include_prompt_in_result=False,
        )
        return [result.sequences_ids[0] for result in results]


def application(batcher: Batcher, tokenizer: Tokenizer) -> Starlette:
    async def adapt(request: Request) -> JSONResponse:
        try:
            body: dict[str, Any] = json.loads(await request.body())
            text = body["user_input"]
            settings = (
                int(body.get("num_beams", 1)),
                int(body.get("max_new_tokens", 75)),
                float(body.get("length_penalty", 1.0)),
            )
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"error": {"message": repr(error)}}, 422)
        tokens = tokenizer.encode(TEMPLATE.format(text.strip())).tokens
        ids = await batcher.answer(Waiting(tokens, settings))
        if ids is None:
            return JSONResponse({"error": {"message": "full"}}, 429, {"Retry-After": "1"})
        output = {"text": tokenizer.decode(ids).strip(), "token_ids": ids}
        return JSONResponse({"user_input": text, "outputs": [output]})

    async def healthz(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(batcher.work()) for _ in range(batcher.workers)]
        yield
        for task in tasks:
            task.cancel()

    routes = [Route("/v1/adapt", adapt, methods=["POST"]), Route("/readyz", healthz)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--compute-type", default="int8_float32")
    parser.add_argument("--port", type=int, default=7799)
    parser.add_argument("--workers", type=int, default=1, help="batches that are decoded side by side")
    parser.add_argument("--threads", type=int, default=2, help="of each worker")
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--max-pending", type=int, default=256)
    arguments = parser.parse_args()

    generator = ctranslate2.Generator(
        str(arguments.model),
        device="cpu",
        compute_type=arguments.compute_type,
        inter_threads=arguments.workers,
        intra_threads=arguments.threads,
    )
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    batcher = Batcher(generator, arguments.workers, arguments.max_batch, arguments.max_pending)
    uvicorn.run(
        application(batcher, tokenizer),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )


if __name__ == "__main__":
    main()
