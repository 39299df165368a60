"""The least of PNG: an image of one pixel, with texts, as image programs keep their metadata."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def written(texts: dict[str, str]) -> bytes:
    """iTXt, which holds any character, one for each entry."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header)]
    for name, text in texts.items():
        chunks.append(chunk(b"iTXt", name.encode("latin-1") + b"\0\0\0\0\0" + text.encode()))
    return SIGNATURE + b"".join([*chunks, chunk(b"IDAT", zlib.compress(b"\0\0")), chunk(b"IEND", b"")])


def texts_of(image: bytes) -> dict[str, str]:
    texts, at = {}, len(SIGNATURE)
    while at < len(image):
        (length,) = struct.unpack(">I", image[at : at + 4])
        kind, data = image[at + 4 : at + 8], image[at + 8 : at + 8 + length]
        if kind == b"iTXt":
            name, _, rest = data.partition(b"\0")
            texts[name.decode("latin-1")] = rest[4:].decode()
        at += length + 12
    return texts
