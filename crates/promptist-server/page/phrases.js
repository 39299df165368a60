// An answer as pieces: the user's own text, and the phrases that were added to it.
//
// Nothing here touches the document or the network. Offsets are found once, when an answer comes in; from
// then on a phrase is its index, and removing one never searches the text again.

/**
 * @typedef {object} Pieces
 * @property {string} opening what stands before the first phrase: the user's text, usually
 * @property {string[]} separators separators[i] stands before the i-th phrase that is shown
 * @property {string[]} phrases the added phrases
 * @property {string} closing what stands behind the last phrase: flags and tags that belong there
 */

const BETWEEN = /^[\s,.;:!?]*/u;

/**
 * Finds the phrases of an answer in its text.
 *
 * @param {string} text the adapted prompt
 * @param {string} userInput what was typed
 * @param {string[]} phrases the added phrases, in their order
 * @returns {Pieces} joined again, they are `text`, byte for byte
 */
export function split(text, userInput, phrases) {
  const input = userInput.trim();
  if (phrases.length === 0) return { opening: text, separators: [], phrases: [], closing: "" };
  // The user's text opens the answer, whole or, with flags kept behind the phrases, up to those. A model
  // that writes all of the answer has its first phrase at the beginning.
  for (const from of [commonPrefix(text, input), 0]) {
    const found = locate(text, phrases, from);
    if (found) return found;
  }
  return { opening: text, separators: [], phrases: [], closing: "" };
}

/** @returns {Pieces | null} null unless the phrases stand one behind the other from `from` on */
function locate(text, phrases, from) {
  const separators = [];
  let opening = "";
  let at = from;
  for (const [idx, phrase] of phrases.entries()) {
    const start = at + BETWEEN.exec(text.slice(at))[0].length;
    if (!text.startsWith(phrase, start)) return null;
    if (idx === 0) {
      opening = text.slice(0, at);
      separators.push(text.slice(at, start));
    } else {
      separators.push(text.slice(at, start));
    }
    at = start + phrase.length;
  }
  return { opening, separators, phrases: [...phrases], closing: text.slice(at) };
}

function commonPrefix(a, b) {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  return length;
}

/**
 * The phrases that are left, each with what stands before it.
 *
 * The n-th phrase that is left takes the n-th separator, whichever phrase that once belonged to: so text
 * that ended with a full stop goes on with a space, and the others with a comma.
 *
 * @param {Pieces} pieces
 * @param {ReadonlySet<number>} removed
 * @returns {{ idx: number, separator: string, phrase: string }[]}
 */
export function remaining(pieces, removed) {
  const left = [];
  for (const [idx, phrase] of pieces.phrases.entries()) {
    if (!removed.has(idx)) left.push({ idx, separator: pieces.separators[left.length], phrase });
  }
  return left;
}

/**
 * The text without the phrases that were removed.
 *
 * @param {Pieces} pieces
 * @param {ReadonlySet<number>} removed
 */
export function join(pieces, removed) {
  let text = pieces.opening;
  for (const { separator, phrase } of remaining(pieces, removed)) text += separator + phrase;
  return (text + pieces.closing).trim();
}

/**
 * Splits a text that is still being written: what the user typed, and what has been added so far.
 *
 * @param {string} text
 * @param {string} userInput
 * @returns {[string, string]}
 */
export function splitUnfinished(text, userInput) {
  const input = userInput.trim();
  const at = text.startsWith(input) ? input.length : commonPrefix(text, input);
  return [text.slice(0, at), text.slice(at)];
}
