// What the page does when something goes wrong, and with what should do harm.

import { FAILED_TO_LOAD, adapt, answered, expect, phrases, shown, startServer, test } from "./server.js";

test("the server stops: that is said, nothing is lost, and trying again works", async ({ page, allowed }) => {
  test.skip(Boolean(process.env.PROMPTIST_URL), "a server that is not ours is not ours to stop");
  allowed.push(FAILED_TO_LOAD, /^a request to /u);
  const first = await startServer();
  await page.goto(first.url);
  await page.locator("#user-input").fill("a lighthouse at dusk");
  await page.keyboard.press("Control+Enter");
  await answered(page);
  const before = await shown(page);
  await first.stop();

  await page.locator("#user-input").fill("a castle in the clouds");
  await page.keyboard.press("Control+Enter");
  await expect(page.locator("#problem")).toContainText("The server cannot be reached.");
  await expect(page.getByRole("alert")).toContainText("The server cannot be reached.");
  await expect(page.locator("#user-input")).toHaveValue("a castle in the clouds");
  expect(await shown(page)).toBe(before);

  // Taking out a phrase needs no server; its score does.
  await phrases(page).first().click();
  await expect(page.locator("#facts")).toContainText("not known");

  const again = await startServer({ port: Number(new URL(first.url).port) });
  try {
    await page.locator("#user-input").fill("a castle in the clouds");
    await page.getByRole("button", { name: "Try again" }).click();
    await expect(page.locator("#answer")).toContainText("a castle in the clouds, ");
    await expect(page.locator("#problem")).toBeHidden();
  } finally {
    await again.stop();
  }
});

for (const [status, headers, said] of [
  [429, { "Retry-After": "3" }, "The server is busy. It asks to wait 3 seconds, then try again."],
  [429, { "Retry-After": "1" }, "The server is busy. It asks to wait 1 second, then try again."],
  [504, {}, "The server ran out of time for this answer."],
  [503, {}, "The server is starting or stopping."],
  [500, {}, "Something went wrong in the server."],
]) {
  test(`${status} ${JSON.stringify(headers)} is said plainly`, async ({ page, allowed }) => {
    allowed.push(FAILED_TO_LOAD);
    await page.goto("/");
    await page.route("**/v1/adapt", (route) =>
      route.fulfill({ status, headers, json: { error: { message: "told to clients", type: "x", param: null } } }),
    );
    await page.locator("#user-input").fill("a castle");
    await page.keyboard.press("Control+Enter");
    await expect(page.getByRole("alert")).toContainText(said);
    await expect(page.locator("#user-input")).toHaveValue("a castle");
    await page.unroute("**/v1/adapt");
    await page.getByRole("button", { name: "Try again" }).click();
    await answered(page);
    await expect(page.locator("#problem")).toBeHidden();
  });
}

test("an error in the middle of a stream is an error", async ({ page }) => {
  await page.goto("/");
  const body = 'event: progress\ndata: {"text": "a castle, grand"}\n\nevent: error\ndata: {"error": {"message": "late", "type": "timeout_error", "param": null}}\n\n';
  await page.route("**/v1/adapt", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await page.locator("#user-input").fill("a castle");
  await page.keyboard.press("Control+Enter");
  await expect(page.locator("#problem")).toContainText("ran out of time");
  await expect(page.locator("#result")).toBeHidden();
});

test("a stream that breaks off is an error", async ({ page }) => {
  await page.goto("/");
  const body = 'event: progress\ndata: {"text": "a castle, grand"}\n\n';
  await page.route("**/v1/adapt", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await page.locator("#user-input").fill("a castle");
  await page.keyboard.press("Control+Enter");
  await expect(page.locator("#problem")).toContainText("The connection broke");
});

test("a setting that the server refuses is pointed at", async ({ page, allowed }) => {
  allowed.push(FAILED_TO_LOAD);
  await page.goto("/");
  await page.getByText("Style", { exact: true }).click();
  await page.locator("#ban").fill("/a[/");
  await page.getByText("Style", { exact: true }).click();
  await page.locator("#user-input").fill("a castle");
  await page.keyboard.press("Control+Enter");
  await expect(page.locator("#problem")).toContainText("The server says:");
  await expect(page.locator("#ban")).toBeVisible();
  await expect(page.locator("#ban")).toHaveAttribute("aria-invalid", "true");
});

test("a number that cannot be is said before the server is asked", async ({ page }) => {
  await page.goto("/");
  await page.locator("#n").fill("99");
  await page.locator("#user-input").fill("a castle");
  await page.keyboard.press("Control+Enter");
  await expect(page.locator("#problem")).toHaveText("Answers: 1 to 8.");
  await expect(page.locator("#n")).toBeFocused();
});

test("nothing typed, nothing asked", async ({ page }) => {
  await page.goto("/");
  await page.locator("#user-input").fill("   ");
  await page.getByRole("button", { name: "Adapt", exact: true }).click();
  await expect(page.locator("#problem")).toHaveText("Type what you want to see first.");
  await expect(page.locator("#user-input")).toBeFocused();
});

test("a slow answer can be stopped, and the one before is back", async ({ page }) => {
  await adapt(page, "a lighthouse at dusk");
  const before = await shown(page);
  await page.route("**/v1/adapt", () => {});
  await page.locator("#user-input").fill("a castle");
  await page.keyboard.press("Control+Enter");
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(page.getByRole("button", { name: "Adapt", exact: true })).toBeFocused();
  expect(await shown(page)).toBe(before);
  await expect(page.locator("#problem")).toBeHidden();
  await page.unrouteAll({ behavior: "ignoreErrors" });
});

const HARMFUL = `<script>window.harmed = 1</script><img src=x onerror="window.harmed=2"> "'&amp;`;

test("a prompt of tags is text", async ({ page }) => {
  await adapt(page, HARMFUL);
  expect((await shown(page)).startsWith(HARMFUL)).toBe(true);
  await expect(page.locator(".entry-input").first()).toHaveText(HARMFUL);
  await page.reload();
  await expect(page.locator("#user-input")).toHaveValue(HARMFUL);
  await page.locator("#history-list button").first().click();
  expect((await shown(page)).startsWith(HARMFUL)).toBe(true);
  expect(await page.locator("main script, main img[src]").count()).toBe(0);
  expect(await page.evaluate(() => window.harmed)).toBeUndefined();
});

test("so is an answer of tags", async ({ page, allowed }) => {
  allowed.push(FAILED_TO_LOAD);
  const output = (row) => ({
    text: `a castle, ${HARMFUL} ${row}`,
    score: -1,
    token_ids: [],
    finish: "eos",
    phrases: [{ phrase: `${HARMFUL} ${row}`, category: HARMFUL, effect: 1, score_without: -2 }],
    filtered: [HARMFUL],
    restored: [HARMFUL],
    rules: { bans: 0, banned_in_input: [HARMFUL], tokens: { target: HARMFUL, used: 1, budget: HARMFUL } },
  });
  await page.route("**/v1/models", (route) => route.fulfill({ json: { data: [{ id: HARMFUL, precision: HARMFUL }], generator: true } }));
  await page.route("**/v1/adapt", (route) =>
    route.fulfill({ json: { user_input: "a castle", outputs: [output(0), output(1)], seed: HARMFUL, elapsed_ms: HARMFUL } }),
  );
  await page.goto("/");
  await page.locator("#n").fill("2");
  await page.locator("#user-input").fill("a castle");
  await page.keyboard.press("Control+Enter");
  await answered(page);
  await expect(phrases(page)).toHaveText([`${HARMFUL} 0`]);
  await expect(page.locator("#answer-note")).toContainText(HARMFUL);
  await expect(page.locator("#model")).toContainText(HARMFUL);
  await phrases(page).first().hover();

  await page.unroute("**/v1/adapt");
  await page.route("**/v1/adapt", (route) => route.fulfill({ status: 422, json: { error: { message: HARMFUL, param: HARMFUL } } }));
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Adapt", exact: true }).click();
  await expect(page.locator("#problem")).toContainText(HARMFUL);
  expect(await page.locator("main script, main img[src]").count()).toBe(0);
  expect(await page.evaluate(() => window.harmed)).toBeUndefined();
});

test("whatever is in the browser's storage, the page works", async ({ page }) => {
  await page.goto("/");
  for (const value of ["{", "null", "[]", "[null, 3]", '[{"id":"x","time":1,"answer":{"user_input":"a","outputs":[{"text":"a, b","phrases":7}]},"removed":[["x"],8]}]', '{"text":{},"settings":[1]}']) {
    await page.evaluate((value) => {
      localStorage.setItem("promptist.history", value);
      localStorage.setItem("promptist.draft", value);
    }, value);
    await page.reload();
    await expect(page.locator("#model")).toBeVisible();
  }
  await adapt(page, "a lighthouse at dusk");
});

test("without storage the page works, and forgets", async ({ page }) => {
  await page.addInitScript(() => {
    Object.defineProperty(window, "localStorage", {
      get: () => {
        throw new DOMException("no", "SecurityError");
      },
    });
  });
  await adapt(page, "a lighthouse at dusk");
  await expect(page.locator("#history-list button")).toHaveCount(1);
});

test("the policy allows this page and nothing else", async ({ page, request, allowed }) => {
  const response = await request.get("/");
  expect(response.headers()["content-security-policy"]).toBe(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  );
  const html = await response.text();
  expect(html).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son\w+=/iu);
  expect(html).not.toMatch(/(?:src|href)="(?:[a-z]+:)?\/\//iu);

  allowed.push(/Content Security Policy/u);
  await page.goto("/");
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.harmed = 1";
    document.body.append(script);
  });
  expect(await page.evaluate(() => window.harmed)).toBeUndefined();
});
