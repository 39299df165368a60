"""Promptist for AUTOMATIC1111's webui, Forge and what else loads its extensions.

Before a job's images are made, each image's prompt is adapted with that image's seed. What the user typed stands
in the image's metadata. Negative prompts are left alone; so is `p.prompt`, which scripts that make images in a
loop begin from again.

The webui loads every `.py` in this folder as a script, which is why the client is one folder up.
"""

from __future__ import annotations

import json
import logging
from typing import Any, NamedTuple

import gradio as gr
from modules import script_callbacks, scripts, shared
from promptist_client import Connection, PromptistError, stop_shared
from promptist_client import shared as shared_client

LOG = logging.getLogger("promptist")

MODELS_CHOICE = "model's choice"
NO_TARGET = "none"
IMAGE_SEED = -1

# Names in an image's metadata.
ORIGINAL, MODEL, SETTINGS = "Promptist original prompt", "Promptist model", "Promptist settings"


# No dataclass: the webui loads this module without registering it, which those need.
class Asked(NamedTuple):
    """What the controls say, in their order."""

    enabled: bool = False
    variants: bool = True
    seed: int = IMAGE_SEED
    strength: float = 1.0
    keep: str = "words"
    ban: str = ""
    must_include: str = ""
    no_artists: bool = False
    target: str = NO_TARGET
    budget: int = 0
    hires: bool = False
    strict: bool = False

    @classmethod
    def from_controls(cls, values: tuple[Any, ...]) -> Asked:
        """A caller of the API may send fewer values, or null for the default."""
        given = {name: value for name, value in zip(cls._fields, values) if value is not None}
        given.update({name: int(given[name]) for name in ("seed", "budget") if name in given})
        return cls(**given)

    def settings(self) -> dict[str, Any]:
        """As `POST /v1/adapt` names them."""
        settings = {
            "strength": float(self.strength),
            "keep": None if self.keep == MODELS_CHOICE else self.keep,
            "ban": lines(self.ban),
            "must_include": lines(self.must_include),
            "no_artists": bool(self.no_artists),
            "target": None if self.target == NO_TARGET else self.target,
            "budget": self.budget or None,
        }
        return {name: value for name, value in settings.items() if value not in (None, [], False)}

    def seed_of(self, image_seeds: list[int], image_idx: int) -> int:
        """The seed that the prompt of an image is drawn with."""
        if self.seed != IMAGE_SEED:
            return self.seed + (image_idx if self.variants else 0)
        return int(image_seeds[image_idx if self.variants else 0])


class PromptistScript(scripts.Script):
    """The panel below the prompt, and what it does to a job."""

    def title(self) -> str:
        return "Promptist"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        default = Asked()
        with gr.Accordion("Promptist", open=False, elem_id=self.elem_id("accordion")):
            with gr.Row():
                enabled = gr.Checkbox(default.enabled, label="Adapt the prompt", elem_id=self.elem_id("enabled"))
                variants = gr.Checkbox(
                    default.variants, label="Another prompt for each image", elem_id=self.elem_id("variants")
                )
                no_artists = gr.Checkbox(default.no_artists, label="No artists", elem_id=self.elem_id("no_artists"))
            with gr.Row():
                strength = gr.Slider(
                    0.0, 1.0, default.strength, step=0.05, label="Strength", elem_id=self.elem_id("strength")
                )
                seed = gr.Number(
                    default.seed, precision=0, label="Seed (-1: the image's)", elem_id=self.elem_id("seed")
                )
                keep = gr.Dropdown(
                    ["words", "exact", "free", MODELS_CHOICE],
                    value=default.keep,
                    label="Keep my text",
                    elem_id=self.elem_id("keep"),
                )
            with gr.Row():
                ban = gr.Textbox(
                    default.ban,
                    lines=2,
                    label="Do not add (one a line; @artists)",
                    elem_id=self.elem_id("ban"),
                )
                must_include = gr.Textbox(
                    default.must_include,
                    lines=2,
                    label="Include (one a line)",
                    elem_id=self.elem_id("must_include"),
                )
            with gr.Row():
                target = gr.Dropdown(
                    [NO_TARGET, "sd15", "sdxl"],
                    value=default.target,
                    label="Count tokens of",
                    elem_id=self.elem_id("target"),
                )
                budget = gr.Number(
                    default.budget, precision=0, label="Most tokens (0: the target's)", elem_id=self.elem_id("budget")
                )
            with gr.Row():
                hires = gr.Checkbox(
                    default.hires, label="Adapt a hires prompt of its own too", elem_id=self.elem_id("hires")
                )
                strict = gr.Checkbox(
                    default.strict, label="Make no image if that fails", elem_id=self.elem_id("strict")
                )
        # An image's metadata has its adapted prompt. Read back, that prompt is not to be adapted again.
        self.infotext_fields = [(enabled, lambda params: False if ORIGINAL in params else None)]
        controls = locals()
        return [controls[name] for name in Asked._fields]

    def process(self, p: Any, *values: Any) -> None:
        """Called when prompts and seeds of all images of a job are known, before the first is made."""
        asked = Asked.from_controls(values)
        # On the job, not the script: a script that mends an image's details starts a job within the job.
        p.promptist_originals = []
        if not asked.enabled:
            return
        try:
            self.adapt(p, asked)
        except PromptistError as error:
            message = f"Promptist: {'no image was made' if asked.strict else 'your own prompt is used'}. {error}"
            LOG.warning("%s", message)
            if asked.strict:
                refuse(p, message)
            else:
                comment(p, message)

    def adapt(self, p: Any, asked: Asked) -> None:
        """Adapts all prompts of a job, or none of them."""
        originals = list(p.all_prompts)
        seeds = [asked.seed_of(p.all_seeds, image_idx) for image_idx in range(len(originals))]
        hires = list(getattr(p, "all_hr_prompts", None) or [])
        # With the text of the first pass a hires pass has its prompt too: both show one picture.
        follows = [i < len(originals) and text == originals[i] for i, text in enumerate(hires)]

        wanted = list(zip(originals, seeds))
        wanted += [(text, seeds[i]) for i, text in enumerate(hires) if asked.hires and not follows[i]]
        client = shared_client(connection())
        adapted: dict[tuple[str, int], str] = {}
        model = ""
        for text in dict.fromkeys(text for text, _ in wanted if text.strip()):
            of_text = list(dict.fromkeys(seed for other, seed in wanted if other == text))
            adaptation = client.adapt(text, of_text, asked.settings())
            adapted.update(zip(((text, seed) for seed in of_text), adaptation.texts))
            model = adaptation.model
        if not adapted:
            return

        prompts = [adapted.get(key, key[0]) for key in zip(originals, seeds)]
        p.all_prompts = prompts
        p.main_prompt = prompts[0]
        if hires:
            p.all_hr_prompts = [
                prompts[i] if follows[i] else adapted.get((text, seeds[i]), text) for i, text in enumerate(hires)
            ]
        p.promptist_originals = originals
        p.extra_generation_params[ORIGINAL] = originals[0]
        p.extra_generation_params[MODEL] = model
        settings = asked.settings() | ({} if asked.seed == IMAGE_SEED else {"seed": asked.seed})
        if not asked.variants:
            settings["variants"] = False
        p.extra_generation_params[SETTINGS] = json.dumps(settings, ensure_ascii=False)

    def postprocess_image(self, p: Any, _image: Any, *_values: Any) -> None:
        """Called for each image right before its metadata is written: prompts of a job may differ."""
        originals = getattr(p, "promptist_originals", [])
        image_idx = getattr(p, "iteration", 0) * p.batch_size + getattr(p, "batch_index", 0)
        if image_idx < len(originals):
            p.extra_generation_params[ORIGINAL] = originals[image_idx]


def lines(text: str) -> list[str]:
    """What stands in a box with an entry a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def refuse(p: Any, message: str) -> None:
    """Stops the job with `message`. The webui goes on after an error of a script; `init` is what it calls next, and
    an error of that ends the job and is shown."""

    def init(*_: Any, **__: Any) -> None:
        raise PromptistError(message)

    p.init = init


def comment(p: Any, message: str) -> None:
    """Shows `message` under the images."""
    if hasattr(p, "comment"):
        p.comment(message)
    elif isinstance(getattr(p, "comments", None), dict):
        p.comments[message] = 1


def connection() -> Connection:
    """Where Promptist is: the settings page, then the environment."""
    return Connection.configured(
        {
            "url": getattr(shared.opts, "promptist_url", ""),
            "token": getattr(shared.opts, "promptist_token", ""),
            "program": getattr(shared.opts, "promptist_program", ""),
            "model": getattr(shared.opts, "promptist_model", ""),
            "timeout_secs": getattr(shared.opts, "promptist_timeout", ""),
        }
    )


def on_ui_settings() -> None:
    """Settings, Promptist."""
    section = ("promptist", "Promptist")
    for key, default, label in (
        ("promptist_url", "", "URL of a running server; empty: one is started"),
        ("promptist_token", "", "Token of that server; better in the environment, PROMPTIST_TOKEN"),
        ("promptist_program", "", "Program to start; empty: promptist on the PATH"),
        ("promptist_model", "", "Model to start it with: a folder or a Hub id; empty: the built-in one"),
        ("promptist_timeout", 30, "Seconds that a prompt may take"),
    ):
        shared.opts.add_option(key, shared.OptionInfo(default, label, section=section))


script_callbacks.on_ui_settings(on_ui_settings)
script_callbacks.on_script_unloaded(stop_shared)
