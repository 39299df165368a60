# A copy of integrations/client/promptist_client.py, made by sync_client.py: change that one.
"""Talks to Promptist from inside another program. Python's standard library, 3.9 or later, and nothing else.

Three ways, the first that is there:

1. a server that is running, by its URL;
2. a server that is started here on a free port of this machine, and ends with the program that started it;
3. `promptist adapt --json`, a process a prompt, where the program cannot serve.

Whatever goes wrong is a `PromptistError` whose text is meant for the person at the screen. Which prompt is
used then is the caller's decision: this module never makes one up.
"""

from __future__ import annotations

import atexit
import collections
import email.utils
import http.client
import json
import logging
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

LOG = logging.getLogger("promptist")

Json = dict[str, Any]

# A server refuses more answers to one input than its limit, 32 unless its owner chose another.
SEEDS_AT_ONCE = 16
MAX_SEED = 2**64 - 1
MAX_ANSWER_BYTES = 16 << 20
# Loading a large model from a slow disk takes its time; `mini` needs a tenth of a second.
START_SECS = 60.0
STOP_SECS = 5.0
# The watcher knows of a server's end a moment later than its connections do.
NOTICE_SECS = 0.5
# Where the server does not say how long to wait: this long at first, then twice as long each time.
FIRST_WAIT_SECS = 0.25
URL = re.compile(r"http://[^\s/]+")
SERVE = ("serve", "--port", "0")

# Ends a child when this process is gone, however it ended: the pipe to the watcher closes with it. (A
# handler at exit does not run on SIGKILL, and Linux's parent-death signal follows a thread, not a process.)
WATCHER = """
import os, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (os.read(0, 1), child.terminate()), daemon=True).start()
os._exit(abs(child.wait()))
"""


class PromptistError(Exception):
    """There is no adapted prompt, and this is why."""


class Unavailable(PromptistError):
    """Promptist could not be reached or started, or did not answer in time."""


class Busy(Unavailable):
    """The server has as much to do as it accepts."""


class Refused(PromptistError):
    """Promptist answered that it cannot: a setting is wrong, the prompt too long, the token missing."""

    def __init__(self, message: str, status: int | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


@dataclass(frozen=True)
class Connection:
    """Where Promptist is. What is empty comes from the environment, else from the defaults."""

    url: str = ""
    """A running server, `http://127.0.0.1:7788`. Empty: one is started."""
    token: str = field(default="", repr=False)
    """What that server asks for, if it does."""
    program: str = ""
    """The program to start; `promptist` on the PATH if empty."""
    model: str = ""
    """What to start it with: a folder or a Hub id; the built-in model if empty."""
    timeout_secs: float = 30.0
    """How long a prompt may take, waiting for a busy server included."""

    @classmethod
    def configured(cls, given: Json | None = None) -> Connection:
        """`given`, its empty values from PROMPTIST_URL, _TOKEN, _BIN, _MODEL and _TIMEOUT."""
        names = {
            "url": "URL",
            "token": "TOKEN",
            "program": "BIN",
            "model": "MODEL",
            "timeout_secs": "TIMEOUT",
        }
        known = {key: value for key, value in (given or {}).items() if key in names and value not in (None, "")}
        for name, variable in names.items():
            value = os.environ.get("PROMPTIST_" + variable, "")
            if name not in known and value:
                known[name] = value
        try:
            known["timeout_secs"] = float(known.get("timeout_secs", cls.timeout_secs))
        except (TypeError, ValueError):
            raise PromptistError(f"the timeout is not a number of seconds: {known['timeout_secs']!r}") from None
        if not known["timeout_secs"] > 0:
            raise PromptistError(f"the timeout is not above 0: {known['timeout_secs']}")
        for name in ("url", "token", "program", "model"):
            known[name] = str(known.get(name, "")).strip()
        known["url"] = known["url"].rstrip("/")
        if known["url"] and not known["url"].startswith(("http://", "https://")):
            raise PromptistError(f"the URL of the server does not begin with http:// or https://: {known['url']}")
        return cls(**known)


@dataclass(frozen=True)
class Adaptation:
    """What became of one prompt."""

    user_input: str
    texts: list[str]
    """An adapted prompt for each seed, in their order."""
    answer: Json
    """The whole answer, as of `promptist adapt --json`: model, settings, receipt."""

    @property
    def model(self) -> str:
        """`mini f6934ddae58d`: the model's name and the beginning of its hash."""
        model = self.answer.get("model")
        if not isinstance(model, dict):
            return "unknown"
        return f"{model.get('name', 'unknown')} {str(model.get('sha256', ''))[:12]}".strip()


class Promptist:
    """Adapts prompts over one connection. May be shared by threads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self._server: LocalServer | None = None
        self._cannot_serve = False

    def adapt(self, user_input: str, seeds: list[int], settings: Json | None = None) -> Adaptation:
        """An adapted prompt for each of `seeds`, each the one that its seed gives alone.

        `settings` are those of `POST /v1/adapt`; what is None or empty is left to the model.

        Raises `PromptistError`.
        """
        if not seeds:
            raise ValueError("no seeds")
        if any(not 0 <= seed <= MAX_SEED for seed in seeds):
            raise PromptistError(f"a seed is not within 0 and {MAX_SEED}: {seeds}")
        chosen = {name: value for name, value in (settings or {}).items() if value not in (None, "", [], ())}
        deadline = time.monotonic() + self.connection.timeout_secs
        texts: list[str] = []
        answer: Json = {}
        for first in range(0, len(seeds), SEEDS_AT_ONCE):
            part = seeds[first : first + SEEDS_AT_ONCE]
            # One seed is said as `seed`, which models that search rather than sample take too.
            body = {
                "user_input": user_input,
                **chosen,
                **({"seed": part[0]} if len(part) == 1 else {"seeds": part}),
            }
            answer = self._ask(body, deadline)
            texts += answer_texts(answer, len(part))
        return Adaptation(user_input, texts, answer)

    def stop(self) -> None:
        """Ends the server that was started here, if one was. The next prompt starts another."""
        with self._lock:
            if self._server:
                self._server.stop()
            self._server = None

    def _ask(self, body: Json, deadline: float) -> Json:
        if self.connection.url:
            return post(self.connection.url, self.connection.token, body, deadline)
        server = self._local_server()
        if server:
            try:
                return post(server.url, server.token, body, deadline)
            except Unavailable:
                if not server.ends_within(NOTICE_SECS):
                    raise
            # It died, perhaps of somebody's hand: once more with another.
            server = self._local_server()
            if server:
                return post(server.url, server.token, body, deadline)
        return run_once(self._program(), self.connection.model, body, deadline)

    def _local_server(self) -> LocalServer | None:
        """The server of this process, started if need be; None where the program has none."""
        with self._lock:
            if self._server and self._server.running():
                return self._server
            if self._server:
                self._server.stop()
            self._server = None
            if self._cannot_serve:
                return None
            program = self._program()
            try:
                self._server = LocalServer.start(program, self.connection.model)
            except Unavailable as error:
                LOG.warning("%s; each prompt starts the program instead", error)
                self._cannot_serve = True
            return self._server

    def _program(self) -> str:
        program = shutil.which(self.connection.program or "promptist")
        if program is None:
            wanted = self.connection.program or "`promptist` on the PATH"
            raise Unavailable(f"no server's URL is set, and there is no program {wanted} to start one")
        return program


_sharing = threading.Lock()
_shared: Promptist | None = None


def shared(connection: Connection) -> Promptist:
    """The one client of this process; another once the connection is another."""
    global _shared
    with _sharing:
        if _shared is None or _shared.connection != connection:
            if _shared:
                _shared.stop()
            _shared = Promptist(connection)
        return _shared


@atexit.register
def stop_shared() -> None:
    """Ends the server that was started here, if one was."""
    with _sharing:
        if _shared:
            _shared.stop()


class LocalServer:
    """`promptist serve` on a free port of this machine. It ends when `stop` is called or this process ends.

    Its token is drawn here, so that no other program and no web page has a use for it.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, token: str) -> None:
        self.process = process
        self.url = url
        self.token = token

    @classmethod
    def start(cls, program: str, model: str) -> LocalServer:
        """Raises `Unavailable` if it does not say where it listens."""
        if not sys.executable:
            raise Unavailable("this program does not know its Python, which would watch over the server")
        token = secrets.token_urlsafe()
        command = [sys.executable, "-c", WATCHER, program, *SERVE, *(("--model", model) if model else ())]
        # In a group of its own: Ctrl-C is for the host, whose end is the server's.
        windows = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, "PROMPTIST_TOKEN": token},
                creationflags=windows,
                start_new_session=not windows,
            )
        except OSError as error:
            raise Unavailable(f"{program} could not be started: {error}") from error
        said: collections.deque[str] = collections.deque(maxlen=20)
        urls: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=listen, args=(process, said, urls), daemon=True).start()
        try:
            url = urls.get(timeout=START_SECS)
        except queue.Empty:
            url = None
        server = cls(process, url or "", token)
        if url is None:
            server.stop()
            raise Unavailable(f"{program} does not serve: {' '.join(said) or 'it said nothing'}")
        LOG.info("started %s at %s", program, url)
        return server

    def running(self) -> bool:
        return self.process.poll() is None

    def ends_within(self, secs: float) -> bool:
        try:
            self.process.wait(secs)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        if self.process.stdin:
            try:
                self.process.stdin.close()  # which the watcher sees
            except OSError:
                pass
        try:
            self.process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def listen(process: subprocess.Popen[str], said: collections.deque[str], urls: queue.Queue[str | None]) -> None:
    """Puts the first URL that a server names into `urls`, or None at its end; keeps its last lines and reads on,
    for a full pipe would stop it."""
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        LOG.debug("server: %s", line.rstrip())
        url = URL.search(line)
        if url:
            urls.put(url[0])
    urls.put(None)
    process.stdout.close()


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token elsewhere, and turn the question into a GET."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, token: str, body: Json, deadline: float) -> Json:
    """The answer to `POST /v1/adapt`. A server that is busy is asked again when it said, until the deadline."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    handlers: list[urllib.request.BaseHandler] = [NoRedirects()]
    if is_loopback(url):
        # Proxies are set for the world outside; this machine is not there.
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    wait = FIRST_WAIT_SECS
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Unavailable(f"{url} did not answer in time")
        try:
            request = urllib.request.Request(f"{url}/v1/adapt", json.dumps(body).encode(), headers)
            with opener.open(request, timeout=left) as response:
                payload = response.read(MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                status, refusal = error.code, error_of(url, error)
                said = retry_after_secs(error.headers.get("Retry-After"))
            if status not in (429, 503):
                raise refusal from None
            pause = wait if said is None else said
            if time.monotonic() + pause >= deadline:
                raise Busy(f"{url} is busy ({refusal}); it was asked until the time was up") from None
            time.sleep(pause)
            wait *= 2
        except (OSError, ValueError, http.client.HTTPException) as error:  # refused, timed out, not a host
            reason = getattr(error, "reason", None) or error
            raise Unavailable(f"{url} cannot be reached: {reason}") from error
        else:
            return read_answer(url, payload)


def is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def retry_after_secs(value: str | None) -> float | None:
    """What a Retry-After header says, in seconds or as a date; None if nothing that can be read."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def error_of(url: str, error: urllib.error.HTTPError) -> Refused:
    """What the server had to say."""
    status = error.code
    if status == 401:
        return Refused(f"{url} wants a token, and this one is missing or wrong", status)
    try:
        told = json.loads(error.read(MAX_ANSWER_BYTES))["error"]
        return Refused(str(told["message"]), status, told.get("param"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Refused(f"{url} answered {status} {error.reason}", status)


def read_answer(url: str, payload: bytes) -> Json:
    if len(payload) > MAX_ANSWER_BYTES:
        raise PromptistError(f"{url} answered more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = json.loads(payload)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise PromptistError(f"{url} did not answer as Promptist does: is it another program's address?")
    return answer


def answer_texts(answer: Json, expected: int) -> list[str]:
    """The adapted prompts of an answer: exactly as many as there were seeds."""
    try:
        texts = [output["text"] for output in answer["outputs"]]
    except (KeyError, TypeError):
        raise PromptistError("the answer has no adapted prompts in it") from None
    if not all(isinstance(text, str) for text in texts) or len(texts) != expected:
        raise PromptistError(f"the answer has {len(texts)} adapted prompts, not {expected}")
    return texts


def run_once(program: str, model: str, body: Json, deadline: float) -> Json:
    """The answer of `promptist adapt --json`, a process of its own."""
    command = [program, "adapt", "--json", *(("--model", model) if model else ()), *flags(body)]
    left = deadline - time.monotonic()
    try:
        done = subprocess.run(
            [*command, "--", body["user_input"]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=max(left, 0.001),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{program} did not answer in time") from None
    except (OSError, ValueError) as error:  # not there, not a program, a null character in the prompt
        raise Unavailable(f"{program} could not be started: {error}") from error
    lines = done.stdout.splitlines()
    if not lines:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise Refused(said)
    answer = read_answer(program, lines[0])
    if "error" in answer:
        raise Refused(str(answer["error"]))
    return answer


FLAGS = {
    "n": "--num-return-sequences",
    "num_return_sequences": "--num-return-sequences",
    "num_beams": "--num-beams",
    "max_new_tokens": "--max-new-tokens",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "seed": "--seed",
    "keep": "--keep",
    "guidance_scale": "--guidance",
    "ban": "--ban",
    "must_include": "--must-include",
    "protect": "--protect",
    "target": "--target",
    "budget": "--budget",
    "min_distance": "--min-distance",
    "strength": "--strength",
}
SWITCHES = {
    ("no_artists", True): ["--no-artists"],
    ("no_artists", False): [],
    ("do_sample", True): ["--sample"],
    ("filter", True): [],
    ("filter", False): ["--no-filter"],
}


def flags(body: Json) -> list[str]:
    """The command line's words for a request. `--flag=value`, for a value may begin with `-`."""
    words: list[str] = []
    for name, value in body.items():
        if name == "user_input":
            continue
        if name == "seeds":
            words.append("--seeds=" + ",".join(str(seed) for seed in value))
        elif isinstance(value, bool) and (name, value) in SWITCHES:
            words += SWITCHES[name, value]
        elif name in FLAGS and not isinstance(value, bool):
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [f"{FLAGS[name]}={entry}" for entry in values]
        else:
            raise PromptistError(f"`promptist adapt` has no flag for {name}: {value!r}; a server takes it")
    return words
