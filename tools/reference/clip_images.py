"""Twenty pictures of odd sizes, modes and proportions and four JPEGs, and what CLIP's image processor and a tiny
model make of them: `clip/images/`, `clip/crops/`, `clip/images.safetensors`.

The crops are the processor's picture after resizing and cropping, as bytes. `images.safetensors` holds the
pixel value of each byte, and the features of the model `quick_gelu` of `clip_tiny.py`, which runs first.
"""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel

from golden import GOLDEN_DIR, metadata, use_one_thread, write_tensors

SEED = 43
FOLDER = GOLDEN_DIR / "clip"


def pattern(width: int, height: int, kind: str, seed: int) -> np.ndarray:
    """`[H, W, 3]` bytes: waves, hard edges, or noise."""
    y, x = np.mgrid[0:height, 0:width]
    if kind == "waves":
        waves = [np.sin(x / (5 + 7 * c + seed)) + np.cos(y / (9 + 4 * c)) for c in range(3)]
        return np.stack([127.5 + 63.7 * wave for wave in waves], axis=-1).astype(np.uint8)
    if kind == "edges":
        cells = (x // (3 + seed) + y // 7) % 2
        diagonal = (x + 2 * y) % 53 < 20
        disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 3) ** 2
        return np.stack([cells * 255, diagonal * 200, np.where(disc, 255, 31)], axis=-1).astype(np.uint8)
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(picture: Image.Image, **options: object) -> bytes:
    """The bytes of a PNG file."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True, **options)
    return out.getvalue()


def jpeg(picture: Image.Image, **options: object) -> bytes:
    """The bytes of a JPEG file."""
    out = io.BytesIO()
    picture.save(out, "JPEG", **options)
    return out.getvalue()


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads and cannot write: `[H, W, C]`, two to four channels."""
    height, width, channels = pixels.shape
    colour_type = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    """The same with a ramp of transparency."""
    height, width, _ = pixels.shape
    alpha = np.broadcast_to(np.linspace(0, 255, width), (height, width)).astype(np.uint8)
    return np.dstack([pixels, alpha])


def pictures() -> dict[str, bytes]:
    """Files by name."""
    rgb = lambda *arguments: Image.fromarray(pattern(*arguments))  # noqa: E731
    palette = rgb(190, 251, "edges", 2).quantize(31)
    wide16 = pattern(97, 61, "waves", 1).astype(np.uint16) * 257 - 100
    grey16 = (pattern(70, 90, "waves", 3)[..., 0].astype(np.uint16) * 2) + 20
    webp = io.BytesIO()
    rgb(301, 199, "edges", 4).save(webp, "WEBP", lossless=True)
    cmyk = rgb(160, 120, "waves", 6).convert("CMYK")
    return {
        "rgb_square.png": png(rgb(224, 224, "edges", 0)),
        "rgb_one_less.png": png(rgb(223, 225, "waves", 0)),
        "rgb_larger.png": png(rgb(640, 427, "edges", 6)),
        "rgb_tall.png": png(rgb(31, 500, "edges", 1)),
        "rgb_wide.png": png(rgb(997, 13, "waves", 4)),
        "rgb_noise.png": png(rgb(101, 67, "noise", 5)),
        "rgb_pixel.png": png(rgb(1, 1, "noise", 6)),
        "rgb_column.png": png(rgb(1, 300, "waves", 2)),
        "rgb_tiny.png": png(rgb(3, 2, "noise", 8)),
        "rgba.png": png(Image.fromarray(with_alpha(pattern(333, 257, "edges", 5)))),
        "la.png": png(Image.fromarray(with_alpha(pattern(120, 300, "edges", 3))).convert("LA")),
        "l.png": png(rgb(411, 229, "edges", 2).convert("L")),
        "p.png": png(palette),
        "p_transparent.png": png(palette.resize((77, 260)), transparency=bytes(range(0, 248, 8))),
        "bilevel.png": png(rgb(230, 450, "edges", 9).convert("1")),
        "i16.png": png(Image.fromarray(grey16)),
        "rgb16.png": png_of_16_bits(wide16),
        "lossless.webp": webp.getvalue(),
        "la16.png": png_of_16_bits(np.dstack([wide16[..., 0], wide16[..., 1]])),
        "rgba16.png": png_of_16_bits(np.dstack([wide16, wide16[..., 1]])),
        # Decoders round, convert and blow colour up differently: held to a wider tolerance.
        "grey.jpg": jpeg(rgb(150, 240, "waves", 5).convert("L"), quality=85),
        "rgb444.jpg": jpeg(rgb(333, 250, "waves", 8), quality=90, subsampling=0),
        "rgb420.jpg": jpeg(rgb(240, 321, "waves", 7), quality=85, subsampling=2),
        "cmyk.jpg": jpeg(cmyk, quality=90),
    }


def crop(processor: CLIPImageProcessorPil, picture: Image.Image) -> np.ndarray:
    """`[224, 224, 3]` bytes: the processor without its last two steps."""
    found = processor(picture, do_rescale=False, do_normalize=False)["pixel_values"][0]
    return np.moveaxis(np.asarray(found), 0, -1).astype(np.uint8)


@torch.no_grad()
def main() -> None:
    use_one_thread()
    for name in ("images", "crops"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        (FOLDER / name).mkdir(parents=True)
    processor = CLIPImageProcessorPil()
    clip = CLIPModel.from_pretrained(FOLDER / "quick_gelu").eval()
    names, features = [], []
    for name, data in pictures().items():
        (FOLDER / "images" / name).write_bytes(data)
        # As OpenAI's own code has it; transformers 5 alone would blend transparency with white.
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        cropped = crop(processor, picture)
        (FOLDER / "crops" / f"{Path(name).stem}.png").write_bytes(png(Image.fromarray(cropped)))
        pixel_values = torch.tensor(np.asarray(processor(picture)["pixel_values"]))
        features.append(clip.get_image_features(pixel_values).pooler_output)
        names.append(name)
        print(name, picture.size, len(data))
    ramp = np.zeros((224, 224, 3), dtype=np.uint8)
    ramp[0, :, :] = np.arange(224)[:, None]
    ramp[1, :32, :] = np.arange(224, 256)[:, None]
    values = torch.tensor(np.asarray(processor(Image.fromarray(ramp))["pixel_values"]))[0]
    byte_values = torch.cat([values[:, 0, :], values[:, 1, :32]], dim=1)
    first = torch.tensor(np.asarray(processor(Image.open(FOLDER / "images" / names[0]))["pixel_values"]))
    tensors = {
        "byte_values": byte_values,
        "features": torch.cat(features),
        "first_hidden_state": clip.get_image_features(first).last_hidden_state,
    }
    about = metadata(SEED, "float32", pillow=PIL.__version__, names=" ".join(names))
    write_tensors(FOLDER / "images.safetensors", tensors, about)


if __name__ == "__main__":
    main()
