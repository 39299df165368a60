// The answers to one input: which is looked at, what was removed from each, what that does to the score.
//
// `Answers` holds the state and knows no document; `show*` below draw it.

import { byId, icon, make } from "./dom.js";
import { join, remaining, split, splitUnfinished } from "./phrases.js";

export class Answers {
  /**
   * @param {object} answer the object of `/v1/adapt`
   * @param {object} settings what it was asked with
   * @param {{ chosen?: number, removed?: number[][] }} [seen] how it was left
   */
  constructor(answer, settings, { chosen = 0, removed = [] } = {}) {
    this.answer = answer;
    this.settings = settings;
    this.versions = answer.outputs.map((output, idx) => new Version(output, answer.user_input, removed[idx]));
    this.chosen = chosen in this.versions ? chosen : 0;
  }

  /** @returns {Version} */
  get current() {
    return this.versions[this.chosen];
  }
}

/** One answer, as far as its phrases were not removed. */
export class Version {
  /** Scores by what is removed: the first is the server's own. */
  #measured = new Map();

  constructor(output, userInput, removed) {
    this.output = output;
    const explained = Array.isArray(output.phrases) ? output.phrases : [];
    this.pieces = split(output.text, userInput, explained.map(({ phrase }) => phrase));
    const count = this.pieces.phrases.length;
    /** Phrases that were removed, the latest last. */
    this.removed = Array.isArray(removed) ? removed.filter((idx, at) => idx in this.pieces.phrases && removed.indexOf(idx) === at) : [];
    /** What undo put back, the latest last. */
    this.undone = [];
    if (count > 0) {
      const { effect, score_without } = explained[0];
      const effects = new Map(explained.map(({ effect }, idx) => [idx, effect]));
      this.#measured.set("", { score: effect + score_without, effects });
    }
  }

  get text() {
    return join(this.pieces, new Set(this.removed));
  }

  /** The phrases that are left: see `remaining`. */
  get left() {
    return remaining(this.pieces, new Set(this.removed));
  }

  category(idx) {
    return String(this.output.phrases[idx].category ?? "");
  }

  remove(idx) {
    this.removed.push(idx);
    this.undone = [];
  }

  /** @returns {number | undefined} the phrase that is back */
  undo() {
    const idx = this.removed.pop();
    if (idx !== undefined) this.undone.push(idx);
    return idx;
  }

  /** @returns {number | undefined} the phrase that is gone again */
  redo() {
    const idx = this.undone.pop();
    if (idx !== undefined) this.removed.push(idx);
    return idx;
  }

  /** What is known of the version as it stands; none while the server was not asked. */
  get measured() {
    return this.#measured.get(this.#key()) ?? null;
  }

  /** What is known of the answer as it came. */
  get original() {
    return this.#measured.get("") ?? null;
  }

  /**
   * The lists of phrases whose scores tell the version's score and the effect of each phrase in it, and
   * what to do with those scores.
   */
  question() {
    const left = this.left;
    const phrases = left.map(({ phrase }) => phrase);
    const key = this.#key();
    const additions = [phrases, ...phrases.map((_, at) => phrases.toSpliced(at, 1))];
    const answered = ([score, ...without]) => {
      this.#measured.set(key, { score, effects: new Map(left.map(({ idx }, at) => [idx, score - without[at]])) });
    };
    return { additions, answered };
  }

  #key() {
    return this.removed.toSorted((a, b) => a - b).join(" ");
  }
}

/** Draws the text that is being written. */
export function showUnfinished(text, userInput) {
  const [own, added] = splitUnfinished(text, userInput);
  const children = [make("span", { class: "own" }, own)];
  if (added) children.push(make("span", { class: "forming" }, added));
  byId("answer").replaceChildren(...children, make("span", { class: "caret", "aria-hidden": "true" }));
}

/**
 * Draws the version that is looked at, each phrase a button.
 *
 * @param {Version} version
 * @param {{ isNew: boolean }} how
 */
export function showVersion(version, { isNew }) {
  const { opening, closing } = version.pieces;
  const children = [];
  if (opening) children.push(make("span", { class: "own" }, opening));
  version.left.forEach(({ idx, separator, phrase }, at) => {
    // No line may begin with the comma: it stays with what it follows.
    children.push(make("span", { class: "separator" }, separator));
    const attributes = {
      type: "button",
      class: isNew ? "phrase new" : "phrase",
      "data-idx": String(idx),
      "aria-label": `Remove ${phrase}`,
      "aria-description": about(version, idx),
    };
    const button = make("button", attributes, make("span", { class: "phrase-text" }, phrase), icon("cross"));
    if (isNew) button.style.setProperty("--at", String(at));
    children.push(button);
  });
  if (closing) children.push(make("span", { class: "own" }, closing));
  byId("answer").replaceChildren(...children);
}

/** Draws the list to choose from; none if there is but one answer. */
export function showChoices(answers) {
  const fieldset = byId("answers");
  fieldset.hidden = answers.versions.length < 2;
  if (fieldset.hidden) {
    byId("answer-list").replaceChildren();
    return;
  }
  byId("answers-legend").textContent = `${answers.versions.length} answers, best first`;
  byId("answer-list").replaceChildren(
    ...answers.versions.map((version, idx) => {
      const radio = make("input", { type: "radio", name: "answer", value: String(idx) });
      radio.checked = idx === answers.chosen;
      return make("label", {}, radio, make("span", { class: "choice" }, version.text));
    }),
  );
}

/** The text of the chosen answer in the list, after a phrase went or came. */
export function updateChoice(answers) {
  const radio = byId("answer-list").querySelector(`[value="${answers.chosen}"]`);
  if (radio) radio.nextElementSibling.textContent = answers.current.text;
}

/** The facts below an answer. */
export function showFacts(answers, scoreState) {
  const { answer, current } = answers;
  const facts = [];
  const known = current.measured;
  if (known) {
    const score = [make("span", { class: "number" }, decimal(known.score))];
    const before = current.original;
    if (before && current.removed.length > 0) {
      const change = known.score - before.score;
      const since = `since you removed ${counted(current.removed.length, "phrase")}`;
      score.push(" ", make("span", { class: "change" }, `${isNothing(change) ? "unchanged" : signed(change)} ${since}`));
    }
    facts.push(["Score", ...score]);
  } else if (scoreState) {
    facts.push(["Score", make("span", { class: "pending" }, scoreState)]);
  }
  const tokens = current.output.rules?.tokens;
  if (tokens && current.removed.length === 0) facts.push(["Tokens", `${tokens.used} of ${tokens.budget} (${tokens.target})`]);
  const seed = current.output.seed ?? answer.seed;
  if (Number.isFinite(seed)) facts.push(["Seed", String(seed)]);
  if (Number.isFinite(answer.elapsed_ms)) facts.push(["Time", duration(answer.elapsed_ms)]);
  byId("facts").replaceChildren(
    ...facts.map(([name, ...value]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value))),
  );
  const note = notes(answers).join(" ");
  byId("answer-note").textContent = note;
  byId("answer-note").hidden = note === "";
}

/** What a phrase is, and what the model's score has of it. */
export function about(version, idx) {
  const category = version.category(idx).replaceAll("-", " ");
  const effect = version.measured?.effects.get(idx);
  if (effect === undefined) return `${category}.`;
  if (isNothing(effect)) return `${category}: makes no difference to the score.`;
  return `${category}: ${effect > 0 ? "adds" : "takes"} ${decimal(Math.abs(effect))} ${effect > 0 ? "to" : "from"} the score.`;
}

const FILTERED = {
  unsafe: "unsafe words",
  artist: "an artist's name",
  "broken-word": "a broken word",
  "repeated-phrase": "a repeated phrase",
  "unbalanced-bracket": "a phrase with half a bracket",
  "cut-phrase": "a phrase that was cut short",
};

function notes({ answer, versions, current }) {
  const said = [];
  const { filtered, restored, rules } = current.output;
  if (answer.asked > versions.length) {
    said.push(`${versions.length} of ${answer.asked}: no more answers are that far apart.`);
  }
  if (versions.every((version) => version.output.text.trim() === answer.user_input.trim())) {
    said.push("Nothing was added.");
  }
  if (filtered?.length > 0) said.push(`The filter took out ${list(filtered.map((rule) => FILTERED[rule] ?? rule))}.`);
  if (restored?.length > 0) said.push(`Put back from your text: ${list(restored)}.`);
  if (rules?.banned_in_input?.length > 0) said.push(`Your own words stay: ${list(rules.banned_in_input)}.`);
  return said;
}

export function decimal(number) {
  return number.toFixed(2).replace("-", "\u2212");
}

/** Whether a change is too small to be seen in two decimals. */
function isNothing(change) {
  return Math.abs(change) < 0.005;
}

export function signed(number) {
  return number < 0 ? decimal(number) : `+${decimal(number)}`;
}

function counted(count, noun) {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}

function duration(ms) {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function list(items) {
  return items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}
