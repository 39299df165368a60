"""Where golden files go and how they are written.

Every golden file names the script that wrote it, the versions, the seed and the dtype. JSON files
carry them under the key `metadata`, safetensors files in their header.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save

from golden_json import GOLDEN_DIR as GOLDEN_DIR
from golden_json import write_json as write_json


def metadata(seed: int, dtype: str, **more: str) -> dict[str, str]:
    """What a golden file says about itself; every value is a string, as safetensors asks."""
    return {
        "script": f"tools/reference/{Path(sys.argv[0]).name}",
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "seed": str(seed),
        "dtype": dtype,
        **more,
    }


def use_one_thread() -> None:
    """One thread, so that sums have one order and a second run writes the same bytes."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    """Writes a safetensors file whose bytes depend on nothing but the arguments.

    The library writes the metadata in the order of a hash map, so the header is written again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=about)
    size = int.from_bytes(written[:8], "little")
    header = json.loads(written[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = {"__metadata__": header.pop("__metadata__"), **header}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + written[8 + size :])


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    """Writes a golden safetensors file and says how large it is."""
    save_tensors(path, tensors, about)
    print(f"{path.name}: {path.stat().st_size} bytes", file=sys.stderr)
