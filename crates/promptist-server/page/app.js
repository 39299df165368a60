// The page: what happens when something is pressed. Start reading here.
//
//   settings.js  the settings form         answer.js    answers, and how they are drawn
//   phrases.js   a text and its phrases    pictures.js  images of both prompts
//   history.js   what the browser keeps    api.js       the server
//
// What was typed stays in the field whatever happens. What replaces it, an example or an entry of the
// history, can be taken back.

import { Failure, adapt, adaptStreaming, models, rescore } from "./api.js";
import { Answers, about, decimal, showChoices, showFacts, showUnfinished, showVersion, signed, updateChoice } from "./answer.js";
import { announce, byId, make } from "./dom.js";
import * as history from "./history.js";
import { clearPictures, makePictures } from "./pictures.js";
import * as settings from "./settings.js";

const EXAMPLES = [
  "a rabbit is wearing a space suit",
  "a lighthouse at dusk",
  "an old sailor, portrait",
  "a cottage in a snowy forest",
];
const STOP = "Stop";
/** Most answers are there before anybody could stop them: until then the button stays what it is. */
const STOP_AFTER_MS = 250;
const HINT = "Press a highlighted phrase to take it out.";

const field = byId("user-input");
const page = {
  /** @type {Answers | null} the answers in view */
  answers: null,
  /** The history's entry of those. */
  entryId: "",
  entries: history.load(),
  hasGenerator: false,
  /** @type {AbortController | null} of the answer that is being written */
  writing: null,
  /** @type {AbortController | null} of the score that is being asked for */
  scoring: null,
  /** @type {AbortController | null} of the images that are being made */
  painting: null,
  /** What the notice's button does. */
  takeBack: () => {},
};

start();

function start() {
  const draft = history.loadDraft();
  // What was typed before the script came is newer than the draft.
  if (field.value === "" && typeof draft.text === "string") field.value = draft.text;
  settings.start(draft.settings, saveDraft);
  if (matchMedia("(max-width: 60rem)").matches) byId("settings-fold").open = false;
  if (/Mac|iP(hone|ad)/u.test(navigator.platform)) byId("modifier").textContent = "\u2318";

  byId("example-list").replaceChildren(
    ...EXAMPLES.map((text) => {
      const button = make("button", { type: "button", class: "button example" }, text);
      button.addEventListener("click", () => {
        replaceText(text);
        write();
      });
      return make("li", {}, button);
    }),
  );
  field.addEventListener("input", saveDraft);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      write();
    }
  });
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!page.writing) write();
    else if (byId("adapt").textContent === STOP) page.writing.abort();
  });
  byId("settings").addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  byId("retry").addEventListener("click", () => write());
  byId("another").addEventListener("click", another);
  byId("copy").addEventListener("click", copy);
  byId("undo").addEventListener("click", undo);
  byId("redo").addEventListener("click", redo);
  byId("make-images").addEventListener("click", paint);
  byId("clear-history").addEventListener("click", clearHistory);
  byId("notice-action").addEventListener("click", () => {
    const { takeBack } = page;
    hideNotice();
    takeBack();
  });
  byId("answer-list").addEventListener("change", (event) => choose(Number(event.target.value)));
  startAnswerKeys();
  document.addEventListener("keydown", undoKeys);
  drawHistory();
  loadModels();
}

async function loadModels() {
  try {
    const { data, generator } = await models();
    const names = data.map(({ id, precision }) => (precision ? `${id}, ${precision}` : id));
    byId("model").textContent = names.length > 0 ? `Model: ${names.join("; ")}` : "";
    byId("model").hidden = names.length === 0;
    page.hasGenerator = generator === true;
    drawPictures();
  } catch (error) {
    if (error instanceof Failure) problem(error.message);
    else throw error;
  }
}

// Adapting

/** Asks for answers to the text in the field. `over` stands above the settings of the form. */
async function write(over = {}) {
  const userInput = field.value;
  clearProblem();
  if (userInput.trim() === "") {
    problem("Type what you want to see first.");
    field.focus();
    return;
  }
  const asked = settings.read();
  if ("wrong" in asked) {
    settings.blame(asked.wrong);
    problem(asked.message);
    asked.wrong.focus();
    return;
  }
  page.writing?.abort();
  page.scoring?.abort();
  const writing = new AbortController();
  page.writing = writing;
  const wanted = { ...asked.settings, ...over };
  begin(userInput);
  let answer = null;
  let fault = null;
  try {
    answer = await ask({ user_input: userInput, ...wanted }, writing.signal);
    if (!Array.isArray(answer.outputs) || answer.outputs.length === 0) {
      throw new Failure("The server had no answer to this.");
    }
  } catch (error) {
    fault = error;
  }
  // Something newer is in view, or being written.
  if (writing !== page.writing) return;
  page.writing = null;
  busy(false);
  if (fault) giveUp(fault);
  else finish(answer, wanted);
}

/** One answer is streamed; where the server cannot, and for several, it comes in one piece. */
async function ask(body, signal) {
  if ((body.n ?? 1) > 1) return adapt(body, signal);
  try {
    return await adaptStreaming(body, (text) => page.writing?.signal === signal && showUnfinished(text, body.user_input), signal);
  } catch (error) {
    // A search of many hypotheses has no text that only grows.
    if (error instanceof Failure && error.status === 422 && error.param === "stream") return adapt(body, signal);
    throw error;
  }
}

function begin(userInput) {
  hideNotice();
  page.painting?.abort();
  byId("examples").hidden = true;
  byId("result").hidden = false;
  busy(true);
  showUnfinished(userInput.trim(), userInput);
  byId("answer-note").hidden = true;
  byId("about").textContent = "";
  announce(byId("status"), "Adapting.");
}

function finish(answer, wanted) {
  const answers = new Answers(answer, wanted);
  page.answers = answers;
  page.entryId = crypto.randomUUID?.() ?? `${Date.now()} ${Math.random()}`;
  remember();
  draw({ isNew: true });
  const several = answers.versions.length > 1 ? ` The first of ${answers.versions.length} answers.` : "";
  announce(byId("status"), `Adapted: ${answers.current.text}.${several}`);
}

/** The answer before comes back into view, and what went wrong is said. */
function giveUp(error) {
  if (page.answers) {
    draw();
    if (!page.answers.current.measured) measure("");
  } else {
    byId("result").hidden = true;
    byId("examples").hidden = false;
  }
  if (error.name === "AbortError") {
    announce(byId("status"), "Stopped.");
    return;
  }
  if (!(error instanceof Failure)) {
    problem("Something went wrong in this page. Your text is safe here; reload it and try again.");
    throw error;
  }
  const control = settings.controlFor(error.param);
  if (control) settings.blame(control);
  problem(error.message, { canRetry: error.status === 0 || error.status === 429 || error.status >= 500 });
}

let stopLater = 0;

/** While an answer is being written, what belongs to the one before stands back. */
function busy(is) {
  byId("result").classList.toggle("busy", is);
  byId("result").setAttribute("aria-busy", String(is));
  byId("answers").disabled = is;
  clearTimeout(stopLater);
  if (is) stopLater = setTimeout(offerStop, STOP_AFTER_MS, true);
  else offerStop(false);
}

function offerStop(is) {
  byId("adapt").textContent = is ? STOP : "Adapt";
  byId("adapt").classList.toggle("primary", !is);
}

/** The next seed's answer. */
function another() {
  const seed = page.answers?.answer.seed;
  if (!Number.isFinite(seed)) return;
  const next = (seed + 1) % 2 ** 32;
  if (field.value.trim() !== page.answers.answer.user_input.trim()) replaceText(page.answers.answer.user_input);
  write({ seed: next });
}

// Phrases

function startAnswerKeys() {
  const answer = byId("answer");
  const phraseOf = (event) => event.target.closest?.(".phrase");
  answer.addEventListener("click", (event) => {
    const phrase = phraseOf(event);
    if (phrase) remove(phrase);
  });
  answer.addEventListener("keydown", (event) => {
    const phrase = phraseOf(event);
    if (!phrase || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...answer.querySelectorAll(".phrase")];
    const at = all.indexOf(phrase);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Delete" || event.key === "Backspace") remove(phrase);
    else if (next !== undefined) all[next]?.focus();
    else return;
    event.preventDefault();
  });
  const look = (event) => tellAbout(phraseOf(event));
  answer.addEventListener("pointerover", look);
  answer.addEventListener("focusin", look);
  answer.addEventListener("pointerleave", () => tellAbout(null));
  answer.addEventListener("focusout", () => tellAbout(null));
}

/** What is known of a phrase that is looked at; else what can be done. */
function tellAbout(phrase) {
  const current = page.answers?.current;
  if (!current || byId("result").classList.contains("busy")) return;
  const hint = current.left.length > 0 ? HINT : "";
  byId("about").textContent = phrase
    ? `${phrase.textContent} \u2013 ${about(current, Number(phrase.dataset.idx))}`
    : hint;
}

function remove(button) {
  const { current } = page.answers;
  const at = current.left.findIndex(({ idx }) => idx === Number(button.dataset.idx));
  const { phrase } = current.left[at];
  current.remove(Number(button.dataset.idx));
  changed(`Removed ${phrase}.`);
  // Focus goes to what took its place, so that one key after another works.
  const buttons = byId("answer").querySelectorAll(".phrase");
  (buttons[Math.min(at, buttons.length - 1)] ?? byId("undo")).focus();
}

function undo() {
  if (page.writing) return;
  const idx = page.answers?.current.undo();
  if (idx !== undefined) changed(`Put back ${page.answers.current.pieces.phrases[idx]}.`);
}

function redo() {
  if (page.writing) return;
  const idx = page.answers?.current.redo();
  if (idx !== undefined) changed(`Removed ${page.answers.current.pieces.phrases[idx]} again.`);
}

function undoKeys(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || !page.answers) return;
  // In a text field the keys are the browser's.
  if (event.target.closest?.("textarea, input:not([type=radio], [type=checkbox], [type=range])")) return;
  const key = event.key.toLowerCase();
  if (key === "z" && !event.shiftKey) undo();
  else if (key === "y" || (key === "z" && event.shiftKey)) redo();
  else return;
  event.preventDefault();
}

function changed(said) {
  page.painting?.abort();
  remember();
  draw();
  measure(said);
}

/** Shows the version's score, and asks for it where it is not known. */
async function measure(said) {
  page.scoring?.abort();
  const { answers } = page;
  const { current } = answers;
  if (current.measured || !current.original) {
    announce(byId("status"), `${said}${scoreInWords(current)}`);
    return;
  }
  const scoring = new AbortController();
  page.scoring = scoring;
  showFacts(answers, "\u2026");
  let state = "";
  try {
    const { additions, answered } = current.question();
    const body = { user_input: answers.answer.user_input, additions, ...answers.settings };
    answered(await rescore(body, scoring.signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Failure)) throw error;
    // The phrase is gone all the same: that the score is not known is said where it would stand.
    state = "not known";
    if (error.status === 0 && byId("problem-box").hidden) problem(error.message);
  }
  if (page.answers !== answers || answers.current !== current || page.writing) return;
  refresh();
  showFacts(answers, state);
  announce(byId("status"), `${said}${scoreInWords(current)}`);
}

function scoreInWords({ measured, original, removed }) {
  if (!measured) return "";
  const change = removed.length > 0 ? `, ${signed(measured.score - original.score)}` : "";
  return ` Score ${decimal(measured.score)}${change}.`;
}

/** The descriptions of the phrases, now that their effects are known. */
function refresh() {
  const { current } = page.answers;
  for (const button of byId("answer").querySelectorAll(".phrase")) {
    button.setAttribute("aria-description", about(current, Number(button.dataset.idx)));
    if (button.matches(":hover, :focus")) tellAbout(button);
  }
}

function choose(idx) {
  page.answers.chosen = idx;
  page.painting?.abort();
  remember();
  draw({ keepChoices: true });
  measure(`Answer ${idx + 1} of ${page.answers.versions.length}.`);
}

// Drawing

function draw({ isNew = false, keepChoices = false } = {}) {
  const { answers } = page;
  const { current } = answers;
  byId("result").hidden = false;
  byId("examples").hidden = true;
  showVersion(current, { isNew });
  if (keepChoices) updateChoice(answers);
  else showChoices(answers);
  showFacts(answers, "");
  byId("undo").setAttribute("aria-disabled", String(current.removed.length === 0));
  byId("redo").setAttribute("aria-disabled", String(current.undone.length === 0));
  byId("another").hidden = !Number.isFinite(answers.answer.seed) || answers.versions.length > 1;
  tellAbout(null);
  drawPictures();
}

function drawPictures() {
  byId("pictures").hidden = !page.hasGenerator || !page.answers;
  if (!page.painting) clearPictures();
}

// Copying

let copied = 0;

async function copy() {
  if (page.writing) return;
  const { text } = page.answers.current;
  const done = await toClipboard(text);
  const button = byId("copy");
  if (!done) {
    problem("The browser does not let this page copy. Select the text and copy it yourself.");
    return;
  }
  button.classList.add("done");
  byId("copy-label").textContent = "Copied";
  announce(byId("status"), "Copied.");
  clearTimeout(copied);
  copied = setTimeout(() => {
    button.classList.remove("done");
    byId("copy-label").textContent = "Copy";
  }, 2000);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS there is no clipboard but the old one.
    const { activeElement } = document;
    const area = make("textarea", { class: "visually-hidden", readonly: "", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    activeElement?.focus();
    return done;
  }
}

// Images

async function paint() {
  if (page.painting) {
    page.painting.abort();
    return;
  }
  if (page.writing) return;
  clearProblem();
  const painting = new AbortController();
  page.painting = painting;
  const { answer, current } = page.answers;
  const seed = current.output.seed ?? answer.seed;
  const body = { user_input: answer.user_input, prompt: current.text };
  if (Number.isFinite(seed)) body.seed = seed;
  byId("make-images-label").textContent = "Stop";
  announce(byId("status"), "Making images of both prompts.");
  try {
    await makePictures(body, painting.signal);
    announce(byId("status"), "Both images are made.");
  } catch (error) {
    if (error.name === "AbortError") clearPictures();
    else if (error instanceof Failure) problem(error.message);
    else throw error;
  } finally {
    if (page.painting === painting) page.painting = null;
    byId("make-images-label").textContent = "Make images";
  }
}

// History

function remember() {
  const { answer, settings: asked, chosen, versions } = page.answers;
  const outputs = answer.outputs.map(({ token_ids, ...output }) => output);
  const { user_input, seed, elapsed_ms, asked: wanted } = answer;
  const before = page.entries.find(({ id }) => id === page.entryId);
  page.entries = history.put(page.entries, {
    id: page.entryId,
    time: before?.time ?? Date.now(),
    answer: { user_input, outputs, seed, elapsed_ms, asked: wanted },
    settings: asked,
    chosen,
    removed: versions.map(({ removed }) => removed),
  });
  history.save(page.entries);
  drawHistory();
}

function drawHistory() {
  byId("history").hidden = page.entries.length === 0;
  byId("history-list").replaceChildren(
    ...page.entries.map((entry) => {
      const button = make(
        "button",
        { type: "button", class: "entry" },
        make("span", { class: "entry-input" }, entry.answer.user_input),
        make("span", { class: "entry-text" }, textOf(entry)),
      );
      if (entry.id === page.entryId) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => reopen(entry.id));
      const time = make("time", { datetime: new Date(entry.time).toISOString() }, when(entry.time));
      return make("li", {}, button, time);
    }),
  );
}

function textOf(entry) {
  return new Answers(entry.answer, entry.settings, entry).current.text;
}

function reopen(id) {
  const entry = page.entries.find((entry) => entry.id === id);
  if (!entry) return;
  page.writing?.abort();
  page.writing = null;
  page.painting?.abort();
  busy(false);
  clearProblem();
  replaceText(entry.answer.user_input);
  page.answers = new Answers(entry.answer, entry.settings, entry);
  page.entryId = entry.id;
  draw();
  drawHistory();
  const title = byId("result-title");
  title.focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "nearest" });
  if (!page.answers.current.measured) measure("");
}

function clearHistory() {
  const { entries } = page;
  page.entries = [];
  history.save([]);
  drawHistory();
  notice("The history is cleared.", "Put it back", () => {
    page.entries = [...page.entries, ...entries];
    history.save(page.entries);
    drawHistory();
    byId("history-title").focus();
  });
  byId("notice-action").focus();
}

function when(time) {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleDateString([], { day: "numeric", month: "short" });
}

// The text in the field

function saveDraft() {
  history.saveDraft({ text: field.value, settings: settings.remember() });
}

/** Puts a text in the field. What it takes the place of, unless the history has it, can be had back. */
function replaceText(text) {
  const before = field.value;
  field.value = text;
  saveDraft();
  const isKept = page.entries.some(({ answer }) => answer.user_input === before) || EXAMPLES.includes(before);
  if (before.trim() === "" || before === text || isKept) return;
  // After what follows here, which hides older notices.
  setTimeout(() => notice("Your text was replaced.", "Put it back", () => {
    field.value = before;
    saveDraft();
    field.focus();
  }));
}

// Problems and notices

function problem(text, { canRetry = false } = {}) {
  byId("problem").textContent = text;
  byId("problem-box").hidden = false;
  byId("retry").hidden = !canRetry;
  announce(byId("alert"), text);
}

function clearProblem() {
  byId("problem-box").hidden = true;
  byId("problem").textContent = "";
  byId("alert").replaceChildren();
  for (const control of document.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
}

function notice(text, action, takeBack) {
  byId("notice").textContent = text;
  byId("notice-action").textContent = action;
  byId("notice-box").hidden = false;
  page.takeBack = takeBack;
  announce(byId("status"), `${text} ${action}?`);
}

function hideNotice() {
  byId("notice-box").hidden = true;
}
