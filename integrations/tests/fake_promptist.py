#!/usr/bin/env python3
"""A stand-in for the program: `serve --port 0` and `adapt --json [flags] -- TEXT`.

FAKE_PROMPTIST_SERVES=no makes it one of the versions that cannot serve. With FAKE_PROMPTIST_LOG each start
leaves a line in that file.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from fake_server import FakeServer, Refusal, adapted


def main(words: list[str]) -> int:
    log = os.environ.get("FAKE_PROMPTIST_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"words": words, "pid": os.getpid()}) + "\n")
    if words[0] == "serve" and os.environ.get("FAKE_PROMPTIST_SERVES") != "no":
        server = FakeServer(os.environ.get("PROMPTIST_TOKEN", ""))
        print("loading the model", file=sys.stderr, flush=True)
        print(server.url, flush=True)
        threading.Event().wait()
    if words[0] != "adapt":
        print(f"error: unrecognized subcommand '{words[0]}'", file=sys.stderr)
        return 2
    body, end = {}, words.index("--")
    for word in words[2:end]:
        name, _, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if name == "seeds":
            body[name] = [int(seed) for seed in value.split(",")]
        elif name in ("ban", "must_include"):
            body.setdefault(name, []).append(value)
        elif name == "no_artists":
            body[name] = True
        elif name in ("seed", "budget"):
            body[name] = int(value)
        elif name == "strength":
            body[name] = float(value)
        else:
            body[name] = value
    body["user_input"] = words[end + 1]
    try:
        print(json.dumps(adapted(body)))
    except Refusal as refusal:
        print(json.dumps({"user_input": body["user_input"], "error": str(refusal)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
