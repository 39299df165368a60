"""What an image keeps of the prompt that it was made with: the user's own words, what became of them, and how.

A node writes into `extra_pnginfo`, which ComfyUI's savers put into the file. But a node whose inputs did not
change is not run again: ComfyUI takes its output from a cache, and the next image would have no record. So
records are remembered here by what the node and everything before it were asked, which is what ComfyUI's cache
goes by, and are put into each queued prompt before it runs. A node that does run replaces its own.
"""

from __future__ import annotations

import collections
import hashlib
import json
import threading
from typing import Any

Json = dict[str, Any]

KEY = "promptist"
REMEMBERED = 512

_memory: collections.OrderedDict[str, list[Json]] = collections.OrderedDict()
_lock = threading.Lock()


def keep(extra_pnginfo: Json | None, graph: Json | None, unique_id: str | None, record: Json) -> None:
    """Writes `record` of the node `unique_id` into the metadata of this run, and remembers it for runs from the
    cache. A node may run once for each of several texts; each leaves its record."""
    node_id = str(unique_id)
    if isinstance(extra_pnginfo, dict):
        nodes = extra_pnginfo.setdefault(KEY, {})
        nodes[node_id] = replaced(nodes.get(node_id, []), record)
    asked = fingerprint(graph, node_id)
    if asked is None:
        return
    with _lock:
        _memory[asked] = replaced(_memory.pop(asked, []), record)
        while len(_memory) > REMEMBERED:
            _memory.popitem(last=False)


def replaced(records: list[Json], record: Json) -> list[Json]:
    """`records` with this one in the place of what was said before of the same text and seed."""
    same = [record["original"], record["seed"]]
    return [*(other for other in records if [other["original"], other["seed"]] != same), record]


def fingerprint(graph: Json | None, node_id: str) -> str | None:
    """Stands for what a node and all before it are asked; None where the graph does not say, as for nodes that
    other nodes make while they run."""

    digests: dict[str, str] = {}

    def digest(node_id: str, path: tuple[str, ...]) -> str:
        if node_id in path:
            raise ValueError("a loop")
        if node_id not in digests:
            node = (graph or {})[node_id]
            inputs = {}
            for name, value in node["inputs"].items():
                if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
                    value = [digest(value[0], (*path, node_id)), value[1]]
                else:
                    value = canonical(value)
                inputs[name] = value
            text = json.dumps([node["class_type"], inputs], sort_keys=True)
            digests[node_id] = hashlib.sha256(text.encode()).hexdigest()
        return digests[node_id]

    try:
        return f"{node_id} {digest(node_id, ())}"
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError):
        return None


def canonical(value: Any) -> Any:
    """A literal input whichever side of ComfyUI's validation it is on: a browser sends 1 for 1.0, which becomes a
    float there."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def listen(class_types: frozenset[str]) -> None:
    """Has ComfyUI's server show each prompt that it is sent. Outside ComfyUI there is none, and nothing is done."""
    try:
        from server import PromptServer
    except ImportError:
        return
    instance = getattr(PromptServer, "instance", None)
    if hasattr(instance, "add_on_prompt_handler"):
        instance.add_on_prompt_handler(lambda queued: with_records(queued, class_types))


def with_records(queued: Json, class_types: frozenset[str]) -> Json:
    """A prompt as `POST /prompt` has it, with the remembered records of our nodes in its metadata."""
    graph = queued.get("prompt")
    if not isinstance(graph, dict):
        return queued
    ours = [str(id) for id, node in graph.items() if isinstance(node, dict) and node.get("class_type") in class_types]
    if not ours:
        return queued
    extra_data = queued.setdefault("extra_data", {})
    # A client of the API may have sent none: its images keep their original prompt too.
    extra_pnginfo = extra_data.get("extra_pnginfo")
    if extra_pnginfo is None:
        extra_pnginfo = extra_data["extra_pnginfo"] = {}
    with _lock:
        for node_id in ours:
            records = _memory.get(fingerprint(graph, node_id) or "")
            if records:
                extra_pnginfo.setdefault(KEY, {})[node_id] = list(records)
    return queued
