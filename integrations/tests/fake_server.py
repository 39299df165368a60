"""A stand-in for `promptist serve`: its contract at `POST /v1/adapt`, without a model.

What it adds to a prompt names the seed, so that a test sees which seed each image's prompt was drawn with. It
refuses what the real one refuses: unknown fields, impossible values, an empty prompt, a missing token.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = {"name": "fake", "sha256": "0123456789abcdef" * 4}
FIELDS = {
    "user_input": str,
    "seed": int,
    "seeds": list,
    "strength": (int, float),
    "keep": str,
    "ban": list,
    "must_include": list,
    "no_artists": bool,
    "target": str,
    "budget": int,
}
MAX_ANSWERS = 32


class Refusal(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


def adapted(body: dict[str, Any]) -> dict[str, Any]:
    """The object of `adapt --json`."""
    for name, value in body.items():
        if name not in FIELDS:
            raise Refusal(422, f"unknown field `{name}`", name)
        if not isinstance(value, FIELDS[name]):
            raise Refusal(422, f"`{name}`: invalid type", name)
    text = body.get("user_input", "")
    if not text.strip():
        raise Refusal(422, "the prompt is empty", "user_input")
    if not 0 <= body.get("strength", 1) <= 1:
        raise Refusal(422, f"`strength`: {body['strength']} is not in 0..=1", "strength")
    if body.get("keep", "words") not in ("exact", "words", "free"):
        raise Refusal(422, f"`keep`: unknown variant `{body['keep']}`", "keep")
    if 0 < body.get("budget", 75) < len(text.split()):
        raise Refusal(422, f"`budget`: {body['budget']} of sd15 tokens, but the input takes more", "budget")
    seeds = body.get("seeds", [body.get("seed", 0)])
    if len(seeds) > MAX_ANSWERS:
        raise Refusal(422, f"`seeds`: {len(seeds)}, and at most {MAX_ANSWERS} are allowed", "seeds")
    outputs = []
    for seed in seeds:
        added = [f"drawn with {seed}"] if body.get("strength", 1) > 0 else []
        added += body.get("must_include", [])
        outputs.append(
            {"text": ", ".join([text, *added]), "score": -1.0, "token_ids": [], "finish": "eos", "seed": seed}
        )
    settings = {name: value for name, value in body.items() if name != "user_input"}
    return {
        "user_input": text,
        "outputs": outputs,
        "model": MODEL,
        "settings": settings,
        "seed": seeds[0],
        "receipt": {"model_sha256": MODEL["sha256"]},
        "version": "0.0.0",
        "elapsed_ms": 0.1,
    }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: FakeServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.heard.append((self.path, dict(self.headers), payload))
        if self.server.scripted:
            status, headers, answer = self.server.scripted.pop(0)
            self.reply(status, headers, answer)
            return
        try:
            if self.path != "/v1/adapt":
                raise Refusal(404, "there is nothing at this path")
            if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
                raise Refusal(401, "the request needs `Authorization: Bearer` and the server's token")
            if self.headers.get("Content-Type") != "application/json":
                raise Refusal(415, "the body must be `Content-Type: application/json`")
            status, value = 200, adapted(json.loads(payload))
        except Refusal as refusal:
            told = {"message": str(refusal), "type": "invalid_request_error", "param": refusal.param}
            status, value = refusal.status, {"error": told}
        self.reply(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def reply(self, status: int, headers: dict[str, str], payload: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


class FakeServer(ThreadingHTTPServer):
    """Answers in the background until closed. `scripted` answers go first; `heard` is what was asked."""

    daemon_threads = True

    def __init__(self, token: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token = token
        self.scripted: list[tuple[int, dict[str, str], bytes]] = []
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for _, _, payload in self.heard]

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()
