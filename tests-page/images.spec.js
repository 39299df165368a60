// Images of both prompts: the page, the server, and a stand-in for the image model behind it.

import { answered, expect, phrases, shown, startServer, test } from "./server.js";
import { startWebui } from "./webui.js";

const PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";

test.describe("with a generator", () => {
  test.skip(Boolean(process.env.PROMPTIST_URL), "a server that runs has the generator that it has");
  let webui;
  let painting;

  test.beforeAll(async () => {
    webui = await startWebui();
    painting = await startServer({ flags: ["--generator", `a1111+${webui.url}`, "--width", "64", "--height", "64"] });
  });
  test.afterAll(async () => {
    await painting?.stop();
    webui?.stop();
  });
  test.beforeEach(async ({ page, allowed }) => {
    // Its origin is not that of the other tests' server.
    allowed.push(new RegExp(`^a request to ${painting.url}/`, "u"));
    webui.seen.length = 0;
    webui.failing = false;
    webui.hold = null;
    await page.goto(painting.url);
    await page.locator("#user-input").fill("a lighthouse at dusk");
    await page.keyboard.press("Control+Enter");
    await answered(page);
  });

  test("both prompts become images of one seed", async ({ page }) => {
    await phrases(page).first().click();
    const prompt = await shown(page);
    let release;
    webui.hold = new Promise((done) => {
      release = done;
    });
    await page.getByRole("button", { name: "Make images" }).click();
    await expect(page.getByRole("progressbar", { name: "Image of your prompt" })).toBeVisible();
    await expect(page.getByRole("progressbar", { name: "Image of the adapted prompt" })).toBeVisible();
    release();
    const images = [
      page.getByRole("img", { name: "a lighthouse at dusk", exact: true }),
      page.getByRole("img", { name: prompt, exact: true }),
    ];
    for (const image of images) {
      await expect(image).toBeVisible();
      expect(await image.evaluate(({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight])).toEqual([64, 64]);
    }
    await expect(page.locator("#status")).toContainText("Both images are made.");
    await expect(page.getByRole("progressbar")).toHaveCount(0);
    expect(webui.seen.map(({ prompt }) => prompt)).toEqual(["a lighthouse at dusk", prompt]);
    expect(new Set(webui.seen.map(({ seed }) => seed)).size).toBe(1);

    // They are of that prompt: another has none yet.
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(images[0]).toBeHidden();
  });

  test("a generator that fails is an error, and the prompt stays", async ({ page }) => {
    webui.failing = true;
    const prompt = await shown(page);
    await page.getByRole("button", { name: "Make images" }).click();
    await expect(page.locator("#problem")).toBeVisible();
    await expect(page.getByRole("button", { name: "Make images" })).toBeVisible();
    expect(await shown(page)).toBe(prompt);
  });

  test("images can be stopped", async ({ page }) => {
    let release;
    webui.hold = new Promise((done) => {
      release = done;
    });
    await page.getByRole("button", { name: "Make images" }).click();
    await page.getByRole("button", { name: "Stop" }).click();
    await expect(page.getByRole("progressbar")).toHaveCount(0);
    await expect(page.getByRole("button", { name: "Make images" })).toBeVisible();
    await expect(page.locator("#problem")).toBeHidden();
    release();
  });
});

test("progress and scores are shown as the server tells them", async ({ page }) => {
  // A model of our own says how far it is, and CLIP needs gigabytes: the route's answers stand in for both.
  await page.route("**/v1/models", (route) =>
    route.fulfill({ json: { object: "list", data: [{ id: "mini", object: "model", owned_by: "promptist" }], generator: true } }),
  );
  const events = [
    ["progress", { which: "user_input", done: 10, of: 20 }],
    ["image", { which: "user_input", src: PIXEL, scores: { aesthetic: 5.21, clip: 0.281 } }],
    ["progress", { which: "prompt", done: 5, of: 20 }],
    // Not a picture that came with the event.
    ["image", { which: "prompt", src: "/favicon.ico", scores: null }],
    ["progress", { which: "nothing that there is", done: 5, of: 20 }],
    ["done", {}],
  ];
  await page.route("**/v1/images", (route) => {
    const body = events.map(([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join("");
    return route.fulfill({ contentType: "text/event-stream", body });
  });
  await page.goto("/");
  await page.locator("#user-input").fill("a lighthouse at dusk");
  await page.keyboard.press("Control+Enter");
  await answered(page);
  await page.getByRole("button", { name: "Make images" }).click();
  await expect(page.locator("#figure-user_input")).toContainText("aesthetic 5.21, CLIP 0.281");
  await expect(page.getByRole("img", { name: "a lighthouse at dusk", exact: true })).toBeVisible();
  await expect(page.locator("#figure-user_input progress")).toHaveJSProperty("value", 10);
  await expect(page.locator("#figure-prompt progress")).toHaveJSProperty("value", 5);
  await expect(page.locator("#figure-prompt img")).toBeHidden();
});
