// Takes the pictures in docs/screenshots/ of a server's page.
//
//     PROMPTIST_URL=http://127.0.0.1:7788 node screenshots.js

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import config from "./playwright.config.js";
import { startServer } from "./server.js";

const OUT = fileURLToPath(new URL("../docs/screenshots/", import.meta.url));
const SCREENS = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
};

await mkdir(OUT, { recursive: true });
const server = process.env.PROMPTIST_URL ? { url: process.env.PROMPTIST_URL, stop() {} } : await startServer();
const browser = await chromium.launch(config.use.launchOptions);
for (const [name, screen] of Object.entries(SCREENS)) {
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ ...screen, colorScheme, reducedMotion: "reduce", locale: "en-GB" });
    const page = await context.newPage();
    await page.goto(server.url);
    if (name === "phone") await page.locator("#user-input").fill("a lighthouse at dusk");
    else {
      // Something in the history, then several answers, one of them changed.
      await adapt(page, "an old sailor, portrait");
      await adapt(page, "a rabbit is wearing a space suit");
      await page.locator("#n").fill("3");
      await page.locator("#min_distance").fill("0.6");
    }
    await adapt(page, "a lighthouse at dusk");
    await page.locator(".phrase").nth(1).click();
    await page.getByText("since you removed").waitFor();
    if (name === "desktop") await page.locator(".phrase").nth(1).hover();
    else await page.evaluate(() => document.activeElement.blur());
    await page.screenshot({ path: `${OUT}${name}-${colorScheme}.png` });
    await context.close();
  }
}
await browser.close();
await server.stop();

async function adapt(page, text) {
  await page.locator("#user-input").fill(text);
  await page.locator("#adapt").click();
  await page.locator("#result[aria-busy=false] .phrase").first().waitFor();
  await page.locator(".own", { hasText: text }).waitFor();
}
