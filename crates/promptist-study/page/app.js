// The raters' page: link, consent, one question after the other, thanks.
//
// What is on the screen follows from the server's last word alone (`stand`). An answer is on its way until the
// server says that it has it; the page says so, sends it again as often as it takes, under one nonce, and goes
// on only then. So the page can be closed at any time, and the same link goes on where it stopped.

import { Refusal, ask, nonce } from "./api.js";
import { Watch, preload, showImages } from "./question.js";
import { Trouble } from "./trouble.js";
import { closeZoom } from "./zoom.js";

const byId = (id) => document.getElementById(id);
const SCREENS = ["welcome", "rating", "done", "withdrawn", "no-link"];
const CHOICES = { a: byId("choose-a"), b: byId("choose-b"), tie: byId("choose-tie") };
const KEYS = { ArrowLeft: "a", ArrowRight: "b", ArrowDown: "tie", t: "tie", T: "tie" };
/** A key that is still on its way up from the last question does not answer the next. */
const SETTLE_MS = 250;

const watch = new Watch();
let token = new URLSearchParams(location.search).get("rater");
/** The study's texts. */
let study = null;
/** Where the rater stands: the server's last word. */
let stand = null;
/** The question in view, or null. */
let shown = null;
/** Whether an answer is taken now. */
let isReady = false;
/** What this browser's wish to join is called, once it is sent. */
let enrolment = null;
/** Counts the questions shown, so that what was begun for one does not end in another. */
let turn = 0;

start();

async function start() {
  study = await asking("api/study");
  document.title = study.title;
  byId("title").textContent = study.title;
  byId("question").textContent = study.question;
  paragraphs(byId("instructions"), study.instructions);
  paragraphs(byId("consent"), study.consent);
  for (const id of ["tie-key", "choose-tie"]) byId(id).hidden = !study.ties;
  document.querySelector(".answers").classList.toggle("no-ties", !study.ties);
  byId("own-link").hidden = Boolean(token) || !study.is_open;
  listen();
  if (token) await look();
  else if (study.is_open) screen("welcome");
  else screen("no-link");
}

function listen() {
  byId("start").addEventListener("click", begin);
  for (const [choice, button] of Object.entries(CHOICES)) button.addEventListener("click", () => answer(choice));
  byId("change").addEventListener("click", change);
  byId("done-change").addEventListener("click", change);
  byId("keep").addEventListener("click", draw);
  for (const id of ["withdraw", "done-withdraw"]) byId(id).addEventListener("click", () => byId("sure").showModal());
  byId("sure-no").addEventListener("click", () => byId("sure").close());
  byId("sure-yes").addEventListener("click", withdraw);
  document.addEventListener("keydown", (event) => {
    // A key that is held answers one question: not the next as well.
    if (event.repeat && Object.values(CHOICES).includes(event.target.closest("button"))) event.preventDefault();
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.shiftKey && event.key !== "T") return;
    if (byId("rating").hidden || document.querySelector("dialog[open]")) return;
    // Whoever reads on with the arrow has not answered.
    if (event.key === "ArrowDown" && canScroll(event.target)) return;
    if (event.key in KEYS && (KEYS[event.key] !== "tie" || study.ties)) answer(KEYS[event.key]);
    else if (event.key === "Backspace" && !byId("change").hidden) change();
    else if (event.key === "Escape" && !byId("keep").hidden) draw();
    else return;
    event.preventDefault();
  });
}

/** Whether an arrow down would move something: the element, what is around it, or the page. */
function canScroll(element) {
  for (let box = element; box instanceof Element; box = box.parentElement) {
    const isPage = box === document.scrollingElement;
    const scrolls = isPage || ["auto", "scroll"].includes(getComputedStyle(box).overflowY);
    if (scrolls && box.scrollHeight > box.clientHeight + 1) return true;
  }
  return false;
}

/** Asks, and tells of trouble and of its end. */
async function asking(path, body, unsaved = false) {
  const said = unsaved
    ? "Your answer is not saved yet: the server cannot be reached. Trying again; leave this page open."
    : "The server cannot be reached. Trying again.";
  const trouble = new Trouble(said);
  try {
    return await ask(path, { token, body, onTrouble: () => trouble.show() });
  } finally {
    trouble.end("The server is back.");
  }
}

/** Where the rater stands, by the server. */
async function look() {
  try {
    stand = await asking("api/rater");
    draw();
  } catch (error) {
    refused(error);
  }
}

async function begin() {
  const button = byId("start");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    if (!token) {
      // Under one name: what is asked again because the answer was lost takes no second place.
      enrolment ??= nonce();
      token = (await asking("api/enrol", { nonce: enrolment })).rater;
      // The link that goes on from here, kept where links are kept.
      const url = new URL(location.href);
      url.searchParams.set("rater", token);
      history.replaceState(null, "", url);
    }
    stand = await asking("api/consent", {});
    draw();
  } catch (error) {
    refused(error);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

function refused(error) {
  if (!(error instanceof Refusal)) throw error;
  if (error.status === 410) {
    look();
    return;
  }
  if (error.status === 403) byId("no-link-reason").textContent = `Sorry: ${error.message}.`;
  screen("no-link");
}

/** The screen that the server's last word asks for. */
function draw() {
  closeZoom();
  if (stand.state === "invited") screen("welcome");
  else if (stand.state === "withdrawn") {
    byId("withdrawn-count").textContent = deletedText(stand.deleted);
    screen("withdrawn");
  } else if (stand.next.length === 0) {
    byId("done-count").textContent = `All ${stand.total} of your answers are saved.`;
    byId("done-change").hidden = !stand.last;
    shown = null;
    screen("done");
  } else show(stand.next[0], false);
}

function deletedText(count) {
  const answers = count === 1 ? "Your answer was" : `Your ${count} answers were`;
  return count === 0 ? "There were no answers to delete." : `${answers} deleted.`;
}

async function show(question, isChange) {
  turn += 1;
  const mine = turn;
  shown = { question, isChange };
  ready(false);
  const number = question.place + 1;
  byId("bar").max = stand.total;
  byId("bar").value = stand.answered;
  byId("count").textContent = `${number} of ${stand.total}`;
  byId("request").textContent = question.user_input;
  byId("change").hidden = isChange || !stand.last;
  byId("keep").hidden = !isChange;
  const before = isChange ? question.answer.choice : null;
  for (const [choice, button] of Object.entries(CHOICES)) {
    if (isChange) button.setAttribute("aria-pressed", String(choice === before));
    else button.removeAttribute("aria-pressed");
  }
  byId("side-a").classList.toggle("chosen", before === "a");
  byId("side-b").classList.toggle("chosen", before === "b");
  screen("rating");
  announce(`${isChange ? "Changing question" : "Question"} ${number} of ${stand.total}. Request: ${question.user_input}.`);
  const trouble = new Trouble("An image does not come. Trying again; leave this page open.");
  await showImages(question, { isWanted: () => mine === turn, onTrouble: () => trouble.show() });
  trouble.end("The images are here.");
  if (mine !== turn) return;
  preload(stand.next);
  watch.start();
  await new Promise((done) => setTimeout(done, SETTLE_MS));
  if (mine === turn) ready(true);
}

function ready(is) {
  isReady = is;
  for (const button of Object.values(CHOICES)) button.setAttribute("aria-disabled", String(!is));
}

async function answer(choice) {
  if (!isReady) return;
  const millis = watch.millis;
  ready(false);
  turn += 1;
  const mine = turn;
  const { question, isChange } = shown;
  byId("side-a").classList.toggle("chosen", choice === "a");
  byId("side-b").classList.toggle("chosen", choice === "b");
  byId("change").hidden = true;
  byId("keep").hidden = true;
  byId("saved").textContent = "Saving\u2026";
  const revision = isChange ? question.answer.revision + 1 : 0;
  try {
    const now = await asking("api/votes", { question: question.id, choice, nonce: nonce(), revision, millis }, true);
    // The rater has withdrawn meanwhile.
    if (mine !== turn) return;
    stand = now;
    byId("saved").textContent = `${stand.answered} saved`;
    draw();
  } catch (error) {
    byId("saved").textContent = "";
    if (mine !== turn) return;
    // Answered elsewhere, in another window with the same link: go on from there.
    if (error instanceof Refusal && (error.status === 409 || error.status === 404)) await look();
    else refused(error);
  }
}

function change() {
  if (stand.last) show(stand.last, true);
}

async function withdraw() {
  byId("sure").close();
  turn += 1;
  ready(false);
  try {
    const { deleted } = await asking("api/withdraw", {});
    stand = { state: "withdrawn", deleted };
    draw();
  } catch (error) {
    refused(error);
  }
}

function screen(name) {
  const isNew = byId(name).hidden;
  for (const id of SCREENS) byId(id).hidden = id !== name;
  if (!isNew) return;
  window.scrollTo(0, 0);
  byId(name).querySelector("[tabindex='-1']")?.focus({ preventScroll: true });
}

function announce(text) {
  byId("status").textContent = text;
}

function paragraphs(element, text) {
  const parts = text.split(/\n\s*\n/u).map((part) => part.trim()).filter(Boolean);
  element.replaceChildren(...parts.map((part) => {
    const paragraph = document.createElement("p");
    paragraph.textContent = part;
    return paragraph;
  }));
}
