// Elements, made without markup: text goes in as text, so that nothing typed is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} id @returns {any} the element, which is in the page */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * An element with its attributes and children; strings among the children become text.
 *
 * @param {string} name
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** One of the icons at the top of the page. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** How long a message stays in a live region: long enough to be read out, short enough not to be found later. */
const SAID_MS = 6000;

/**
 * Has a live region say a text. What it was saying before is not taken back, so that two messages that come
 * together are both heard, and one that comes again is heard again.
 *
 * @param {HTMLElement} region
 * @param {string} text
 */
export function announce(region, text) {
  if (text === "") return;
  const message = make("p", {}, text);
  region.append(message);
  setTimeout(() => message.remove(), SAID_MS);
}
