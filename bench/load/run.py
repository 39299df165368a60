"""Load on `promptist serve`, and on CTranslate2 behind HTTP: throughput, latency, refusals, memory, answers.

    python bench/load/run.py --out MINI.json                        mini
    python bench/load/run.py --out LARGE.json --checkpoint DIR      GPT-2 124M, both servers in turns
    python bench/load/run.py --out SOAK.json --clients 32 --loads --soak-minutes 15

README.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from report import markdown
from servers import Kind, Server, ctranslate2, promptist
from workload import Workload

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))
from alternation import machine, turns  # noqa: E402

REFERENCE_CLIENTS = 32
SOAK_LOAD = 0.8
WARM_UP_CLIENTS = 8
# A generator that sends later than this is itself short of time, and its numbers are not the server's.
LATE_SECS = 0.05
# Of a closed loop's time: until all clients have asked and the first batches are through.
RAMP = 0.2
# CTranslate2's batches of more rows are not tried: bench/peers found them several times slower.
LARGEST_BATCH_ROWS = 64

Numbers = dict[str, Any]


def main() -> None:
    arguments = parse()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.checkpoint:
        names = ("num_beams", "max_new_tokens", "length_penalty")
        settings = {name: getattr(arguments, name) for name in names}
        workload = Workload.checkpoint(arguments.checkpoint, arguments.precision, settings)
    else:
        workload = Workload.mini(arguments.precision)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, workload, Path(folder))
        results: Numbers = {
            "machine": machine(),
            "versions": versions(arguments),
            "command": ["python", "bench/load/run.py", *sys.argv[1:]],
            "started": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
            "load_before": os.getloadavg()[0],
            "cores": arguments.cores,
            "model": workload.name,
            "request": {name: value for name, value in workload.bodies[0].items() if name != "user_input"},
            "distinct_requests": len(workload.bodies),
        }
        results.update(bench.measure(bench.kinds()))
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(markdown(results))
    print(arguments.out.with_suffix(".md").read_text())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a .json; the .md stands beside it")
    parser.add_argument("--program", type=Path, default=Path("target/release/promptist"))
    parser.add_argument(
        "--checkpoint", type=Path, help="GPT-2 124M instead of mini, and CTranslate2 beside it"
    )
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has requirements.txt")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--precision", choices=("int8", "f32"), default="int8")
    parser.add_argument("--num-beams", type=int, default=8, help="with --checkpoint; 1 is greedy")
    parser.add_argument("--max-new-tokens", type=int, default=75, help="with --checkpoint")
    parser.add_argument("--length-penalty", type=float, default=-1.0, help="with --checkpoint")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--loads", type=float, nargs="*", default=[0.5, 0.8, 1.2, 2.0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak-minutes", type=float, default=0.0)
    parser.add_argument(
        "--serve", default="", metavar="WORDS", help="more for promptist: --serve='--flag 64'"
    )
    parser.add_argument("--max-in-flight", type=int, default=1024, help="connections of the open loop")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds until a request counts as lost")
    parser.add_argument("--cores", default="0,1")
    parser.add_argument("--generator", type=Path, default=HERE / "generator/target/release/promptist-load")
    return parser.parse_args()


class Bench:
    """Measurements of one run."""

    def __init__(self, arguments: argparse.Namespace, workload: Workload, folder: Path) -> None:
        self.arguments = arguments
        self.workload = workload
        self.requests = folder / "requests.jsonl"
        self.requests.write_text("".join(json.dumps(body) + "\n" for body in workload.bodies))
        self.bodies = folder / "bodies.tsv"
        self.generator = arguments.generator
        if not self.generator.exists():
            manifest = str(HERE / "generator" / "Cargo.toml")
            subprocess.run(
                ["cargo", "build", "--release", "--locked", "--manifest-path", manifest], check=True
            )

    def kinds(self) -> list[Kind]:
        """The servers, ours first."""
        given = self.arguments
        threads = len(given.cores.split(","))
        ours = promptist(
            given.program, self.workload.model, given.precision, threads, shlex.split(given.serve)
        )
        if given.checkpoint is None or given.no_peer:
            return [ours]
        # All cores on a batch or a batch a core, of two sizes.
        most = max(1, LARGEST_BATCH_ROWS // given.num_beams)
        peers = [
            ctranslate2(
                given.peer_python, given.checkpoint, given.precision, workers, threads // workers, size
            )
            for workers in sorted({1, threads})
            for size in sorted({most, max(1, most // 2)})
        ]
        return [ours, self.quickest(peers)]

    def quickest(self, kinds: list[Kind]) -> Kind:
        """The variant with the highest throughput at 32 clients."""
        found = []
        for kind in kinds:
            with self.start(kind) as server:
                self.load(server, "--clients", REFERENCE_CLIENTS, self.arguments.seconds / 2)
                numbers = self.load(server, "--clients", REFERENCE_CLIENTS, self.arguments.seconds)
            say(kind.title(), numbers)
            found.append((numbers["per_second"], kind))
        return max(found, key=lambda one: one[0])[1]

    def measure(self, kinds: list[Kind]) -> Numbers:
        results: Numbers = {"commands": {kind.name: kind.title() for kind in kinds}}
        servers = []
        try:
            for kind in kinds:
                servers.append(self.start(kind))
            results["idle_bytes"] = {server.kind.name: server.memory.now() for server in servers}
            for server in servers:
                self.load(server, "--clients", WARM_UP_CLIENTS, min(self.arguments.seconds, 10))
            results["warm_bytes"] = {server.kind.name: server.memory.now() for server in servers}
            results["closed"] = self.closed_loops(servers)
            results["open"] = self.open_loops(servers, results["closed"])
            if self.arguments.soak_minutes:
                results["soak"] = self.soak(servers[0], results["closed"])
            results["same_answers"] = self.same_answers(servers[0])
        finally:
            results["exit_codes"] = {server.kind.name: server.stop() for server in servers}
        return results

    def start(self, kind: Kind) -> Server:
        log = self.arguments.out.with_suffix(f".{kind.name.split()[0]}.log")
        return Server(kind, self.arguments.cores, log)

    def closed_loops(self, servers: list[Server]) -> list[Numbers]:
        rows = []
        for clients in self.arguments.clients:
            rounds: dict[str, list[Numbers]] = {server.kind.name: [] for server in servers}
            for round_idx in range(self.arguments.rounds):
                for server in turns(servers, round_idx):
                    numbers = self.load(server, "--clients", clients, self.arguments.seconds)
                    rounds[server.kind.name].append(numbers)
                    say(f"{server.kind.name}, {clients} clients", numbers)
            rows += [{"server": name, "clients": clients, "rounds": found} for name, found in rounds.items()]
        return rows

    def open_loops(self, servers: list[Server], closed: list[Numbers]) -> list[Numbers]:
        rows = []
        for share in self.arguments.loads:
            for server in servers:
                rate = share * capacity(server.kind.name, closed)
                numbers = self.load(server, "--rate", rate, self.arguments.seconds)
                rows.append({"server": server.kind.name, "load": share, "rate": rate, **numbers})
                say(f"{server.kind.name}, {rate:.2f} requests/s", numbers)
        return rows

    def soak(self, server: Server, closed: list[Numbers]) -> Numbers:
        rate = SOAK_LOAD * capacity(server.kind.name, closed)
        began = time.monotonic() - server.memory.began
        numbers = self.load(server, "--rate", rate, 60 * self.arguments.soak_minutes)
        memory = [(at - began, used) for at, used in server.memory.samples if at >= began]
        # What it needs at this load it has after a fifth of the time; what comes after that is growth.
        settled = [sample for sample in memory if sample[0] >= memory[-1][0] / 5]
        numbers["memory"] = memory
        numbers["growth_bytes_per_minute"] = 60 * slope(settled)
        say(f"{server.kind.name}, soak", numbers)
        return {"server": server.kind.name, "load": SOAK_LOAD, "rate": rate, **numbers}

    def same_answers(self, server: Server) -> Numbers:
        """Answers under load beside those of the command line."""
        served: dict[int, Numbers] = {}
        seconds = 5.0
        while len(served) < len(self.workload.bodies):
            self.load(server, "--clients", REFERENCE_CLIENTS, seconds)
            lines = [line.split("\t") for line in self.bodies.read_text().splitlines()]
            served = {int(request): json.loads(body) for request, status, body in lines if status == "200"}
            seconds *= 2
        expected = self.workload.expected(self.arguments.program)
        differing = [i for i, answer in served.items() if answer["outputs"] != expected[i]["outputs"]]
        return {"compared": len(served), "differing": sorted(differing), "settings": served[0]["settings"]}

    def load(self, server: Server, how: str, amount: float, seconds: float) -> Numbers:
        """One run of the generator."""
        given = self.arguments
        command = [
            "taskset",
            "-c",
            given.cores,
            str(self.generator),
            "--addr",
            server.address,
            how,
            str(amount),
        ]
        command += ["--requests", str(self.requests), "--bodies", str(self.bodies), "--seconds", str(seconds)]
        command += ["--timeout", str(given.timeout), "--max-in-flight", str(given.max_in_flight)]
        if server.kind.between:
            command += ["--between", *server.kind.between]
        cpu, clock, sampled = server.cpu_secs(), time.monotonic(), len(server.memory.samples)
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        numbers = measured(lines, seconds, closed=how == "--clients")
        numbers["cpu_share"] = (server.cpu_secs() - cpu) / (time.monotonic() - clock)
        used = [used for _, used in server.memory.samples[sampled:]]
        numbers["peak_bytes"] = max(used, default=server.memory.now())
        return numbers


def measured(lines: str, seconds: float, closed: bool) -> Numbers:
    """Numbers of one run from the generator's lines."""
    rows = [line.split("\t") for line in lines.splitlines()]
    statuses: dict[str, int] = {}
    hashes: dict[str, set[str]] = {}
    # When each should have been sent, and when it was answered.
    times: dict[str, list[tuple[float, float]]] = {}
    for request, scheduled, _, done, status, answer, _ in rows:
        statuses[status] = statuses.get(status, 0) + 1
        times.setdefault(status, []).append((int(scheduled) / 1e6, int(done) / 1e6))
        if status == "200":
            hashes.setdefault(request, set()).add(answer)
    accepted = times.get("200", [])
    if closed:
        # Answers within the time, without the ramp at its beginning.
        begin, end = RAMP * seconds, seconds
        accepted = [(scheduled, done) for scheduled, done in accepted if begin < done <= end]
    else:
        # All that was asked, however long the last of it took.
        begin, end = 0.0, max([seconds, *(done for _, done in accepted)])
    latencies = sorted(done - scheduled for scheduled, done in accepted)
    refusals = sorted(done - scheduled for scheduled, done in times.get("429", []))
    return {
        "sent": len(rows),
        "statuses": statuses,
        "per_second": len(accepted) / (end - begin),
        **{f"p{percent}": percentile(latencies, percent) for percent in (50, 95, 99)},
        "longest": percentile(latencies, 100),
        "refused_p99": percentile(refusals, 99),
        "sent_late": sum(int(row[2]) - int(row[1]) > 1e6 * LATE_SECS for row in rows),
        "differing_answers": sum(len(answers) > 1 for answers in hashes.values()),
    }


def percentile(ordered: list[float], percent: float) -> float | None:
    """The smallest value that so many percent do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def slope(samples: list[tuple[float, int]]) -> float:
    """Bytes a second, by least squares."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope if len(samples) > 1 else 0.0


def capacity(server: str, closed: list[Numbers]) -> float:
    """Throughput at 32 clients, or at the number that is nearest to it."""
    rows = [row for row in closed if row["server"] == server]
    row = min(rows, key=lambda row: abs(row["clients"] - REFERENCE_CLIENTS))
    return statistics.median(numbers["per_second"] for numbers in row["rounds"])


def versions(arguments: argparse.Namespace) -> dict[str, str]:
    said = subprocess.run(
        [str(arguments.program), "--version"], check=True, stdout=subprocess.PIPE, text=True
    )
    name, number = said.stdout.split()
    found = {name: number, "python": sys.version.split()[0]}
    for package in ("ctranslate2", "uvicorn", "starlette") if arguments.checkpoint else ():
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # it is another Python's
            continue
    return found


def say(what: str, numbers: Numbers) -> None:
    times = [f"{1e3 * numbers[name]:.0f}" if numbers[name] else "-" for name in ("p50", "p95", "p99")]
    speed = f"{numbers['per_second']:.2f}/s, p50/p95/p99 {'/'.join(times)} ms, {numbers['statuses']}"
    print(f"{what}: {speed}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
