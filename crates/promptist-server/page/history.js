// What was adapted before, and what is being typed: in this browser's localStorage, and nowhere else.
//
// Storage can be absent, full or hold anything. Then the page works on, and forgets.

const HISTORY = "promptist.history";
const DRAFT = "promptist.draft";
const MOST = 50;

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {number} time milliseconds since 1970
 * @property {object} answer the object of `/v1/adapt`, as much of it as is drawn
 * @property {object} settings what it was asked with
 * @property {number} chosen the answer that is looked at
 * @property {number[][]} removed for each answer, the phrases that were removed, in their order
 */

/** @returns {Entry[]} newest first */
export function load() {
  const entries = read(HISTORY);
  return Array.isArray(entries) ? entries.filter(isEntry).slice(0, MOST) : [];
}

/**
 * Puts an entry in front, in place of the one of the same id.
 *
 * @param {Entry[]} entries
 * @param {Entry} entry
 * @returns {Entry[]}
 */
export function put(entries, entry) {
  const at = entries.findIndex(({ id }) => id === entry.id);
  return at < 0 ? [entry, ...entries].slice(0, MOST) : entries.with(at, entry);
}

/** @param {Entry[]} entries */
export function save(entries) {
  // When there is no room, the oldest go first.
  for (let keep = entries.length; keep > 0; keep = Math.floor(keep / 2)) {
    if (write(HISTORY, entries.slice(0, keep))) return;
  }
  erase(HISTORY);
}

/** @returns {{ text?: unknown, settings?: unknown }} */
export function loadDraft() {
  const draft = read(DRAFT);
  return draft !== null && typeof draft === "object" ? draft : {};
}

export function saveDraft(draft) {
  write(DRAFT, draft);
}

function isEntry(entry) {
  return (
    typeof entry?.id === "string" &&
    Number.isFinite(entry.time) &&
    typeof entry.answer?.user_input === "string" &&
    Array.isArray(entry.answer.outputs) &&
    entry.answer.outputs.length > 0 &&
    entry.answer.outputs.every((output) => typeof output?.text === "string") &&
    Array.isArray(entry.removed)
  );
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function erase(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // There is nothing to erase it from.
  }
}
