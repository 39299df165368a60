"""A stand-in for AUTOMATIC1111's webui, as far as an extension can tell: how scripts are found and loaded, panels
built, a job's prompts and seeds set up, callbacks run, metadata written and read back.

What it does is what `modules/scripts.py`, `modules/processing.py`, `modules/infotext_utils.py` and
`modules/script_callbacks.py` of the webui do:

- every `.py` in an extension's `scripts/` is loaded, with the extension's folder first on `sys.path` meanwhile;
- an error in a script's callback is reported and swallowed; an error in `p.init` ends the job;
- prompts and seeds of all images are set up before `process`, styles applied, hires prompts beside them;
- each image's metadata is written after its `postprocess_image`, from `p.extra_generation_params`;
- a value of the panel comes from the API by position, and what is missing is the control's default.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

from . import png_metadata

ALWAYS_VISIBLE = object()


class Component:
    """A gradio control, or a container of some."""

    def __init__(self, kind: str, *values: Any, **options: Any) -> None:
        self.kind = kind
        self.options = options
        self.label = options.get("label")
        # `value` is a slider's third argument, a dropdown's second, and the others' first.
        place = {"Slider": 2, "Dropdown": 1}.get(kind, 0)
        self.value = options.get("value", values[place] if len(values) > place else None)
        if kind == "Slider":
            self.minimum, self.maximum = values[:2]
        if kind == "Dropdown":
            self.choices = values[0]
            assert self.value in self.choices, (self.label, self.value)

    def __enter__(self) -> Component:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def gradio() -> types.ModuleType:
    module = types.ModuleType("gradio")
    for kind in ("Accordion", "Row", "Group", "Checkbox", "Slider", "Number", "Dropdown", "Textbox"):
        setattr(module, kind, lambda *values, kind=kind, **options: Component(kind, *values, **options))
    return module


class Script:
    """`modules.scripts.Script`."""

    filename = None
    is_img2img = False
    infotext_fields = None

    def title(self) -> str:
        raise NotImplementedError

    def show(self, is_img2img: bool) -> object:
        return True

    def ui(self, is_img2img: bool) -> list[Component] | None:
        return None

    def process(self, p: Any, *args: Any) -> None:
        pass

    def postprocess_image(self, p: Any, pp: Any, *args: Any) -> None:
        pass

    def elem_id(self, item_id: str) -> str:
        return f"script_txt2img_{self.title().lower()}_{item_id}"


class OptionInfo:
    def __init__(self, default: Any = None, label: str = "", section: Any = None, **_: Any) -> None:
        self.default = default
        self.label = label
        self.section = section


class Options:
    """`shared.opts`: reading an option that nobody added is an error."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data.setdefault(key, info.default)

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["data"][key]
        except KeyError:
            raise AttributeError(key) from None


class Processing:
    """`StableDiffusionProcessingTxt2Img`, the fields that scripts meet."""

    def __init__(self, prompt: Any, seed: Any = 1, batch_size: int = 1, n_iter: int = 1, **fields: Any) -> None:
        self.prompt = prompt
        self.negative_prompt = fields.pop("negative_prompt", "")
        self.styles = fields.pop("styles", [])
        self.seed = seed
        self.subseed_strength = fields.pop("subseed_strength", 0)
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.enable_hr = fields.pop("enable_hr", False)
        self.hr_prompt = fields.pop("hr_prompt", "")
        self.hr_negative_prompt = fields.pop("hr_negative_prompt", "")
        self.script_args: list[Any] = []
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: dict[str, int] = {}
        self.all_prompts: list[str] = []
        self.all_hr_prompts: list[str] | None = None
        assert not fields, fields

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def setup_prompts(self) -> None:
        total = self.batch_size * self.n_iter
        self.all_prompts = self.prompt if isinstance(self.prompt, list) else total * [self.prompt]
        self.all_negative_prompts = len(self.all_prompts) * [self.negative_prompt]
        self.all_prompts = [styled(text, self.styles) for text in self.all_prompts]
        self.main_prompt = self.all_prompts[0]
        if self.enable_hr:
            self.hr_prompt = self.hr_prompt or self.prompt
            self.all_hr_prompts = self.hr_prompt if isinstance(self.hr_prompt, list) else total * [self.hr_prompt]
            self.all_hr_prompts = [styled(text, self.styles) for text in self.all_hr_prompts]

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        self.initialised = list(all_prompts)


def styled(text: str, styles: list[str]) -> str:
    for style in styles:
        text = style.replace("{prompt}", text) if "{prompt}" in style else ", ".join(filter(None, [text, style]))
    return text


class Webui:
    """A running webui with one extension."""

    MODULES = ("gradio", "modules", "modules.scripts", "modules.shared", "modules.script_callbacks")

    def __init__(self, extension: Path) -> None:
        self.options = Options()
        self.settings_callbacks: list[Any] = []
        self.unload_callbacks: list[Any] = []
        self.errors: list[str] = []
        self.install_modules()
        self.scripts: list[Script] = []
        for path in sorted((extension / "scripts").glob("*.py")):
            self.load(extension, path)
        for callback in self.settings_callbacks:
            callback()
        self.controls: list[Component] = []
        for script in self.scripts:
            assert script.show(False) is ALWAYS_VISIBLE
            script.args_from = len(self.controls)
            self.controls += script.ui(False) or []
            script.args_to = len(self.controls)

    def install_modules(self) -> None:
        modules = types.ModuleType("modules")
        scripts = types.ModuleType("modules.scripts")
        scripts.Script, scripts.AlwaysVisible = Script, ALWAYS_VISIBLE
        shared = types.ModuleType("modules.shared")
        shared.opts, shared.OptionInfo = self.options, OptionInfo
        callbacks = types.ModuleType("modules.script_callbacks")
        callbacks.on_ui_settings = self.settings_callbacks.append
        callbacks.on_script_unloaded = self.unload_callbacks.append
        modules.scripts, modules.shared, modules.script_callbacks = scripts, shared, callbacks
        sys.modules.update(zip(self.MODULES, (gradio(), modules, scripts, shared, callbacks)))

    def load(self, extension: Path, path: Path) -> None:
        """`load_scripts` for one file."""
        before = sys.path
        sys.path = [str(extension), *sys.path]
        try:
            spec = importlib.util.spec_from_file_location(path.name, path)
            module = importlib.util.module_from_spec(spec)
            # It is not in `sys.modules` meanwhile, which dataclasses with postponed annotations do not survive.
            spec.loader.exec_module(module)
        finally:
            sys.path = before
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Script):
                script = cls()
                script.filename = str(path)
                self.scripts.append(script)

    def close(self) -> None:
        """`Reload UI`."""
        for callback in self.unload_callbacks:
            callback()
        for name in (*self.MODULES, "promptist_client"):
            sys.modules.pop(name, None)

    def control(self, label: str) -> Component:
        return next(control for control in self.controls if control.label.startswith(label))

    def txt2img(self, p: Processing, **values: Any) -> list[Image]:
        """A job with the panel's controls at their defaults but for `values`, by the beginning of their labels with
        `_` for a blank. The images."""
        p.script_args = [control.value for control in self.controls]
        for name, value in values.items():
            p.script_args[self.controls.index(self.control(name.replace("_", " ")))] = value
        return self.process_images(p)

    def process_images(self, p: Processing) -> list[Image]:
        p.setup_prompts()
        count = len(p.all_prompts)
        p.all_seeds = (
            p.seed
            if isinstance(p.seed, list)
            else [p.seed + (i if p.subseed_strength == 0 else 0) for i in range(count)]
        )
        self.call("process", p)
        p.init(p.all_prompts, p.all_seeds, p.all_seeds)
        images = []
        for n in range(p.n_iter):
            p.iteration = n
            batch = slice(n * p.batch_size, (n + 1) * p.batch_size)
            p.prompts, p.seeds = p.all_prompts[batch], p.all_seeds[batch]
            hires = p.all_hr_prompts[batch] if p.enable_hr else [None] * len(p.prompts)
            for i, prompt in enumerate(p.prompts):
                p.batch_index = i
                self.call("postprocess_image", p, None)
                text = infotext(p, prompt, p.all_negative_prompts[n * p.batch_size + i], p.seeds[i])
                images.append(Image(prompt, hires[i], p.seeds[i], png_metadata.written({"parameters": text})))
        return images

    def call(self, callback: str, p: Processing, *before: Any) -> None:
        for script in self.scripts:
            try:
                getattr(script, callback)(p, *before, *p.script_args[script.args_from : script.args_to])
            except Exception as error:  # as the webui does
                self.errors.append(f"{callback}: {error!r}")

    def pasted(self, image: bytes) -> dict[str, Any]:
        """What reading an image's metadata back does to the prompt and the controls: new values by label."""
        params = parsed(png_metadata.texts_of(image)["parameters"])
        changed = {"Prompt": params["Prompt"]}
        for script in self.scripts:
            for control, value_of in script.infotext_fields or []:
                value = value_of(params) if callable(value_of) else params.get(value_of)
                if value is not None:
                    changed[control.label] = type(control.value)(value)
        return changed


class Image:
    """What came out: the prompts that it was made from, and the file."""

    def __init__(self, prompt: str, hr_prompt: str | None, seed: int, file: bytes) -> None:
        self.prompt = prompt
        self.hr_prompt = hr_prompt
        self.seed = seed
        self.file = file

    @property
    def parameters(self) -> dict[str, str]:
        return parsed(png_metadata.texts_of(self.file)["parameters"])


def quote(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ",\n:") else text


def infotext(p: Processing, prompt: str, negative_prompt: str, seed: int) -> str:
    """`create_infotext`."""
    params = {"Steps": 20, "Seed": seed, **p.extra_generation_params}
    last = ", ".join(f"{name}: {quote(value)}" for name, value in params.items() if value is not None)
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt}{negative}\n{last}"


PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parsed(text: str) -> dict[str, str]:
    """`parse_generation_parameters`."""
    *lines, last = text.strip().split("\n")
    prompt, _, negative = "\n".join(lines).partition("\nNegative prompt: ")
    params = {"Prompt": prompt, "Negative prompt": negative}
    for name, value in PARAMETER.findall(last):
        params[name] = json.loads(value) if value.startswith('"') else value
    return params
