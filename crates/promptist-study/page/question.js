// One question on the screen: its images, and how long they have been looked at.

import { zoom } from "./zoom.js";

const SIDES = ["side-a", "side-b"];
const RETRY_MS = 1000;
const byId = (id) => document.getElementById(id);

/** Images that are fetched before they are due; kept, so that the browser keeps them. */
const ahead = new Map();

/** Fetches the images of questions to come, and forgets those that are past. */
export function preload(questions) {
  const wanted = new Set(questions.flatMap(({ a, b }) => [...a, ...b]));
  for (const url of ahead.keys()) if (!wanted.has(url)) ahead.delete(url);
  for (const url of wanted) {
    if (ahead.has(url)) continue;
    const image = new Image();
    image.src = url;
    ahead.set(url, image);
  }
}

/**
 * Puts a question's images on the stage; done when all of them can be seen, or when the question is not wanted any more.
 *
 * @param {{ a: string[], b: string[] }} question
 * @param {{ isWanted: () => boolean, onTrouble: () => void }} how
 */
export async function showImages({ a, b }, { isWanted, onTrouble }) {
  const stage = byId("stage");
  stage.classList.add("loading");
  stage.setAttribute("aria-busy", "true");
  const sides = [a, b];
  const loading = sides.flatMap((urls, side) => {
    const pictures = urls.map((url, place) => picture(sides, side, place));
    const area = byId(SIDES[side]).querySelector(".pictures");
    area.style.setProperty("--columns", String(Math.ceil(Math.sqrt(urls.length))));
    area.style.setProperty("--columns-upright", String(urls.length > 3 ? Math.ceil(urls.length / 2) : urls.length));
    area.replaceChildren(...pictures.map(({ button }) => button));
    return pictures.map(({ image }, place) => load(image, urls[place], isWanted, onTrouble));
  });
  await Promise.all(loading);
  if (!isWanted()) return;
  stage.classList.remove("loading");
  stage.setAttribute("aria-busy", "false");
}

function picture(sides, side, place) {
  const count = sides[side].length;
  const image = new Image();
  image.alt = `${"AB"[side]}${count > 1 ? `, image ${place + 1} of ${count}` : ""}. Enlarge`;
  image.decoding = "async";
  image.draggable = false;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "picture";
  button.append(image);
  button.addEventListener("click", () => zoom(sides, side, place));
  return { button, image };
}

/** Until it is there: an image that cannot be seen cannot be compared. */
async function load(image, url, isWanted, onTrouble) {
  for (let tries = 0; isWanted(); tries += 1) {
    image.src = tries === 0 ? url : `${url}?again=${tries}`;
    try {
      await image.decode();
      return;
    } catch {
      if (!isWanted()) return;
      onTrouble();
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

/** How long the page has been in view since `start`. */
export class Watch {
  #before = 0;
  #since = null;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#pause();
      else if (this.#since === null) this.#since = performance.now();
    });
  }

  start() {
    this.#before = 0;
    this.#since = document.hidden ? null : performance.now();
  }

  get millis() {
    return Math.round(this.#before + (this.#since === null ? 0 : performance.now() - this.#since));
  }

  #pause() {
    this.#before = this.millis;
    this.#since = null;
  }
}
