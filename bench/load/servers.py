"""The servers that are measured: started on given cores, watched, stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

START_SECS = 120.0
# Longer than a server may take to finish what it has accepted.
STOP_SECS = 150.0
SAMPLE_SECS = 0.5
URL = re.compile(r"http://([^\s/]+)\s")


@dataclass(frozen=True)
class Kind:
    """What is started, and what its answers are compared by."""

    name: str
    command: tuple[str, ...]
    """`{port}` in it is a free port; without it, the server says where it listens."""
    between: tuple[str, str] | None
    """What of an answer is the same whenever the request is."""

    def title(self) -> str:
        """The command, without this machine's folders."""
        return " ".join(Path(word).name if "/" in word else word for word in self.command)


def promptist(program: Path, model: str, precision: str, threads: int, more: list[str]) -> Kind:
    command = [str(program), "serve", "--port", "0", "--model", model]
    command += ["--precision", precision, "--threads", str(threads), *more]
    return Kind(f"promptist {precision}", tuple(command), ('"outputs":', ',"model":'))


def ctranslate2(
    python: str, folder: Path, precision: str, workers: int, threads: int, max_batch: int
) -> Kind:
    weights, compute = {"int8": ("int8", "int8_float32"), "f32": ("float32", "float32")}[precision]
    command = [
        python,
        str(Path(__file__).parent / "ctranslate2_server.py"),
        str(folder / f"ctranslate2-{weights}"),
    ]
    command += [
        "--tokenizer",
        str(folder / "hf" / "tokenizer.json"),
        "--compute-type",
        compute,
        "--port",
        "{port}",
    ]
    command += ["--workers", str(workers), "--threads", str(threads), "--max-batch", str(max_batch)]
    return Kind(f"ctranslate2 {precision}", tuple(command), None)


class Server:
    """A running server. Its standard error goes to `log`."""

    def __init__(self, kind: Kind, cores: str, log: Path) -> None:
        self.kind = kind
        self.log = log
        port = free_port()
        command = [word.replace("{port}", str(port)) for word in kind.command]
        environment = {**os.environ, "PROMPTIST_TOKEN": "", "OMP_NUM_THREADS": str(len(cores.split(",")))}
        with log.open("w") as file:
            # `taskset` becomes the server: one process, whose memory and time these are.
            self.process = subprocess.Popen(
                ["taskset", "-c", cores, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        try:
            self.address = f"127.0.0.1:{port}" if "{port}" in kind.command else self.said_address()
            self.wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.memory = Memory(self.process.pid)

    def said_address(self) -> str:
        for _ in self.tries():
            url = URL.search(self.log.read_text(errors="replace"))
            if url:
                return url[1]
        raise TimeoutError(f"{self.kind.name} did not say where it listens; {self.log} has what it said")

    def wait_until_ready(self) -> None:
        for _ in self.tries():
            try:
                with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                continue
        raise TimeoutError(f"{self.kind.name} is not ready; {self.log} has what it said")

    def tries(self) -> object:
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ChildProcessError(
                    f"{self.kind.name} ended with {self.process.returncode}; see {self.log}"
                )
            yield
            time.sleep(0.05)

    def cpu_secs(self) -> float:
        """What it has computed so far, all threads together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """Asks it to finish. Its exit code, or the signal that was needed, negative."""
        self.memory.stop()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.stop()
        # uvicorn ends itself by the signal that it got.
        if code not in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
            print(f"{self.kind.name} ended with {code}; see {self.log}", file=sys.stderr)


class Memory:
    """The resident memory of a process, twice a second."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.began = time.monotonic()
        self.samples: list[tuple[float, int]] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        while not self.over.wait(SAMPLE_SECS):
            bytes_now = self.now()
            if bytes_now is not None:
                self.samples.append((time.monotonic() - self.began, bytes_now))

    def now(self) -> int | None:
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)

    def stop(self) -> None:
        self.over.set()
        self.thread.join()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
