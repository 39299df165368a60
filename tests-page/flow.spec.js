// What one does with the page, from the first word to the copy.

import { adapt, answered, expect, phrases, shown, test } from "./server.js";

test("the adapted prompt forms as it is written", async ({ page }) => {
  await page.goto("/");
  await page.evaluate(() => {
    globalThis.seen = [];
    new MutationObserver(() => {
      const forming = document.querySelector(".forming");
      if (forming) globalThis.seen.push(forming.textContent);
    }).observe(document.querySelector("#answer"), { childList: true });
  });
  await page.keyboard.type("a lighthouse at dusk");
  // How many pieces there are is the server's affair; on a machine that is busy all may come at once.
  await expect(async () => {
    await page.evaluate(() => globalThis.seen.splice(0));
    await page.keyboard.press("Control+Enter");
    await answered(page);
    const seen = await page.evaluate(() => globalThis.seen);
    const whole = (await phrases(page).allTextContents()).join(", ");
    expect(seen.some((text) => text.trim() !== "" && text.length < whole.length)).toBe(true);
  }).toPass();
  const text = await shown(page);
  expect(text.startsWith("a lighthouse at dusk, ")).toBe(true);
  await expect(page.locator("#status")).toContainText(`Adapted: ${text}.`);
  await expect(page.locator("#user-input")).toHaveValue("a lighthouse at dusk");
});

test("the page shows what the server answers", async ({ page, request }) => {
  await adapt(page, "a fox in the snow");
  const response = await request.post("/v1/adapt", { data: { user_input: "a fox in the snow", explain: true } });
  const [output] = (await response.json()).outputs;
  expect(await shown(page)).toBe(output.text);
  await expect(phrases(page)).toHaveText(output.phrases.map(({ phrase }) => phrase));
});

test("a phrase goes with a click, and comes back", async ({ page }) => {
  await adapt(page, "a lighthouse at dusk");
  const whole = await shown(page);
  const all = await phrases(page).allTextContents();
  const before = await page.locator("#facts .number").textContent();

  const rescored = page.waitForResponse("**/v1/rescore");
  await page.getByRole("button", { name: `Remove ${all[1]}`, exact: true }).click();
  expect((await rescored).ok()).toBe(true);
  await expect(phrases(page)).toHaveText(all.toSpliced(1, 1));
  expect(await shown(page)).toBe(whole.replace(`, ${all[1]}`, ""));
  await expect(page.locator("#facts")).toContainText("since you removed 1 phrase");
  await expect(page.locator("#status")).toContainText(`Removed ${all[1]}. Score`);
  // Focus is on what took its place.
  await expect(phrases(page).nth(1)).toBeFocused();

  await page.getByRole("button", { name: "Undo" }).click();
  expect(await shown(page)).toBe(whole);
  await expect(page.locator("#facts .number")).toHaveText(before);
  await page.getByRole("button", { name: "Redo" }).click();
  await expect(phrases(page)).toHaveText(all.toSpliced(1, 1));
});

test("the score of what is left is the server's", async ({ page, request }) => {
  await adapt(page, "a lighthouse at dusk");
  const all = await phrases(page).allTextContents();
  await phrases(page).first().click();
  await expect(page.locator("#facts")).toContainText("since you removed");
  const data = { user_input: "a lighthouse at dusk", additions: [all.slice(1)] };
  const { scores } = await (await request.post("/v1/rescore", { data })).json();
  await expect(page.locator("#facts .number")).toHaveText(scores[0].toFixed(2).replace("-", "\u2212"));
});

test("keys alone remove, undo and redo", async ({ page }) => {
  await adapt(page, "a lighthouse at dusk");
  const all = await phrases(page).allTextContents();
  await phrases(page).first().focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Delete");
  await page.keyboard.press("Backspace");
  await expect(phrases(page)).toHaveText([all[0], ...all.slice(3)]);
  await page.keyboard.press("Control+z");
  await expect(phrases(page)).toHaveText([all[0], ...all.slice(2)]);
  await page.keyboard.press("Control+Shift+z");
  await expect(phrases(page)).toHaveText([all[0], ...all.slice(3)]);
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+z");
  await expect(phrases(page)).toHaveText(all);
});

test("in the text field undo is the field's own", async ({ page }) => {
  await adapt(page, "a lighthouse at dusk");
  const all = await phrases(page).allTextContents();
  await phrases(page).first().click();
  await page.locator("#user-input").click();
  await page.keyboard.type("!");
  await page.keyboard.press("Control+z");
  await expect(page.locator("#user-input")).toHaveValue("a lighthouse at dusk");
  await expect(phrases(page)).toHaveText(all.slice(1));
});

test("every phrase can go, down to the words that were typed", async ({ page }) => {
  await adapt(page, "A cat sits.");
  const count = await phrases(page).count();
  await phrases(page).first().focus();
  for (let left = count; left > 0; left -= 1) await page.keyboard.press("Delete");
  await expect(phrases(page)).toHaveCount(0);
  expect(await shown(page)).toBe("A cat sits.");
  await expect(page.getByRole("button", { name: "Undo" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(phrases(page)).toHaveCount(1);
});

test("several answers, each with what was taken from it", async ({ page }) => {
  await adapt(page, "a lighthouse at dusk", { settings: () => page.locator("#n").fill("3") });
  const answers = page.getByRole("radio", { name: /^a lighthouse at dusk, / });
  await expect(answers).toHaveCount(3);
  const first = await shown(page);
  await phrases(page).first().click();
  const changed = await shown(page);
  expect(changed).not.toBe(first);

  await answers.nth(0).focus();
  await page.keyboard.press("ArrowDown");
  await expect(answers.nth(1)).toBeChecked();
  await expect(answers.nth(1)).toBeFocused();
  expect(await shown(page)).not.toBe(changed);
  await expect(page.getByRole("button", { name: "Undo" })).toHaveAttribute("aria-disabled", "true");
  await answers.nth(0).check();
  expect(await shown(page)).toBe(changed);
  await page.getByRole("button", { name: "Undo" }).click();
  expect(await shown(page)).toBe(first);
});

test("what is copied is what is shown", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await adapt(page, "a lighthouse at dusk");
  await phrases(page).nth(1).click();
  await page.locator("#copy").click();
  await expect(page.locator("#copy-label")).toHaveText("Copied");
  await expect(page.locator("#status")).toContainText("Copied.");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await shown(page));
  await expect(page.locator("#copy-label")).toHaveText("Copy");
});

test("without a clipboard the old way copies", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read"]);
  await page.addInitScript(() => {
    navigator.clipboard.writeText = () => Promise.reject(new Error("no"));
  });
  await adapt(page, "a lighthouse at dusk");
  await page.locator("#copy").click();
  await expect(page.locator("#copy-label")).toHaveText("Copied");
  await expect(page.locator("#copy")).toBeFocused();
});

test("another answer is the next seed's", async ({ page }) => {
  await adapt(page, "a lighthouse at dusk");
  const first = await shown(page);
  const asked = page.waitForRequest("**/v1/adapt");
  await page.getByRole("button", { name: "Another" }).click();
  expect((await asked).postDataJSON().seed).toBe(1);
  await answered(page);
  expect(await shown(page)).not.toBe(first);
});

test("an example fills the field and adapts", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "a rabbit is wearing a space suit" }).click();
  await answered(page);
  await expect(page.locator("#user-input")).toHaveValue("a rabbit is wearing a space suit");
});

test("flags stay behind what is added", async ({ page }) => {
  await adapt(page, "a cat --ar 16:9", { settings: () => page.getByLabel("Words", { exact: true }).check() });
  expect(await shown(page)).toMatch(/^a cat, .* --ar 16:9$/u);
  await phrases(page).last().click();
  expect(await shown(page)).toMatch(/^a cat, .*[^,] --ar 16:9$/u);
});

test("settings are what the server is asked for", async ({ page }) => {
  await page.goto("/");
  const asked = async () => {
    const request = page.waitForRequest("**/v1/adapt");
    await page.getByRole("button", { name: "Adapt", exact: true }).click();
    const body = (await request).postDataJSON();
    await answered(page);
    return body;
  };
  await page.locator("#user-input").fill("a castle");
  expect(await asked()).toEqual({ user_input: "a castle", explain: true, stream: true });

  await page.locator("#strength").fill("0.8");
  await page.getByLabel("Exact", { exact: true }).check();
  await page.getByRole("button", { name: "More answers" }).click();
  await page.locator("#min_distance").fill("0.2");
  await page.getByText("Style", { exact: true }).click();
  await page.getByLabel("artists").check();
  await page.getByLabel("render engines").check();
  await page.locator("#ban").fill("greg rutkowski, 8k\n/\\d{1,2}mm/");
  await page.locator("#must_include").fill("soft light");
  await page.locator("#guidance_scale").fill("4.5");
  await page.locator("#temperature").fill("1.1");
  await page.getByText("Length", { exact: true }).click();
  await page.locator("#target").selectOption("sdxl");
  await page.locator("#budget").fill("70");
  await page.getByText("Repeatability").click();
  await page.locator("#seed").fill("7");
  const everything = {
    user_input: "a castle",
    explain: true,
    strength: 0.8,
    keep: "exact",
    n: 2,
    min_distance: 0.2,
    ban: ["@artists", "@engines", "greg rutkowski", "8k", "/\\d{1,2}mm/"],
    must_include: ["soft light"],
    guidance_scale: 4.5,
    do_sample: true,
    temperature: 1.1,
    target: "sdxl",
    budget: 70,
    seed: 7,
  };
  expect(await asked()).toEqual(everything);
  await expect(page.locator("#facts")).toContainText("of 70 (sdxl)");

  // They are there after a reload, and gone after a reset.
  await page.reload();
  expect(await asked()).toEqual(everything);
  await page.getByRole("button", { name: "Reset all settings" }).click();
  expect(await asked()).toEqual({ user_input: "a castle", explain: true, stream: true });
});

test("a search that cannot be streamed is answered in one piece", async ({ page, allowed }) => {
  allowed.push(/422/u);
  await page.route("**/v1/adapt", (route) => {
    if (!route.request().postDataJSON().stream) return route.continue();
    return route.fulfill({ status: 422, json: { error: { message: "no", type: "invalid_request_error", param: "stream" } } });
  });
  await adapt(page, "a lighthouse at dusk");
  expect(await shown(page)).toMatch(/^a lighthouse at dusk, /u);
});

test("history stays in the browser, opens again, and can be cleared", async ({ page }) => {
  await adapt(page, "a lighthouse at dusk");
  await phrases(page).first().click();
  const left = await shown(page);
  await page.locator("#user-input").fill("a castle");
  await page.getByRole("button", { name: "Adapt", exact: true }).click();
  await answered(page);
  await page.locator("#user-input").fill("not yet adapted");

  await page.reload();
  await expect(page.locator("#user-input")).toHaveValue("not yet adapted");
  const entries = page.locator("#history-list button");
  await expect(entries).toHaveCount(2);
  await entries.nth(1).click();
  await expect(page.locator("#user-input")).toHaveValue("a lighthouse at dusk");
  expect(await shown(page)).toBe(left);
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.locator("#facts")).not.toContainText("since you removed");

  // What stood in the field was in no history: it can be had back.
  await page.getByRole("button", { name: "Put it back" }).click();
  await expect(page.locator("#user-input")).toHaveValue("not yet adapted");

  await page.getByRole("button", { name: "Clear history" }).click();
  await expect(entries).toHaveCount(0);
  expect(await page.evaluate(() => localStorage.getItem("promptist.history"))).toBeNull();
  await page.getByRole("button", { name: "Put it back" }).click();
  await expect(entries).toHaveCount(2);
});

test("without a generator there is no button for images", async ({ page, request }) => {
  const { generator } = await (await request.get("/v1/models")).json();
  test.skip(generator, "this server has one");
  await adapt(page, "a lighthouse at dusk");
  await expect(page.getByRole("button", { name: "Make images" })).toBeHidden();
});
