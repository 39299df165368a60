"""A stand-in for ComfyUI, as far as a node can tell: how a pack is loaded, a graph validated, run and cached, lists
mapped over, hidden inputs filled, metadata saved.

What it does is what `nodes.py`, `execution.py`, `comfy_execution/caching.py` and `server.py` of ComfyUI do:

- a pack is a module made from its folder's `__init__.py`, under a name made from its path;
- inputs are checked against INPUT_TYPES (required ones there, numbers in their range, choices among those offered,
  links of the right type) before anything runs;
- a node runs once for each item of its longest input list, shorter ones repeating their last; outputs marked in
  OUTPUT_IS_LIST are joined;
- a node's output is kept by its class, literal inputs, IS_CHANGED and those of all nodes before it, and by its id if
  it asks for UNIQUE_ID; IS_CHANGED is called without the values of links;
- `POST /prompt` shows the queued prompt to the server's handlers first.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

from . import png_metadata

Graph = dict[str, Any]


class Invalid(Exception):
    """What `POST /prompt` answers 400 to."""


class PromptServer:
    """`server.PromptServer`."""

    instance: PromptServer

    def __init__(self) -> None:
        self.on_prompt_handlers: list[Any] = []
        self.shown: list[tuple[str, str]] = []

    def add_on_prompt_handler(self, handler: Any) -> None:
        self.on_prompt_handlers.append(handler)

    def trigger_on_prompt(self, json_data: Graph) -> Graph:
        for handler in self.on_prompt_handlers:
            json_data = handler(json_data)
        return json_data

    def send_progress_text(self, text: str, node_id: str, sid: str | None = None) -> None:
        self.shown.append((node_id, text))


class TextList:
    """Several texts, as wildcard nodes give them."""

    RETURN_TYPES, FUNCTION, OUTPUT_IS_LIST = ("STRING",), "split", (True,)

    @classmethod
    def INPUT_TYPES(cls) -> Graph:
        return {"required": {"text": ("STRING", {})}}

    def split(self, text: str) -> tuple[list[str]]:
        return (text.split("|"),)


class Sampler:
    """Text to image: the whole chain from CLIPTextEncode to VAEDecode."""

    RETURN_TYPES, FUNCTION = ("IMAGE",), "sample"

    @classmethod
    def INPUT_TYPES(cls) -> Graph:
        return {"required": {"text": ("STRING", {}), "noise_seed": ("INT", {"min": 0, "max": 2**64 - 1})}}

    def sample(self, text: str, noise_seed: int) -> tuple[str]:
        return (f"image of {text!r} from {noise_seed}",)


class SaveImage:
    """A PNG with the graph and `extra_pnginfo` in it."""

    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "save", True
    saved: list[tuple[str, bytes]] = []  # noqa: RUF012

    @classmethod
    def INPUT_TYPES(cls) -> Graph:
        hidden = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
        return {"required": {"images": ("IMAGE",)}, "hidden": hidden}

    def save(self, images: str, prompt: Graph | None = None, extra_pnginfo: Graph | None = None) -> Graph:
        texts = {"prompt": json.dumps(prompt)}
        texts.update({name: json.dumps(value) for name, value in (extra_pnginfo or {}).items()})
        self.saved.append((images, png_metadata.written(texts)))
        return {"ui": {"images": [images]}}


class Host:
    """A running ComfyUI with one pack."""

    def __init__(self, pack: Path) -> None:
        PromptServer.instance = PromptServer()
        module = types.ModuleType("server")
        module.PromptServer = PromptServer
        sys.modules["server"] = module
        SaveImage.saved.clear()

        name = str(pack).replace(".", "_x_")
        spec = importlib.util.spec_from_file_location(name, pack / "__init__.py")
        self.pack = importlib.util.module_from_spec(spec)
        sys.modules[name] = self.pack
        spec.loader.exec_module(self.pack)
        self.classes = {cls.__name__: cls for cls in (TextList, Sampler, SaveImage)}
        self.classes.update(self.pack.NODE_CLASS_MAPPINGS)
        self.kept: dict[str, list[list[Any]]] = {}
        self.objects: dict[tuple[str, str], Any] = {}

    @property
    def shown(self) -> list[tuple[str, str]]:
        return PromptServer.instance.shown

    def close(self) -> None:
        for name in list(sys.modules):
            if name == "server" or name.partition(".")[0] == self.pack.__name__:
                del sys.modules[name]

    def queue(self, graph: Graph, extra_data: Graph | None = None) -> Run:
        """`POST /prompt`, and the run that follows. Raises `Invalid`, or what a node raised."""
        json_data: Graph = {"prompt": copy.deepcopy(graph)}
        if extra_data is not None:
            json_data["extra_data"] = copy.deepcopy(extra_data)
        json_data = PromptServer.instance.trigger_on_prompt(json_data)
        graph, extra_data = json_data["prompt"], json_data.get("extra_data", {})
        for node_id in graph:
            self.validate(graph, node_id)
        run = Run(self, graph, extra_data)
        first_saved = len(SaveImage.saved)
        for node_id, node in graph.items():
            if getattr(self.classes[node["class_type"]], "OUTPUT_NODE", False):
                run.outputs(node_id)
        run.saved = SaveImage.saved[first_saved:]
        return run

    def validate(self, graph: Graph, node_id: str) -> None:
        node = graph[node_id]
        types_of = self.classes[node["class_type"]].INPUT_TYPES()
        for name in types_of["required"]:
            if name not in node["inputs"]:
                raise Invalid(f"{node_id}: required input is missing: {name}")
        declared = {**types_of["required"], **types_of.get("optional", {})}
        for name, value in node["inputs"].items():
            if name not in declared:
                continue  # ComfyUI does not pass it on
            kind, options = declared[name][0], (declared[name][1:] or ({},))[0]
            if isinstance(value, list):
                given = self.classes[graph[value[0]]["class_type"]].RETURN_TYPES[value[1]]
                if given != kind:
                    raise Invalid(f"{node_id}: {name}: return type mismatch: {given} != {kind}")
                continue
            if isinstance(kind, list):
                if value not in kind:
                    raise Invalid(f"{node_id}: {name}: {value!r} is not in {kind}")
                continue
            value = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}[kind](value)
            node["inputs"][name] = value
            if not options.get("min", value) <= value <= options.get("max", value):
                raise Invalid(f"{node_id}: {name}: {value} is out of range")


class Run:
    """One queued prompt being executed."""

    def __init__(self, host: Host, graph: Graph, extra_data: Graph) -> None:
        self.host = host
        self.graph = graph
        self.extra_data = extra_data
        self.executed: list[str] = []
        self.results: dict[str, list[list[Any]]] = {}
        self.changed: dict[str, Any] = {}
        self.saved: list[tuple[str, bytes]] = []

    def outputs(self, node_id: str) -> list[list[Any]]:
        """A list of items for each output of a node."""
        if node_id in self.results:
            return self.results[node_id]
        signature = json.dumps(self.signature(node_id))
        if signature not in self.host.kept:
            self.host.kept[signature] = self.execute(node_id)
        self.results[node_id] = self.host.kept[signature]
        return self.results[node_id]

    def execute(self, node_id: str) -> list[list[Any]]:
        node = self.graph[node_id]
        cls = self.host.classes[node["class_type"]]
        inputs = self.inputs(node_id, cls, follow=True)
        key = (node_id, node["class_type"])
        instance = self.host.objects.setdefault(key, cls())
        self.executed.append(node_id)
        results = mapped(instance, inputs, cls.FUNCTION)
        results = [result.get("result", ()) if isinstance(result, dict) else result for result in results]
        is_list = getattr(cls, "OUTPUT_IS_LIST", (False,) * len(cls.RETURN_TYPES))
        return [
            [item for result in results for item in result[i]] if is_list[i] else [result[i] for result in results]
            for i in range(len(cls.RETURN_TYPES))
        ]

    def inputs(self, node_id: str, cls: Any, follow: bool) -> dict[str, list[Any]]:
        types_of = cls.INPUT_TYPES()
        declared = {**types_of["required"], **types_of.get("optional", {})}
        inputs: dict[str, list[Any]] = {}
        for name, value in self.graph[node_id]["inputs"].items():
            if isinstance(value, list):
                inputs[name] = self.outputs(value[0])[value[1]] if follow else [None]
            elif name in declared:
                inputs[name] = [value]
        hidden = {
            "UNIQUE_ID": node_id,
            "PROMPT": self.graph if follow else {},
            "EXTRA_PNGINFO": self.extra_data.get("extra_pnginfo") if follow else None,
        }
        for name, kind in types_of.get("hidden", {}).items():
            inputs[name] = [hidden[kind]]
        return inputs

    def signature(self, node_id: str) -> list[Any]:
        node = self.graph[node_id]
        cls = self.host.classes[node["class_type"]]
        if node_id not in self.changed:
            inputs = self.inputs(node_id, cls, follow=False)
            self.changed[node_id] = mapped(cls, inputs, "IS_CHANGED") if hasattr(cls, "IS_CHANGED") else False
        asks_for_id = "UNIQUE_ID" in cls.INPUT_TYPES().get("hidden", {}).values()
        described = [node["class_type"], self.changed[node_id], node_id if asks_for_id else None]
        for name, value in sorted(node["inputs"].items()):
            described.append([name, [*self.signature(value[0]), value[1]] if isinstance(value, list) else value])
        return described


def mapped(target: Any, inputs: dict[str, list[Any]], function: str) -> list[Any]:
    """`_map_node_over_list`."""
    if getattr(target, "INPUT_IS_LIST", False):
        return [getattr(target, function)(**inputs)]
    longest = max((len(items) for items in inputs.values()), default=0)
    return [
        getattr(target, function)(**{name: items[min(i, len(items) - 1)] for name, items in inputs.items()})
        for i in range(longest)
    ]
