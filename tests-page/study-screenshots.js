// Takes the pictures in docs/screenshots/ of the raters' page: of drawn landscapes, no image model is needed.
//
//     node study-screenshots.js [FOLDER]

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import config from "./playwright.config.js";
import { Study, png } from "./study-server.js";

const OUT = process.argv[2] ? `${process.argv[2]}/` : fileURLToPath(new URL("../docs/screenshots/", import.meta.url));
const SCREENS = {
  desktop: { viewport: { width: 1280, height: 860 } },
  phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
};
/** What is committed; all of them, and the page before, with a folder as an argument. */
const COMMITTED = ["desktop-light", "phone-dark"];
const REQUESTS = ["a lighthouse at dusk", "a lighthouse", "hills and a lighthouse at night", "a light above the sea"];

await mkdir(OUT, { recursive: true });
const study = new Study({ config: "[checks]\nnoise = 0\n", inputs: 40, size: 384, draw: landscape, requests: Array.from({ length: 40 }, (_, at) => REQUESTS[at % REQUESTS.length]) });
await study.start();
const browser = await chromium.launch(config.use.launchOptions);
for (const [name, screen] of Object.entries(SCREENS)) {
  for (const colorScheme of ["light", "dark"]) {
    if (!process.argv[2] && !COMMITTED.includes(`${name}-${colorScheme}`)) continue;
    const context = await browser.newContext({ ...screen, colorScheme, reducedMotion: "reduce", locale: "en-GB" });
    const page = await context.newPage();
    await page.goto(study.url + study.invite(1)[0]);
    await page.getByRole("button", { name: "I agree, begin" }).waitFor();
    if (process.argv[2]) await page.screenshot({ path: `${OUT}welcome-${name}-${colorScheme}.png` });
    await page.getByRole("button", { name: "I agree, begin" }).click();
    for (let place = 1; place <= 6; place += 1) {
      await page.locator("#count", { hasText: new RegExp(`^${place} of `, "u") }).waitFor();
      await page.locator("#choose-a[aria-disabled=false]").waitFor();
      if (place < 6) await page.keyboard.press("ArrowLeft");
    }
    await page.screenshot({ path: `${OUT}study-${name}-${colorScheme}.png` });
    await context.close();
  }
}
await browser.close();
await study.remove();

/** Hills before an evening sky, a light on one of them: warm for one system, cold for the other. */
function landscape(size, channel, which) {
  const phase = which * 1.7 + channel;
  const ground = (layer, x) => 0.42 + layer * 0.13 + 0.06 * Math.sin(x * (3 + layer) + phase * (layer + 1)) + 0.02 * Math.sin(x * 17 + phase);
  const [top, low] = channel === 0 ? [[52, 36, 92], [250, 150, 90]] : [[18, 34, 70], [120, 170, 200]];
  const tower = 0.3 + 0.4 * ((which * 0.37) % 1);
  const foot = ground(1, tower);
  return png(size, (px, py) => {
    const [x, y] = [px / size, py / size];
    if (Math.abs(x - tower) < 0.022 - (foot - y) * 0.03 && y > foot - 0.3 && y < foot + 0.03) return (Math.floor((foot - y) * 18) % 2 === 0) ? [232, 228, 218] : [170, 62, 54];
    if (Math.hypot(x - tower, (y - foot + 0.32) * 1.1) < 0.02) return [255, 240, 180];
    const layer = [3, 2, 1, 0].find((layer) => y > ground(layer, x));
    if (layer !== undefined) return low.map((c, i) => Math.round((c * 0.32 + top[i] * 0.4) * (1 - layer * 0.22)));
    const glow = 70 * Math.exp(-14 * Math.hypot(x - tower, y - foot + 0.32));
    return top.map((c, i) => Math.min(255, Math.round(c + (low[i] - c) * (y / 0.5) ** 1.4 + glow)));
  });
}
