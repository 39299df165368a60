"""A running `promptist serve` under the clients that people have: OpenAI's package, and schemathesis.

    python tools/checks/serve_clients.py --url http://127.0.0.1:7788 [--token T] [--examples 50]

- `openai`: models, chat completions and completions, whole and streamed, async and in parallel, errors;
  every text is compared with what `POST /v1/adapt` says of the same settings.
- `schemathesis`: requests drawn from `/openapi.json`, good and bad ones; no server error, no response that
  the document does not describe.

Prints one JSON object; the exit code says whether all held. Packages: `requirements-clients.txt` here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai

INPUTS = [
    "a lighthouse at dusk",
    "a (red:1.2) cat, <lora:ink:0.8>",
    "ein Bär im Wald",
    '<b>bold</b> & "quoted"',
]
# OpenAI's fields, and ours for the same answer.
SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"temperature": 0}, {"do_sample": False}),
    (
        {"temperature": 1.1, "top_p": 0.8, "seed": 11, "n": 3},
        {"do_sample": True, "temperature": 1.1, "top_p": 0.8, "seed": 11, "n": 3},
    ),
    ({"max_tokens": 20}, {"max_new_tokens": 20}),
    ({"extra_body": {"filter": False, "ban": []}}, {"filter": False}),
    ({"extra_body": {"num_beams": 4, "ban": ["@artists"]}}, {"num_beams": 4, "ban": ["@artists"]}),
]


class Server:
    """The server under test, by its own contract."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self.token = url.rstrip("/"), token

    def adapt(self, user_input: str, settings: dict[str, Any]) -> list[str]:
        """The texts that `POST /v1/adapt` gives."""
        body = json.dumps({"user_input": user_input, **settings}).encode()
        request = urllib.request.Request(f"{self.url}/v1/adapt", body, {"Content-Type": "application/json"})
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=120) as response:
            return [output["text"] for output in json.load(response)["outputs"]]


def messages(user_input: str) -> list[Any]:
    """A conversation whose last user message is the input."""
    return [
        {"role": "system", "content": "You expand prompts for image models."},
        {"role": "user", "content": "something else"},
        {"role": "assistant", "content": "something else, 8k"},
        {"role": "user", "content": user_input},
    ]


def streamed(stream: Iterable[Any], n: int) -> tuple[list[str], list[str | None], object]:
    """Texts, reasons and counts of a stream, chat or not."""
    texts, reasons, usage = [""] * n, [None] * n, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text = choice.delta.content if hasattr(choice, "delta") else choice.text
            texts[choice.index] += text or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    return texts, reasons, usage


def check_openai(server: Server) -> dict[str, Any]:
    """Counts what was compared; raises where something differs."""
    key = server.token or "any"
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    models = client.models.list().data
    assert len(models) == 1, models
    compared = 0
    for user_input in INPUTS:
        for theirs, ours in SETTINGS:
            expected = server.adapt(user_input, ours)
            where = f"{user_input!r} {theirs}"
            chat = {"model": "gpt-4o-mini", "messages": messages(user_input), **theirs}
            whole = client.chat.completions.create(**chat)
            assert [choice.message.content for choice in whole.choices] == expected, where
            options = {"include_usage": True}
            stream = client.chat.completions.create(**chat, stream=True, stream_options=options)
            texts, reasons, usage = streamed(stream, len(expected))
            assert texts == expected, (where, texts, expected)
            assert reasons == [choice.finish_reason for choice in whole.choices], where
            assert usage == whole.usage, where

            completion = {"model": "gpt-3.5-turbo-instruct", "prompt": user_input, **theirs}
            whole = client.completions.create(**completion)
            assert [choice.text for choice in whole.choices] == expected, where
            texts, _, _ = streamed(client.completions.create(**completion, stream=True), len(expected))
            assert texts == expected, (where, texts, expected)
            compared += 4

    errors = {}
    for name, fields, expected_error in [
        ("no user message", {"messages": [{"role": "system", "content": "x"}]}, openai.BadRequestError),
        ("too long", {"messages": messages("word " * 2000)}, openai.BadRequestError),
        ("impossible", {"messages": messages("x"), "top_p": 7}, openai.BadRequestError),
    ]:
        try:
            client.chat.completions.create(model="x", **fields)
        except expected_error as error:
            errors[name] = {"status": error.status_code, "code": error.code, "param": error.param}
        else:
            raise AssertionError(f"{name}: no error")
    assert errors["too long"]["code"] == "context_length_exceeded", errors
    if server.token:
        try:
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
        except openai.AuthenticationError as error:
            errors["wrong key"] = {"status": error.status_code, "code": error.code}
        else:
            raise AssertionError("a wrong key is let in")
    return {"compared": compared, "models": [model.id for model in models], "errors": errors}


async def check_parallel(server: Server) -> int:
    """Many requests at once, some of which are given up; the package tries again what is refused."""
    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.token or "any", max_retries=10)

    async def ask(at: int) -> bool:
        request = client.chat.completions.create(
            model="x", messages=messages(INPUTS[at % len(INPUTS)]), temperature=1, seed=at, stream=at % 3 == 0
        )
        if at % 5 == 4:
            try:
                await asyncio.wait_for(request, 0.01)
            except TimeoutError:
                return False
            return True
        answer = await request
        if at % 3 == 0:
            return "".join([chunk.choices[0].delta.content or "" async for chunk in answer]) != ""
        return answer.choices[0].message.content != ""

    answers = await asyncio.gather(*[ask(at) for at in range(100)])
    assert sum(answers) >= 80, answers
    return sum(answers)


def check_schemathesis(server: Server, examples: int, seconds: int) -> dict[str, Any]:
    """Runs it on the server's own document; the last lines of its report if something failed."""
    program = Path(sys.executable).with_name("schemathesis")
    options = {
        "--checks": "all",
        # Answers may be refused for what no schema says: beams that do not go with sampling, a pattern that
        # does not compile, an input of white space. Without a token nothing asks for one.
        "--exclude-checks": "positive_data_acceptance" + ("" if server.token else ",ignored_auth"),
        # The reward and images are there only if they are configured.
        "--exclude-path-regex": "^/(get_reward|v1/images)$",
        "--max-examples": str(examples),
        "--request-timeout": "120",
        "--seed": "1",
        "--workers": "2",
    }
    command = [str(program), "run", f"{server.url}/openapi.json", "--no-color", "--continue-on-failure"]
    command += [word for option in options.items() for word in option]
    if server.token:
        command += ["--header", f"Authorization: Bearer {server.token}"]
    try:
        # It keeps what it found in the working folder.
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, cwd=folder
            )
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode()
        return {"failed": f"not done in {seconds} s", "tail": output[-2000:]}
    cases = re.search(r"([\d,]+) generated", run.stdout)
    result: dict[str, Any] = {"cases": cases.group(1) if cases else None, "exit": run.returncode}
    if run.returncode != 0:
        result |= {"failed": True, "tail": (run.stdout + run.stderr)[-6000:]}
    return result


def main() -> None:
    """Runs the checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:7788")
    parser.add_argument("--token")
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=900)
    parser.add_argument("--only", choices=["openai", "schemathesis"])
    args = parser.parse_args()
    server = Server(args.url, args.token)
    report: dict[str, Any] = {}
    if args.only != "schemathesis":
        report["openai"] = {"version": version("openai"), **check_openai(server)}
        report["openai"]["parallel"] = asyncio.run(check_parallel(server))
    if args.only != "openai":
        found = check_schemathesis(server, args.examples, args.seconds)
        report["schemathesis"] = {"version": version("schemathesis"), **found}
    print(json.dumps(report, indent=1))
    sys.exit(1 if report.get("schemathesis", {}).get("failed") else 0)


if __name__ == "__main__":
    main()
