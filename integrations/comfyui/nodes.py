"""The node `Adapt Prompt (Promptist)`.

Where Promptist is, and its token, is not an input: inputs are saved in every image and travel with workflows. It
is set in `promptist.json` beside this file, or in the environment (README.md).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from . import metadata
from .promptist_client import MAX_SEED, Connection, PromptistError, shared

LOG = logging.getLogger("promptist")

SETTINGS_FILE = Path(__file__).parent / "promptist.json"
MODELS_CHOICE = "model's choice"
NO_TARGET = "none"
OWN_PROMPT, STOP = "use my prompt", "stop"


class PromptistAdapt:
    """A text in, the text that an image model answers best out; several for several images."""

    CATEGORY = "Promptist"
    DESCRIPTION = "Adds to a prompt what the image model answers best. Your own words stay as they are."
    FUNCTION = "adapt"
    RETURN_TYPES = ("STRING", "STRING", "STRING", "STRING")
    RETURN_NAMES = ("prompt", "prompts", "original", "note")
    OUTPUT_IS_LIST = (False, True, False, False)
    OUTPUT_TOOLTIPS = (
        "The adapted prompt of the seed.",
        "A list: one for each of `count` seeds. What it is connected to runs once for each.",
        "Your prompt.",
        "Empty; or why the prompt is your own.",
    )

    # How often the node of an id failed. ComfyUI must not keep what a failure left behind: see `IS_CHANGED`.
    failures: dict[str, int] = {}  # noqa: RUF012

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text": (
                    "STRING",
                    {"multiline": True, "dynamicPrompts": True, "tooltip": "What you would type."},
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": MAX_SEED,
                        "control_after_generate": True,
                        "tooltip": "The same text and seed give the same prompt.",
                    },
                ),
                "count": (
                    "INT",
                    {"default": 1, "min": 1, "max": 64, "tooltip": "Prompts: of seed, seed + 1, and so on."},
                ),
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "How much is added: 0 nothing.",
                    },
                ),
                "keep": (
                    ["words", "exact", "free", MODELS_CHOICE],
                    {
                        "tooltip": "words: your text first, closing tags and flags last. exact: your text, then what "
                        "is added. free: the model may write all of it."
                    },
                ),
            },
            "optional": {
                "ban": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "What may not be added, one a line: a phrase, /a regex/, @a-category.",
                    },
                ),
                "must_include": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "Phrases that must be in the prompt, one a line.",
                    },
                ),
                "no_artists": ("BOOLEAN", {"default": False, "tooltip": "Add no artist's name."}),
                "target": (
                    [NO_TARGET, "sd15", "sdxl"],
                    {"tooltip": "The image model whose tokens are counted."},
                ),
                "budget": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 4096,
                        "tooltip": "Most tokens, yours included. 0: the target's own.",
                    },
                ),
                "on_failure": (
                    [OWN_PROMPT, STOP],
                    {"tooltip": "What happens if Promptist cannot be reached."},
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID", "graph": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    @classmethod
    def IS_CHANGED(cls, unique_id: str | None = None, **_: Any) -> int:
        """Another number after a failure, so that the node runs again though its inputs are the same."""
        return cls.failures.get(str(unique_id), 0)

    def adapt(
        self,
        text: str,
        seed: int,
        count: int = 1,
        strength: float = 1.0,
        keep: str = "words",
        ban: str = "",
        must_include: str = "",
        no_artists: bool = False,
        target: str = NO_TARGET,
        budget: int = 0,
        on_failure: str = OWN_PROMPT,
        unique_id: str | None = None,
        graph: dict[str, Any] | None = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> tuple[str, list[str], str, str]:
        if not text.strip():
            return text, [text] * count, text, ""
        settings = {
            "strength": strength,
            "keep": None if keep == MODELS_CHOICE else keep,
            "ban": lines(ban),
            "must_include": lines(must_include),
            "no_artists": no_artists,
            "target": None if target == NO_TARGET else target,
            "budget": budget or None,
        }
        seeds = [(seed + i) % (MAX_SEED + 1) for i in range(count)]
        record: dict[str, Any] = {"original": text, "seed": seed}
        try:
            adaptation = shared(connection()).adapt(text, seeds, settings)
            texts, note = adaptation.texts, ""
            answer = adaptation.answer
            record.update(prompts=texts, seeds=seeds, asked={name: value for name, value in settings.items() if value})
            record.update({name: answer.get(name) for name in ("model", "receipt", "version")})
        except PromptistError as error:
            self.failures[str(unique_id)] = self.failures.get(str(unique_id), 0) + 1
            if on_failure == STOP:
                raise
            texts, note = [text] * count, f"Promptist: your own prompt is used. {error}"
            LOG.warning("%s", note)
            # Into the image goes what was wrong with the prompt, and nothing of where the server is.
            told = str(error) if getattr(error, "param", None) else "Promptist did not answer"
            record.update(prompts=texts, error=told)
        metadata.keep(extra_pnginfo, graph, unique_id, record)
        show(note or "\n".join(texts), unique_id)
        return texts[0], texts, text, note


def lines(text: str) -> list[str]:
    """What stands in a box with an entry a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def connection() -> Connection:
    """Where Promptist is: `promptist.json`, then the environment. Read each time, so that a change needs no restart."""
    try:
        given = json.loads(SETTINGS_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        given = {}
    except (OSError, ValueError) as error:
        raise PromptistError(f"{SETTINGS_FILE} cannot be read: {error}") from error
    if not isinstance(given, dict):
        raise PromptistError(f"{SETTINGS_FILE} holds no JSON object")
    return Connection.configured(given)


def show(text: str, unique_id: str | None) -> None:
    """Writes under the node, where this version of ComfyUI can."""
    try:
        from server import PromptServer

        PromptServer.instance.send_progress_text(text, unique_id)
    except (ImportError, AttributeError):
        pass
