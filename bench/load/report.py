"""The Markdown of a run."""

from __future__ import annotations

import statistics
from typing import Any

Numbers = dict[str, Any]


def markdown(results: Numbers) -> str:
    about = results["machine"]
    lines = [
        f"{about['cpu']}, {about['cores']} cores ({', '.join(about['flags'])}), {about['system']}. "
        f"{results['started']}, load before {results['load_before']:.2f}; "
        f"servers and generator on cores {results['cores']}.",
        ", ".join(f"{package} {number}" for package, number in results["versions"].items()) + ".",
        "",
        "`" + " ".join(results["command"]) + "`",
        "",
        *(f"- {name}: `{command}`" for name, command in results["commands"].items()),
        f"- {results['model']}; {results['distinct_requests']} requests, `{results['request']}`",
        "",
    ]
    if results["closed"]:
        lines += [*closed(results["closed"]), "", *ratios(results["closed"])]
    if results["open"]:
        lines += [*opened(results["open"]), ""]
    if "soak" in results:
        lines += [*soaked(results["soak"]), ""]
    return "\n".join([*lines, *notes(results), ""])


def closed(rows: list[Numbers]) -> list[str]:
    lines = [
        "Closed loop: each client sends when it has its answer. Medians of the rounds, throughput least-most",
        "",
    ]
    lines += table_head("clients", "server", "answers/s", "p50", "p95", "p99", "refused", "its cores")
    for row in rows:
        rounds = row["rounds"]
        speeds = [numbers["per_second"] for numbers in rounds]
        lines.append(
            cells(
                row["clients"],
                row["server"],
                f"{statistics.median(speeds):.2f} ({min(speeds):.2f}-{max(speeds):.2f})",
                *(milliseconds(median(rounds, name)) for name in ("p50", "p95", "p99")),
                sum(numbers["statuses"].get("429", 0) for numbers in rounds),
                f"{statistics.median(numbers['cpu_share'] for numbers in rounds):.2f}",
            )
        )
    return lines


def ratios(rows: list[Numbers]) -> list[str]:
    """How many times the first server's throughput is the others'."""
    names = list(dict.fromkeys(row["server"] for row in rows))
    if len(names) < 2:
        return []
    lines = table_head("clients", *(f"{names[0]} / {name}" for name in names[1:]))
    for clients in dict.fromkeys(row["clients"] for row in rows):
        speeds = {
            row["server"]: median(row["rounds"], "per_second") for row in rows if row["clients"] == clients
        }
        lines.append(cells(clients, *(f"{speeds[names[0]] / (speeds[name] or 1):.2f}" for name in names[1:])))
    return ["How many times the answers a second", "", *lines, ""]


def opened(rows: list[Numbers]) -> list[str]:
    lines = [
        "Open loop: requests come at random times; load 1 is the server's throughput at 32 clients. Latency "
        "of what was accepted, from when it should have been sent",
        "",
    ]
    lines += table_head(
        "load",
        "server",
        "requests/s",
        "answers/s",
        "p50",
        "p95",
        "p99",
        "longest",
        "refused",
        "p99 of a refusal",
    )
    for row in rows:
        refused = row["statuses"].get("429", 0)
        lines.append(
            cells(
                row["load"],
                row["server"],
                f"{row['rate']:.2f}",
                f"{row['per_second']:.2f}",
                *(milliseconds(row[name]) for name in ("p50", "p95", "p99", "longest")),
                f"{refused / max(1, row['sent']):.1%}",
                milliseconds(row["refused_p99"]),
            )
        )
    return lines


def soaked(row: Numbers) -> list[str]:
    memory = row["memory"]
    minutes = memory[-1][0] / 60
    # A sample for every fifteenth of the time.
    shown = [memory[round(i * (len(memory) - 1) / 15)] for i in range(16)]
    lines = [
        f"Soak: {minutes:.1f} minutes of an open loop at {row['load']:.0%}, {row['rate']:.2f} requests/s: "
        f"{row['per_second']:.2f} answers/s, p50 {milliseconds(row['p50'])}, p99 {milliseconds(row['p99'])}, "
        f"statuses {row['statuses']}. "
        f"Memory grows by {row['growth_bytes_per_minute'] / 1024:.1f} KiB a minute",
        "",
    ]
    lines += table_head("minute", *(f"{at / 60:.1f}" for at, _ in shown))
    lines.append(cells("MB resident", *(f"{used / 1e6:.1f}" for _, used in shown)))
    return lines


def notes(results: Numbers) -> list[str]:
    rounds = [numbers for row in results["closed"] for numbers in row["rounds"]] + results["open"]
    rounds += [results["soak"]] if "soak" in results else []
    same = results["same_answers"]
    verdict = f"{same['compared']} compared, {len(same['differing'])} differ"
    others = {
        status: sum(numbers["statuses"].get(status, 0) for numbers in rounds)
        for status in sorted(
            {status for numbers in rounds for status in numbers["statuses"]} - {"200", "429"}
        )
    }
    names = results["idle_bytes"]
    return [
        f"- Same answers as `promptist adapt`: {verdict}; requests whose answers differed among themselves: "
        f"{sum(numbers['differing_answers'] for numbers in rounds)}",
        f"- Answers with another status than 200 and 429 (0 is none at all): {others or 'none'}",
        "- Requests that the generator sent over 50 ms late: "
        f"{sum(numbers['sent_late'] for numbers in rounds)} of {sum(numbers['sent'] for numbers in rounds)}",
        "- Memory resident, MB: "
        + "; ".join(
            f"{name} {names[name] / 1e6:.1f} before the first request, "
            f"{results['warm_bytes'][name] / 1e6:.1f} warm, "
            f"{peak(results, name) / 1e6:.1f} at most"
            for name in names
        ),
    ]


def peak(results: Numbers, name: str) -> int:
    numbers = [numbers for row in results["closed"] if row["server"] == name for numbers in row["rounds"]]
    numbers += [row for row in results["open"] if row["server"] == name]
    numbers += [results["soak"]] if results.get("soak", {}).get("server") == name else []
    return max((one["peak_bytes"] for one in numbers), default=results["warm_bytes"][name])


def median(rounds: list[Numbers], name: str) -> float | None:
    found = [numbers[name] for numbers in rounds if numbers[name] is not None]
    return statistics.median(found) if found else None


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.0f} ms"


def table_head(*names: object) -> list[str]:
    return [cells(*names), cells(*("---" for _ in names))]


def cells(*values: object) -> str:
    return "| " + " | ".join(str(value) for value in values) + " |"
