"""Where golden files go, and how those of JSON are written. Needs nothing but Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

GOLDEN_DIR = Path(__file__).resolve().parents[2] / "crates" / "promptist" / "tests" / "golden"


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes `value` with one line for each entry of its lists, so that a diff can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, entry in value.items():
        if isinstance(entry, list):
            body = ",\n".join("  " + json.dumps(item, ensure_ascii=True) for item in entry)
            lines.append(f"{json.dumps(key)}: [\n{body}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(entry, ensure_ascii=True)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path.relative_to(GOLDEN_DIR)}: {path.stat().st_size} bytes", file=sys.stderr)
