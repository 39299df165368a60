// The settings form, and the request that it stands for.
//
// A control that was not touched is not sent: then the choice is the model's. What is remembered of the
// form is its controls' raw values, never a request.

import { byId, make } from "./dom.js";

/** The categories that `promptist categories` lists. */
const CATEGORIES = [
  ["artists", "artists"],
  ["people", "people"],
  ["clothing", "clothing"],
  ["hair-and-skin", "hair and skin"],
  ["quality-words", "quality words"],
  ["medium", "medium"],
  ["style", "style"],
  ["lighting", "lighting"],
  ["camera", "camera"],
  ["engines", "render engines"],
  ["websites", "websites"],
  ["colors", "colors"],
  ["text-and-logos", "text and logos"],
];

const KEEP_HELP = {
  "": "As the model is set up to do.",
  exact: "Your text opens the answer, byte for byte.",
  words: "The same, but flags such as --ar 16:9 stay at the end.",
  free: "The model may rewrite all of it.",
};

const form = byId("settings");
const ranges = [...form.querySelectorAll("input[type=range]")];
const numbers = [...form.querySelectorAll("input[type=number]")];
/** Ranges whose absent value is the model's own. */
const untouched = new Set();

/** Fills in what the form needs, and calls `onChange` whenever a setting changes. */
export function start(saved, onChange) {
  byId("ban-categories").append(
    ...CATEGORIES.map(([name, label]) => {
      const box = make("input", { type: "checkbox", name: "ban-category", value: name });
      return make("label", {}, box, make("span", {}, label));
    }),
  );
  restore(saved);
  const changed = () => {
    show();
    onChange();
  };
  form.addEventListener("input", (event) => {
    untouched.delete(event.target);
    event.target.removeAttribute?.("aria-invalid");
    changed();
  });
  for (const button of form.querySelectorAll("[data-clear]")) {
    button.addEventListener("click", () => {
      const range = form.elements[button.dataset.clear];
      clear(range);
      range.focus();
      changed();
    });
  }
  for (const [id, by] of [["n-less", -1], ["n-more", 1]]) {
    byId(id).addEventListener("click", () => {
      const { n } = form.elements;
      n.value = String(Math.min(Math.max((n.valueAsNumber || 1) + by, Number(n.min)), Number(n.max)));
      n.removeAttribute("aria-invalid");
      changed();
    });
  }
  byId("reset-settings").addEventListener("click", () => {
    form.reset();
    for (const range of ranges) clear(range);
    for (const input of numbers) input.removeAttribute("aria-invalid");
    changed();
    byId("settings-fold").querySelector("summary").focus();
  });
  show();
}

/**
 * The fields of a request, beside the input.
 *
 * @returns {{ settings: object } | { wrong: HTMLElement, message: string }}
 */
export function read() {
  for (const input of numbers) {
    if (input.validity.valid) continue;
    const label = input.labels[0].textContent;
    const message = input.validity.stepMismatch || input.validity.badInput
      ? `${label}: a whole number, please.`
      : `${label}: ${input.min} to ${input.max}.`;
    return { wrong: input, message };
  }
  const { strength, n, min_distance, guidance_scale, temperature, target, budget, seed } = form.elements;
  const settings = { explain: true };
  if (strength.valueAsNumber < 1) settings.strength = strength.valueAsNumber;
  if (n.valueAsNumber > 1) {
    settings.n = n.valueAsNumber;
    if (min_distance.valueAsNumber > 0) settings.min_distance = min_distance.valueAsNumber;
  }
  if (form.elements.keep.value) settings.keep = form.elements.keep.value;
  const ban = [...bannedCategories().map((name) => `@${name}`), ...entries(form.elements.ban.value)];
  if (ban.length > 0) settings.ban = ban;
  const mustInclude = phrases(form.elements.must_include.value);
  if (mustInclude.length > 0) settings.must_include = mustInclude;
  if (!untouched.has(guidance_scale)) settings.guidance_scale = guidance_scale.valueAsNumber;
  if (!untouched.has(temperature)) {
    settings.do_sample = true;
    settings.temperature = temperature.valueAsNumber;
  }
  if (target.value) settings.target = target.value;
  if (budget.value) settings.budget = budget.valueAsNumber;
  if (seed.value) settings.seed = seed.valueAsNumber;
  return { settings };
}

/** The control that a field of a request comes from, and is opened to view; none if there is none here. */
export function controlFor(param) {
  const name = { num_return_sequences: "n", do_sample: "temperature" }[param] ?? param;
  const control = form.elements.namedItem(name ?? "");
  return control instanceof HTMLElement ? control : null;
}

/** Marks a control as the one at fault, and unfolds what hides it. */
export function blame(control) {
  control.setAttribute("aria-invalid", "true");
  for (let at = control.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
}

/** The form's raw values, to be remembered. */
export function remember() {
  const values = {};
  for (const { name, type, value, checked } of form.elements) {
    if (!name || (type === "radio" && !checked) || type === "checkbox") continue;
    values[name] = value;
  }
  for (const range of untouched) delete values[range.name];
  values["ban-category"] = bannedCategories();
  return values;
}

function restore(values) {
  const saved = values !== null && typeof values === "object" ? values : {};
  for (const control of form.elements) {
    const value = saved[control.name];
    if (control.type === "checkbox") control.checked = Array.isArray(value) && value.includes(control.value);
    else if (control.type === "radio") control.checked = control.value === (value ?? "");
    else if (control.name && typeof value === "string") control.value = value;
  }
  if (!form.elements.keep.value) form.elements.keep.value = "";
  if (form.elements.target.selectedIndex < 0) form.elements.target.value = "";
  for (const range of ranges) if (typeof saved[range.name] !== "string") clear(range);
}

/** Back to the default, which for an optional range is not to be sent. */
function clear(range) {
  range.value = range.defaultValue;
  if ("optional" in range.dataset) untouched.add(range);
}

/** Shows every value in words, and how many settings differ from the defaults. */
function show() {
  const { strength, n, min_distance } = form.elements;
  const percent = (range) => `${Math.round(range.valueAsNumber * 100)} %`;
  say(strength, percent(strength));
  say(min_distance, percent(min_distance));
  for (const range of ranges.filter((range) => "optional" in range.dataset)) {
    const isDefault = untouched.has(range);
    say(range, isDefault ? "Default" : range.value);
    range.classList.toggle("untouched", isDefault);
    form.querySelector(`[data-clear=${range.name}]`).hidden = isDefault;
  }
  byId("distance-field").hidden = !(n.valueAsNumber > 1);
  byId("keep-help").textContent = KEEP_HELP[form.elements.keep.value];

  const { settings } = read();
  const names = Object.keys(settings ?? {}).filter((name) => name !== "explain" && name !== "do_sample");
  const count = (...of) => names.filter((name) => of.includes(name)).length;
  changes("changed", names.length);
  changes("changed-style", count("ban", "must_include", "guidance_scale", "temperature"));
  changes("changed-length", count("target", "budget"));
  changes("changed-seed", count("seed"));
  byId("reset-settings").hidden = names.length === 0;
}

function say(range, text) {
  byId(`${range.id}-value`).textContent = text;
  range.setAttribute("aria-valuetext", text);
}

function changes(id, count) {
  byId(id).textContent = count > 0 ? `${count} set` : "";
}

function bannedCategories() {
  return [...form.querySelectorAll("[name=ban-category]:checked")].map(({ value }) => value);
}

/** Ban entries: a regex or a quoted phrase has its line, for it may have commas of its own. */
function entries(text) {
  return text.split("\n").flatMap((line) => {
    const entry = line.trim();
    return entry.startsWith("/") || entry.startsWith('"') ? [entry] : phrases(entry);
  });
}

function phrases(text) {
  return text.split(/[,\n]/u).map((phrase) => phrase.trim()).filter((phrase) => phrase !== "");
}
