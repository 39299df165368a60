// The raters' page of `promptist study serve`: five raters at once while the server is killed, resuming, changing
// an answer, withdrawing, keys and touch, axe.

import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { SYSTEMS, Study } from "./study-server.js";

const [FIRST, SECOND] = Object.keys(SYSTEMS);
const RATERS = 5;
const QUESTIONS = 100;
/** No repeats, no checks; and a driven rater is faster than one who looks. */
const PLAIN = "[raters]\nrepeats = 0.0\n[checks]\nnoise = 0\nunrelated = 0\n[exclude]\nmin_median_secs = 0.0\n";

/** A page that fails its test when the console has an error, or a request goes anywhere else. */
function watch(page, { allowed = [] } = {}) {
  const wrong = [];
  page.on("console", (message) => {
    const text = message.text();
    if (["error", "warning"].includes(message.type()) && !allowed.some((pattern) => pattern.test(text))) wrong.push(text);
  });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("request", (request) => {
    if (new URL(request.url()).hostname !== "127.0.0.1") wrong.push(`a request to ${request.url()}`);
  });
  return wrong;
}

/** Runs `body` with a study that is served, and takes it away again. */
async function withStudy(options, body) {
  const study = new Study(options);
  try {
    await study.start();
    await body(study);
  } finally {
    await study.remove();
  }
}

async function begin(page, study, link) {
  await page.goto(study.url + link);
  await page.getByRole("button", { name: "I agree, begin" }).click();
  await ready(page);
}

/** The question in view takes an answer. */
async function ready(page) {
  await expect(page.locator("#choose-a")).toHaveAttribute("aria-disabled", "false");
}

/** Which system's image stands at A, by its colour: a rater can see no more. */
async function systemAtA(page) {
  return page.locator("#side-a img").first().evaluate((image) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [1, 1];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 1, 1, 0, 0, 1, 1);
    const [red, , blue] = context.getImageData(0, 0, 1, 1).data;
    return red > blue ? 0 : 1;
  });
}

/** Numbers between 0 and 1 that a seed repeats (mulberry32). */
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

const databases = { sqlite: "", postgres: process.env.PROMPTIST_TEST_POSTGRES ?? "" };
for (const [name, database] of Object.entries(databases)) {
  test(`five raters, 500 answers, the server killed twice: none lost, none doubled (${name})`, async ({ browser }) => {
    test.skip(name === "postgres" && database === "", "PROMPTIST_TEST_POSTGRES is not set");
    test.setTimeout(600_000);
    await withStudy({ inputs: QUESTIONS, config: PLAIN, database }, async (study) => {
      let done = 0;
      let kills = 0;
      const rate = async (link, rater) => {
        const context = await browser.newContext();
        const page = await context.newPage();
        const wrong = watch(page, { allowed: [/^Failed to load resource/u] });
        /** What the page was told is kept, by the server's own word. */
        const acknowledged = new Map();
        let troubled = 0;
        page.on("response", async (response) => {
          if (!response.url().endsWith("/api/votes") || response.status() !== 200) return;
          const { question, choice, nonce } = response.request().postDataJSON();
          const kept = await response.json().then(() => true, () => false);
          if (!kept) return;
          expect(acknowledged.get(question)?.nonce ?? nonce).toBe(nonce);
          acknowledged.set(question, { choice, nonce });
        });
        const chance = random(rater + 1);
        const chosen = [];
        await begin(page, study, link);
        for (let place = 0; place < QUESTIONS; place += 1) {
          await expect(page.locator("#count")).toHaveText(`${place + 1} of ${QUESTIONS}`, { timeout: 60_000 });
          await expect(page.locator("#choose-a")).toHaveAttribute("aria-disabled", "false", { timeout: 60_000 });
          const atA = await systemAtA(page);
          // The second system is preferred six times in ten.
          const wanted = chance() < 0.6 ? 1 : 0;
          const choice = wanted === atA ? "a" : "b";
          await page.keyboard.press(choice === "a" ? "ArrowLeft" : "ArrowRight");
          chosen.push(choice);
          if (await page.locator("#trouble").isVisible()) troubled += 1;
          done += 1;
        }
        await expect(page.getByRole("heading", { name: "Thank you" })).toBeVisible({ timeout: 60_000 });
        await expect(page.locator("#done-count")).toHaveText(`All ${QUESTIONS} of your answers are saved.`);
        expect(wrong).toEqual([]);
        await context.close();
        return { chosen, acknowledged, troubled };
      };
      const raters = Promise.all(study.invite(RATERS).map(rate));
      const killing = (async () => {
        for (const part of [1, 2]) {
          while (done < (RATERS * QUESTIONS * part) / 3) await new Promise((later) => setTimeout(later, 20));
          await study.kill();
          kills += 1;
          // Long enough for pages to find it gone.
          await new Promise((later) => setTimeout(later, 1000));
          await study.start();
        }
      })();
      const [results] = await Promise.all([raters, killing]);
      expect(kills).toBe(2);

      const answers = study.answers();
      expect(answers.length).toBe(RATERS * QUESTIONS);
      results.forEach(({ chosen, acknowledged }, rater) => {
        // What each page sent, was told is kept, and what the database has: the same, once, in order.
        expect(acknowledged.size).toBe(QUESTIONS);
        expect([...acknowledged.values()].map(({ choice }) => choice)).toEqual(chosen);
        const kept = answers.filter((answer) => answer.rater === rater + 1);
        expect(kept.map(({ choice }) => choice)).toEqual(chosen);
        expect(kept.map(({ place }) => place)).toEqual(chosen.map((_, place) => place));
      });

      const report = study.report();
      const [side] = report.sides;
      expect([side.first_at_a, side.first_at_b]).toEqual([250, 250]);
      const [pair] = report.results.pairs;
      expect([pair.first, pair.second, pair.ties]).toEqual([FIRST, SECOND, 0]);
      for (const { low, high } of [pair.preference, pair.preference_wilson]) {
        expect(low).toBeLessThanOrEqual(0.4);
        expect(high).toBeGreaterThanOrEqual(0.4);
      }
      test.info().annotations.push({ type: "measured", description: JSON.stringify({ pair, troubled: results.map(({ troubled }) => troubled) }) });
    });
  });
}

test("reading on with the arrow is no answer, and a key that is held answers once", async ({ page }) => {
  const requests = Array.from({ length: 4 }, (_, at) => `${at}: ${"a cat on a mat in a house on a hill ".repeat(60)}`);
  await withStudy({ inputs: 4, requests, config: PLAIN }, async (study) => {
    const wrong = watch(page);
    const [link] = study.invite(1);
    await begin(page, study, link);
    await page.locator("#request").focus();
    await page.keyboard.press("ArrowDown");
    await expect.poll(() => page.locator("#request").evaluate((request) => request.scrollTop)).toBeGreaterThan(0);
    await expect(page.locator("#count")).toHaveText("1 of 4");
    await page.keyboard.press("t");
    await expect(page.locator("#count")).toHaveText("2 of 4");
    await ready(page);
    await page.locator("#choose-a").focus();
    await page.keyboard.down("Enter");
    await expect(page.locator("#count")).toHaveText("3 of 4");
    await ready(page);
    // Pressed again while it is down: what a keyboard sends of a key that is held.
    await page.keyboard.down("Enter");
    await page.keyboard.down("Enter");
    await page.keyboard.up("Enter");
    await page.waitForTimeout(500);
    await expect(page.locator("#count")).toHaveText("3 of 4");
    expect(study.answers().map(({ choice }) => choice)).toEqual(["tie", "a"]);
    expect(wrong).toEqual([]);
  });
});

test("an image that does not come is told of, and asked for again", async ({ page }) => {
  await withStudy({ inputs: 2, config: PLAIN }, async (study) => {
    const [link] = study.invite(1);
    await page.route("**/image/**", (route) => route.abort());
    await page.goto(study.url + link);
    await page.getByRole("button", { name: "I agree, begin" }).click();
    await expect(page.locator("#trouble")).toHaveText(/An image does not come/u);
    await expect(page.locator("#choose-a")).toHaveAttribute("aria-disabled", "true");
    await page.unroute("**/image/**");
    await ready(page);
    await expect(page.locator("#trouble")).toBeHidden();
  });
});

test("a link goes on where it stopped, and an answer can be changed until the next", async ({ page }) => {
  await withStudy({ inputs: 3, config: PLAIN }, async (study) => {
    const wrong = watch(page);
    const [link] = study.invite(1);
    await begin(page, study, link);
    await expect(page.getByRole("button", { name: "Change my last answer" })).toBeHidden();
    await page.keyboard.press("ArrowRight");
    await expect(page.locator("#count")).toHaveText("2 of 3");
    const request = await page.locator("#request").textContent();
    await page.reload();
    await ready(page);
    await expect(page.locator("#count")).toHaveText("2 of 3");
    await expect(page.locator("#request")).toHaveText(request);

    await page.keyboard.press("Backspace");
    await expect(page.locator("#count")).toHaveText("1 of 3");
    await expect(page.locator("#choose-b")).toHaveAttribute("aria-pressed", "true");
    await ready(page);
    // Left as it is.
    await page.keyboard.press("Escape");
    await expect(page.locator("#count")).toHaveText("2 of 3");
    expect(study.answers().map(({ choice, changes }) => [choice, changes])).toEqual([["b", 0]]);
    await ready(page);
    await page.getByRole("button", { name: "Change my last answer" }).click();
    await ready(page);
    await page.keyboard.press("ArrowDown");
    await expect(page.locator("#count")).toHaveText("2 of 3");
    expect(study.answers().map(({ choice, changes }) => [choice, changes])).toEqual([["tie", 1]]);

    await ready(page);
    await page.keyboard.press("ArrowLeft");
    await expect(page.locator("#count")).toHaveText("3 of 3");
    await ready(page);
    await page.keyboard.press("ArrowLeft");
    await expect(page.getByRole("heading", { name: "Thank you" })).toBeVisible();
    await page.getByRole("button", { name: "Change my last answer" }).click();
    await ready(page);
    await page.getByRole("button", { name: "B", exact: true }).click();
    await expect(page.getByRole("heading", { name: "Thank you" })).toBeVisible();
    expect(study.answers().map(({ choice }) => choice)).toEqual(["tie", "a", "b"]);
    expect(wrong).toEqual([]);
  });
});

test("an answer that was not acknowledged is said to be unsaved, and sent again", async ({ page }) => {
  await withStudy({ inputs: 3, config: PLAIN }, async (study) => {
    watch(page);
    await begin(page, study, study.invite(1)[0]);
    // The server keeps the answer, but its word gets lost on the way.
    let lost = 0;
    await page.route("**/api/votes", async (route) => {
      if (lost >= 2) return route.continue();
      lost += 1;
      await route.fetch();
      return route.abort();
    });
    await page.keyboard.press("ArrowLeft");
    await expect(page.locator("#trouble")).toContainText("not saved yet");
    await expect(page.locator("#count")).toHaveText("2 of 3");
    await expect(page.locator("#trouble")).toBeHidden();
    expect(lost).toBe(2);
    expect(study.answers().map(({ choice, changes }) => [choice, changes])).toEqual([["a", 0]]);
  });
});

test("two windows with one link agree on what is answered", async ({ context }) => {
  await withStudy({ inputs: 3, config: PLAIN }, async (study) => {
    const [link] = study.invite(1);
    const [first, second] = [await context.newPage(), await context.newPage()];
    await begin(first, study, link);
    await second.goto(study.url + link);
    await ready(second);
    await first.bringToFront();
    await first.keyboard.press("ArrowLeft");
    await expect(first.locator("#count")).toHaveText("2 of 3");
    await second.bringToFront();
    await second.keyboard.press("ArrowRight");
    await expect(second.locator("#count")).toHaveText("2 of 3");
    expect(study.answers().map(({ choice }) => choice)).toEqual(["a"]);
  });
});

test("who withdraws is told that the answers are deleted", async ({ page }) => {
  await withStudy({ inputs: 3, config: PLAIN }, async (study) => {
    const wrong = watch(page);
    const [link] = study.invite(1);
    await begin(page, study, link);
    await page.keyboard.press("ArrowLeft");
    await expect(page.locator("#count")).toHaveText("2 of 3");
    await page.getByRole("button", { name: "Withdraw", exact: true }).click();
    await page.getByRole("button", { name: "Go on with the study" }).click();
    await ready(page);
    await page.getByRole("button", { name: "Withdraw", exact: true }).click();
    await page.getByRole("button", { name: "Withdraw, delete my answers" }).click();
    await expect(page.getByRole("heading", { name: "You have withdrawn" })).toBeVisible();
    await expect(page.locator("#withdrawn-count")).toHaveText("Your answer was deleted.");
    expect(study.answers()).toEqual([]);
    await page.reload();
    await expect(page.getByRole("heading", { name: "You have withdrawn" })).toBeVisible();
    expect(wrong).toEqual([]);
  });
});

test("open enrolment puts the link where it can be kept", async ({ page }) => {
  await withStudy({ inputs: 2, config: '[raters]\nenrolment = "open"\nmax = 1\nrepeats = 0.0\n[checks]\nnoise = 0\nunrelated = 0\n' }, async (study) => {
    await page.goto(study.url);
    await page.getByRole("button", { name: "I agree, begin" }).click();
    await ready(page);
    expect(page.url()).toMatch(/\?rater=[0-9a-f]{32}$/u);
    const other = await page.context().newPage();
    await other.goto(study.url);
    await other.getByRole("button", { name: "I agree, begin" }).click();
    await expect(other.locator("#no-link-reason")).toContainText("all the raters that it takes");
  });
});

test("without a link there is a word why", async ({ page }) => {
  await withStudy({ inputs: 2, config: PLAIN }, async (study) => {
    await page.goto(study.url);
    await expect(page.getByRole("heading", { name: "This study needs a link" })).toBeVisible();
    await page.goto(`${study.url}/?rater=nobody`);
    await expect(page.getByRole("heading", { name: "This study needs a link" })).toBeVisible();
  });
});

test("an image gets larger when it is pressed, and its counterpart is a key away", async ({ page }) => {
  await withStudy({ inputs: 2, perSide: 2, config: PLAIN }, async (study) => {
    const wrong = watch(page);
    await begin(page, study, study.invite(1)[0]);
    await page.getByRole("button", { name: "A, image 2 of 2. Enlarge" }).click();
    await expect(page.locator("#zoom-name")).toHaveText("A, image 2 of 2");
    await page.keyboard.press("ArrowRight");
    await expect(page.locator("#zoom-name")).toHaveText("B, image 2 of 2");
    await page.keyboard.press("Escape");
    await expect(page.locator("#zoom")).toBeHidden();
    // Keys that were the enlarged image's answered nothing.
    await expect(page.locator("#count")).toHaveText("1 of 2");
    expect(study.answers()).toEqual([]);
    expect(wrong).toEqual([]);
  });
});

const SCREENS = { desktop: { width: 1280, height: 860 }, phone: { width: 390, height: 844 }, small: { width: 320, height: 568 } };
for (const colorScheme of ["light", "dark"]) {
  for (const [name, viewport] of Object.entries(SCREENS)) {
    test(`axe finds nothing grave, nothing is cut off: ${name}, ${colorScheme}`, async ({ browser }) => {
      await withStudy({ inputs: 3, perSide: 2, config: PLAIN, requests: Array(3).fill(`a lighthouse ${"on a very high cliff ".repeat(8)}`) }, async (study) => {
        const context = await browser.newContext({ viewport, colorScheme, hasTouch: name !== "desktop", isMobile: name !== "desktop", reducedMotion: "reduce" });
        const page = await context.newPage();
        const wrong = watch(page);
        const check = async () => {
          const { violations } = await new AxeBuilder({ page }).analyze();
          const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
          expect(grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("; ")}`)).toEqual([]);
          expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(viewport.width);
          for (const button of await page.locator("button:visible").all()) {
            const { width, height } = await button.boundingBox();
            expect(Math.min(width, height)).toBeGreaterThanOrEqual(24);
          }
        };
        await page.goto(study.url + study.invite(1)[0]);
        await expect(page.getByRole("button", { name: "I agree, begin" })).toBeVisible();
        await check();
        await page.getByRole("button", { name: "I agree, begin" }).click();
        await ready(page);
        await check();
        // Images, question and answers are in view together.
        for (const id of ["side-a", "side-b", "choose-a", "choose-b"]) await expect(page.locator(`#${id}`)).toBeInViewport({ ratio: 1 });
        await page.locator("#side-a .picture").first().click();
        await check();
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: "No difference" }).click();
        await expect(page.locator("#count")).toHaveText("2 of 3");
        await ready(page);
        await page.getByRole("button", { name: "Withdraw", exact: true }).click();
        await check();
        expect(wrong).toEqual([]);
        await context.close();
      });
    });
  }
}
