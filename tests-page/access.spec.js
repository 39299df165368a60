// That everybody can use the page: axe, the keyboard, narrow screens.

import AxeBuilder from "@axe-core/playwright";
import { FAILED_TO_LOAD, adapt, answered, expect, phrases, shown, test } from "./server.js";

const WIDTHS = { desktop: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };

/** No fault that axe calls serious or critical. */
async function check(page) {
  // Colours are looked at where they come to rest.
  await page.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect.getTiming().iterations !== Infinity).map((a) => a.finished)));
  const { violations } = await new AxeBuilder({ page }).analyze();
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  expect(grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("; ")}`)).toEqual([]);
}

for (const colorScheme of ["light", "dark"]) {
  for (const [name, viewport] of Object.entries(WIDTHS)) {
    test(`axe finds nothing grave: ${name}, ${colorScheme}`, async ({ page, allowed }) => {
      allowed.push(FAILED_TO_LOAD);
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(viewport);
      await page.goto("/");
      await check(page);

      // Everything there is: settings unfolded, several answers, a phrase removed, history.
      const fold = page.locator("#settings-fold");
      if (!(await fold.evaluate(({ open }) => open))) await fold.locator("summary").first().click();
      for (const group of await page.locator(".group > summary").all()) await group.click();
      await page.getByLabel("artists").check();
      await page.locator("#n").fill("3");
      await page.locator("#user-input").fill("a lighthouse at dusk");
      await page.keyboard.press("Control+Enter");
      await answered(page);
      await phrases(page).first().click();
      await expect(page.locator("#facts")).toContainText("since you removed");
      await page.getByText("What the score says").click();
      await check(page);

      // A problem.
      await page.route("**/v1/adapt", (route) => route.abort());
      await page.getByRole("button", { name: "Adapt", exact: true }).click();
      await expect(page.locator("#problem")).toBeVisible();
      await check(page);
    });
  }
}

test("nothing but the keyboard is needed", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto("/");
  const tabTo = async (target) => {
    for (let steps = 0; steps < 40; steps += 1) {
      if (await target.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`${target} cannot be reached`);
  };
  await expect(page.locator("#user-input")).toBeFocused();
  await page.keyboard.type("a lighthouse at dusk");
  await tabTo(page.locator("#adapt"));
  await page.keyboard.press("Enter");
  await answered(page);
  const before = await shown(page);
  await tabTo(phrases(page).first());
  await page.keyboard.press("Enter");
  expect(await shown(page)).not.toBe(before);
  await page.keyboard.press("Shift+Tab");
  await expect(page.locator("#copy")).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("#copy-label")).toHaveText("Copied");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await shown(page));
  await tabTo(page.locator("#strength"));
  await page.keyboard.press("ArrowLeft");
  await expect(page.locator("#strength-value")).toHaveText("95 %");
  // Where focus is can be seen.
  expect(await page.locator("#strength").evaluate((element) => getComputedStyle(element).outlineStyle)).toBe("solid");
});

test("the skip link goes to the prompt", async ({ page }) => {
  await page.goto("/");
  await page.locator(".skip").focus();
  await expect(page.locator(".skip")).toBeInViewport();
  await page.keyboard.press("Enter");
  await expect(page.locator("#user-input")).toBeFocused();
});

for (const width of [320, 360, 390]) {
  test(`nothing is cut off at ${width} px`, async ({ page }) => {
    await page.setViewportSize({ width, height: 740 });
    await adapt(page, `a lighthouse ${"w".repeat(120)} at dusk`, { settings: () => page.locator("#n").evaluate((n) => { n.value = "2"; }) });
    await page.locator("#settings-fold > summary").click();
    for (const group of await page.locator(".group > summary").all()) await group.click();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    const outside = await page.locator("main :is(button, input, textarea, select, summary, p):visible").evaluateAll(
      (elements, width) => elements.filter((element) => {
        const { left, right } = element.getBoundingClientRect();
        return !element.closest(".visually-hidden") && (left < 0 || right > width);
      }).map(({ outerHTML }) => outerHTML.slice(0, 90)),
      width,
    );
    expect(outside).toEqual([]);
  });
}

test("what can be pressed is large enough", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await adapt(page, "a lighthouse at dusk");
  for (const button of await page.locator("button:visible").all()) {
    const { width, height } = await button.boundingBox();
    expect(Math.min(width, height), await button.evaluate(({ outerHTML }) => outerHTML)).toBeGreaterThanOrEqual(24);
  }
});

test("without motion, there is none", async ({ page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await adapt(page, "a lighthouse at dusk");
  expect(await page.evaluate(() => document.getAnimations().length)).toBe(0);
});
