#!/usr/bin/env python3
"""Serves a diffusers folder of Stable Diffusion 1.x or 2.x over AUTOMATIC1111's HTTP contract, with a seed an image.

    python a1111_diffusers.py models/stable-diffusion-v1-4 --port 7860
    promptist generate "a rabbit" --generator a1111+http://localhost:7860 --seed 7 --out rabbit.png

The example servers of diffusers draw random seeds, so that no image of theirs can be made again or paired with
another. Here image i of a call is that of `seed + i`, whichever batch it is in: its noise comes from a generator of
its own, on the CPU, and so is the same on every machine.

Needs torch, diffusers, transformers and pillow, nothing else. One call is worked on at a time, others wait: start a
server for each GPU and give their URLs to one `--generator`, separated by commas.

    POST /sdapi/v1/txt2img      prompt, negative_prompt, seed, batch_size, steps, cfg_scale, width, height, sampler_name
    GET  /sdapi/v1/options      the model's name and hash (of every weight and configuration file, and the dtype)
    GET  /sdapi/v1/sd-models    the same as a list of one
    GET  /sdapi/v1/samplers     names for `sampler_name`; without one the folder's own scheduler is used
    GET  /sdapi/v1/progress     how far the call at work is
    POST /internal/progress     whether the call named `id_task` (its `force_task_id`) is at work
    POST /sdapi/v1/interrupt    stops it; its caller gets 500, not half an image

`--random-tiny` writes a folder of a few megabytes with random weights first: it paints noise, for tests.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import io
import json
import math
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)
from PIL import PngImagePlugin

MAX_BODY_BYTES = 1 << 20
MAX_BATCH = 16
MAX_PIXELS = 2048 * 2048
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

SAMPLERS = {
    "DPM++ 2M": lambda config: DPMSolverMultistepScheduler.from_config(
        config, algorithm_type="dpmsolver++", solver_order=2
    ),
    "DDIM": DDIMScheduler.from_config,
    "Euler": EulerDiscreteScheduler.from_config,
}


class Refusal(Exception):
    """A question that is answered with a status other than 200."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Interrupted(Exception):
    """Somebody called the work off."""


class Painter:
    """The pipeline, used by one call at a time."""

    def __init__(self, folder: Path, device: str, dtype: str, variant: str | None) -> None:
        self.name = folder.resolve().name
        self.hash = folder_hash(folder, dtype)
        self.device = device
        self.pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            variant=variant,
            safety_checker=None,
            requires_safety_checker=False,
            local_files_only=True,
        ).to(device)
        if dtype != "float32":
            self.pipeline.to(DTYPES[dtype])
        self.pipeline.set_progress_bar_config(disable=True)
        self.own_scheduler = self.pipeline.scheduler
        self.turn = threading.Lock()
        self.task: str | None = None
        self.step, self.steps = 0, 0
        self.interrupted = threading.Event()

    def paint(self, call: Call) -> list[bytes]:
        """The call's images as PNG."""
        with self.turn:
            self.task, self.step, self.steps = call.task, 0, call.steps
            self.interrupted.clear()
            try:
                return self._paint(call)
            finally:
                self.task, self.step, self.steps = None, 0, 0

    def _paint(self, call: Call) -> list[bytes]:
        # A scheduler holds the state of its run: each call gets one of its own.
        make = SAMPLERS.get(call.sampler or "", type(self.own_scheduler).from_config)
        self.pipeline.scheduler = make(self.own_scheduler.config)
        images = self.pipeline(
            prompt=[call.prompt] * len(call.seeds),
            negative_prompt=[call.negative_prompt] * len(call.seeds),
            height=call.height,
            width=call.width,
            num_inference_steps=call.steps,
            guidance_scale=call.cfg_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in call.seeds],
            callback_on_step_end=self._step_ends,
        ).images
        return [png(image, self.infotext(call, seed)) for image, seed in zip(images, call.seeds, strict=True)]

    def _step_ends(self, _pipeline: Any, step: int, _timestep: Any, tensors: dict) -> dict:  # noqa: ANN401
        if self.interrupted.is_set():
            raise Interrupted
        self.step = step + 1
        return tensors

    def infotext(self, call: Call, seed: int) -> str:
        """What the webui writes into its images."""
        sampler = call.sampler or type(self.own_scheduler).__name__
        negative = f"\nNegative prompt: {call.negative_prompt}" if call.negative_prompt else ""
        return (
            f"{call.prompt}{negative}\nSteps: {call.steps}, Sampler: {sampler}, CFG scale: {call.cfg_scale}, "
            f"Seed: {seed}, Size: {call.width}x{call.height}, Model hash: {self.hash[:10]}, Model: {self.name}"
        )


class Call:
    """What `txt2img` is asked for, checked."""

    def __init__(self, body: dict[str, Any], painter: Painter) -> None:
        def number(key: str, default: float, kind: type, least: float, most: float) -> Any:  # noqa: ANN401
            value = body.get(key, default)
            right = isinstance(value, int) or (kind is float and isinstance(value, float) and math.isfinite(value))
            if not right or isinstance(value, bool) or not least <= value <= most:
                raise unprocessable(f"{key}: expected {kind.__name__} from {least} to {most}, found {value!r}")
            return kind(value)

        def text(key: str) -> str:
            value = body.get(key) or ""
            if not isinstance(value, str):
                raise unprocessable(f"{key}: expected text")
            return value

        self.prompt, self.negative_prompt = text("prompt"), text("negative_prompt")
        self.sampler, self.task = text("sampler_name") or None, text("force_task_id") or None
        self.steps = number("steps", 20, int, 1, 1000)
        self.cfg_scale = number("cfg_scale", 7.5, float, 0, 1000)
        self.width, self.height = (number(key, 512, int, 8, 8192) for key in ("width", "height"))
        count = number("batch_size", 1, int, 1, MAX_BATCH)
        seed = number("seed", -1, int, -1, 2**63 - 1)
        first = secrets.randbelow(2**32) if seed < 0 else seed
        self.seeds = [first + i for i in range(count)]

        if self.width % 8 or self.height % 8 or self.width * self.height > MAX_PIXELS:
            raise unprocessable(f"size: expected multiples of 8 and {MAX_PIXELS} pixels at most")
        if self.sampler and self.sampler not in SAMPLERS:
            raise unprocessable(f"sampler_name: expected one of {sorted(SAMPLERS)}, found {self.sampler!r}")
        for key, only in (("n_iter", 1), ("enable_hr", False), ("script_name", None), ("tiling", False)):
            if body.get(key, only) not in (only, None):
                raise unprocessable(f"{key}: is not supported")
        wanted = (body.get("override_settings") or {}).get("sd_model_checkpoint", painter.name)
        if wanted not in (painter.name, title(painter)):
            raise Refusal(HTTPStatus.NOT_FOUND, f"model {wanted!r} not found, only {painter.name!r}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({
            "/sdapi/v1/options": self.options,
            "/sdapi/v1/sd-models": self.models,
            "/sdapi/v1/samplers": lambda: [{"name": name, "aliases": [], "options": {}} for name in SAMPLERS],
            "/sdapi/v1/progress": self.progress,
        })

    def do_POST(self) -> None:
        self.answer({
            "/sdapi/v1/txt2img": self.txt2img,
            "/sdapi/v1/interrupt": self.interrupt,
            "/internal/progress": self.task_progress,
        })

    def answer(self, routes: dict[str, Any]) -> None:
        """Answers in JSON, whatever happens."""
        try:
            # Read first: a connection is kept, and what is left of a body would be the next question.
            self.body = self.read_body()
            self.check_auth()
            route = routes.get(self.path.split("?")[0])
            if route is None:
                raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")
            status, value = HTTPStatus.OK, route()
        except Refusal as refusal:
            status, value = refusal.status, {"detail": str(refusal)}
        except Interrupted:
            status, value = HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": "interrupted"}
        except Exception as error:  # whatever torch has to say; the next call may go well
            self.log_error("%r", error)
            status, value = HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": f"{type(error).__name__}: {error}"}
        payload = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Basic")
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)

    def read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BODY_BYTES} bytes")
        return self.rfile.read(int(length))

    def check_auth(self) -> None:
        if self.server.auth is None:
            return
        expected = "Basic " + base64.b64encode(self.server.auth.encode()).decode()
        found = self.headers.get("Authorization", "")
        if not hmac.compare_digest(found.encode(), expected.encode()):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "Incorrect username or password")

    def json_body(self) -> dict[str, Any]:
        try:
            body = json.loads(self.body or b"{}")
        except ValueError as error:
            raise unprocessable(f"expected JSON: {error}") from error
        if not isinstance(body, dict):
            raise unprocessable("expected a JSON object")
        return body

    def txt2img(self) -> dict[str, Any]:
        body, painter = self.json_body(), self.server.painter
        call = Call(body, painter)
        images = painter.paint(call)
        info = {
            "prompt": call.prompt,
            "negative_prompt": call.negative_prompt,
            "seed": call.seeds[0],
            "all_seeds": call.seeds,
            "all_prompts": [call.prompt] * len(images),
            "width": call.width,
            "height": call.height,
            "steps": call.steps,
            "cfg_scale": call.cfg_scale,
            "sampler_name": call.sampler,
            "batch_size": len(images),
            "index_of_first_image": 0,
            "infotexts": [painter.infotext(call, seed) for seed in call.seeds],
            "sd_model_name": painter.name,
            "sd_model_hash": painter.hash[:10],
            "version": "a1111_diffusers",
        }
        images = [base64.b64encode(image).decode() for image in images]
        return {"images": images, "parameters": body, "info": json.dumps(info)}

    def options(self) -> dict[str, Any]:
        painter = self.server.painter
        return {
            "sd_model_checkpoint": title(painter),
            "sd_checkpoint_hash": painter.hash,
            "samples_format": "png",
            "randn_source": "CPU",
        }

    def models(self) -> list[dict[str, Any]]:
        painter = self.server.painter
        return [{
            "title": title(painter),
            "model_name": painter.name,
            "hash": painter.hash[:10],
            "sha256": painter.hash,
            "filename": painter.name,
            "config": None,
        }]

    def progress(self) -> dict[str, Any]:
        painter = self.server.painter
        done = painter.step / painter.steps if painter.steps else 0.0
        state = {"sampling_step": painter.step, "sampling_steps": painter.steps, "job": painter.task or ""}
        return {"progress": done, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None}

    def task_progress(self) -> dict[str, Any]:
        task, painter = self.json_body().get("id_task"), self.server.painter
        active = task is not None and task == painter.task
        progress = self.progress()["progress"] if active else None
        return {"active": active, "queued": False, "completed": False, "progress": progress}

    def interrupt(self) -> dict[str, Any]:
        self.server.painter.interrupted.set()
        return {}


class Server(ThreadingHTTPServer):
    """What the handlers share."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], painter: Painter, auth: str | None) -> None:
        super().__init__(address, Handler)
        self.painter = painter
        self.auth = auth


def unprocessable(detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def title(painter: Painter) -> str:
    """How the webui shows a checkpoint."""
    return f"{painter.name} [{painter.hash[:10]}]"


def png(image: Any, infotext: str) -> bytes:  # noqa: ANN401
    """The image, with what it is of, as the webui writes it."""
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text("parameters", infotext)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=metadata)
    return file.getvalue()


def folder_hash(folder: Path, dtype: str) -> str:
    """SHA-256 of all that an image depends on: the files, by name, and the numbers' type."""
    total = hashlib.sha256(dtype.encode())
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".bin", ".json", ".txt")):
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def write_random_tiny(folder: Path) -> None:
    """A Stable Diffusion that can be run in a blink and has learnt nothing; always the same one."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    vocab_file, merges_file = folder / "vocab.json", folder / "merges.txt"
    # CLIP's byte-level alphabet without a merge: each character is a token, the last of a word another.
    bytes_as_characters = sorted({*range(33, 127), *range(161, 173), *range(174, 256)})
    others = [byte for byte in range(256) if byte not in bytes_as_characters]
    alphabet = [chr(byte) for byte in bytes_as_characters] + [chr(256 + i) for i in range(len(others))]
    tokens = [*alphabet, *(f"{character}</w>" for character in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocab_file.write_text(json.dumps({token: idx for idx, token in enumerate(tokens)}), encoding="utf-8")
    merges_file.write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(str(vocab_file), str(merges_file), model_max_length=77)
    vocab_file.unlink()
    merges_file.unlink()

    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=32,
            bos_token_id=len(tokens) - 2,
            eos_token_id=len(tokens) - 1,
            pad_token_id=len(tokens) - 1,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        sample_size=64,
    )
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a diffusers folder: model_index.json, unet, vae, ...")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached from other machines")
    parser.add_argument("--port", type=int, default=7860, help="0 for any that is free")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="default: float16 on a GPU, float32 on a CPU")
    parser.add_argument("--variant", help="fp16 for a folder whose files are named *.fp16.safetensors")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--api-auth", metavar="USER:PASSWORD", help="ask for it, as the webui does")
    parser.add_argument("--random-tiny", action="store_true", help="write a tiny random model to the folder first")
    args = parser.parse_args()

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.random_tiny:
        write_random_tiny(args.folder)
    dtype = args.dtype or ("float32" if args.device == "cpu" else "float16")
    server = Server((args.host, args.port), Painter(args.folder, args.device, dtype, args.variant), args.api_auth)
    host, port = server.server_address[:2]
    print(f"{title(server.painter)} in {dtype} on {args.device}: http://{host}:{port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
