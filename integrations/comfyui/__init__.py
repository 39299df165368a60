"""Promptist for ComfyUI: a node that adapts a prompt, and keeps the original in the image's metadata.

ComfyUI imports this folder from `custom_nodes/`. `nodes.py` is the node, `metadata.py` what images keep.
"""

from __future__ import annotations

from . import metadata
from .nodes import PromptistAdapt

NODE_CLASS_MAPPINGS = {"PromptistAdapt": PromptistAdapt}
NODE_DISPLAY_NAME_MAPPINGS = {"PromptistAdapt": "Adapt Prompt (Promptist)"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

metadata.listen(frozenset(NODE_CLASS_MAPPINGS))
