// Images of both prompts, side by side, as the server makes them.

import { images } from "./api.js";
import { byId } from "./dom.js";

const SIDES = ["user_input", "prompt"];
// A picture comes in the event itself; an address of anywhere else is not ours to open.
const PICTURE = /^data:image\/(?:png|jpeg|webp);base64,/u;

/**
 * Makes both images.
 *
 * @param {{ user_input: string, prompt: string, seed?: number }} body
 * @param {AbortSignal} signal
 * @throws what `images` throws, with what was made by then in view
 */
export async function makePictures(body, signal) {
  for (const side of SIDES) reset(side, body[side]);
  byId("pair").hidden = false;
  try {
    await images(body, show, signal);
  } finally {
    for (const side of SIDES) of(side).progress.hidden = true;
  }
}

/** Takes away the images of an answer that is no longer in view. */
export function clearPictures() {
  byId("pair").hidden = true;
  for (const side of SIDES) reset(side, "");
}

function show(event, data) {
  if (!SIDES.includes(data.which)) return;
  const { image, progress, scores } = of(data.which);
  if (event === "progress") {
    progress.max = Math.max(1, Number(data.of) || 1);
    progress.value = Number(data.done) || 0;
  } else if (event === "image" && PICTURE.test(data.src)) {
    image.src = data.src;
    image.hidden = false;
    progress.hidden = true;
    scores.textContent = inWords(data.scores);
  }
}

function inWords(scores) {
  const parts = [];
  if (Number.isFinite(scores?.aesthetic)) parts.push(`aesthetic ${scores.aesthetic.toFixed(2)}`);
  if (Number.isFinite(scores?.clip)) parts.push(`CLIP ${scores.clip.toFixed(3)}`);
  return parts.join(", ");
}

function reset(side, prompt) {
  const { image, progress, scores } = of(side);
  image.hidden = true;
  image.removeAttribute("src");
  image.alt = prompt;
  progress.hidden = false;
  // Without a value: not every image model says how far it is.
  progress.removeAttribute("value");
  scores.textContent = "";
}

function of(side) {
  const figure = byId(`figure-${side}`);
  return {
    image: figure.querySelector("img"),
    progress: figure.querySelector("progress"),
    scores: figure.querySelector(".scores"),
  };
}
