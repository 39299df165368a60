"""What every comparison here does: tools as processes pinned to the same cores, timed in turns.

A worker is a process that answers each line of stdin with a line of JSON; its first line says that it is ready.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, TypeVar


class Worker:
    """A tool's process on `cores`, with as many threads."""

    def __init__(self, tool: str, command: Sequence[object], cores: Sequence[str], verbose: bool) -> None:
        threads = str(len(cores))
        self.tool = tool
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(cores), *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads},
        )
        self.read()

    def ask(self, **request: object) -> dict[str, Any]:
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.read()

    def read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self.tool} ended; --verbose shows what it said")
        return json.loads(line)

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()


W = TypeVar("W", bound=Worker)


def turns(workers: list[W], round_idx: int) -> Iterator[W]:
    """Every worker once; who is first moves on by one each round. Negative rounds warm up."""
    first = max(round_idx, 0) % max(1, len(workers))
    for worker in workers[first:] + workers[:first]:
        # OpenMP threads spin for a while after their work; not into the next one's.
        time.sleep(0.5)
        yield worker


def about_run(script: str, packages: Sequence[str]) -> dict[str, Any]:
    """The machine, the versions and the command of a run."""
    return {
        "machine": machine(),
        "versions": {package: version(package) for package in packages},
        "command": ["python", f"bench/peers/{script}", *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "load_before": os.getloadavg()[0],
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    return {
        "cpu": f"{fields.get('model name')}, family {fields.get('cpu family')}, model {fields.get('model')}",
        "cores": os.cpu_count(),
        "flags": [flag for flag in wanted if flag in fields.get("flags", "").split()],
        "system": f"{platform.system()} {platform.release()}",
    }


def heading(results: dict[str, Any], devices: str = "") -> list[str]:
    """The first lines of a table: `about_run` in words."""
    about = results["machine"]
    return [
        f"{about['cpu']}, {about['cores']} cores ({', '.join(about['flags'])}), {about['system']}. "
        f"{results['started']}, load before {results['load_before']:.2f}.{devices}",
        ", ".join(f"{package} {number}" for package, number in results["versions"].items()) + ".",
        "",
        "`" + " ".join(results["command"]) + "`",
        "",
    ]


def own_stdout() -> TextIO:
    """A worker's answers have stdout to themselves, whatever a library prints."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return own


def peak_bytes() -> int:
    """The most memory that this process ever had, as Linux counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
