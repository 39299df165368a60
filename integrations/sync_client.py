#!/usr/bin/env python3
"""Copies the client into both integrations: each is installed as a folder by itself.

    python integrations/sync_client.py            write the copies
    python integrations/sync_client.py --check    exit 1 if one differs

`tests/test_copies.py` is the check that CI runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "client" / "promptist_client.py"
COPIES = [HERE / folder / SOURCE.name for folder in ("comfyui", "a1111")]


def copy_text() -> str:
    """The client under a first line that says where it comes from."""
    note = f"# A copy of integrations/client/{SOURCE.name}, made by sync_client.py: change that one.\n"
    return note + SOURCE.read_text(encoding="utf-8")


def differing() -> list[Path]:
    text = copy_text()
    return [path for path in COPIES if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    stale = differing()
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(HERE)} is not a copy of client/{SOURCE.name}: run sync_client.py")
        return 1 if stale else 0
    for path in stale:
        path.write_bytes(copy_text().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
