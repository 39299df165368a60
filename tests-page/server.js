// The server that the tests talk to: a running one (PROMPTIST_URL), or one started from a program
// (PROMPTIST_BIN, by default this repository's debug build).

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test as base } from "@playwright/test";

const BUILT = fileURLToPath(new URL("../target/debug/promptist", import.meta.url));
const START_MS = 60_000;

/** Starts a server of our own; `url` has no slash at its end. */
export async function startServer({ port = 0, flags = [] } = {}) {
  const program = process.env.PROMPTIST_BIN || BUILT;
  const child = spawn(program, ["serve", "--port", String(port), ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const url = await new Promise((found, failed) => {
    const fail = (why) => failed(new Error(`${program} serve: ${why}\n${said}`));
    const timer = setTimeout(() => fail("no address"), START_MS);
    const read = (bytes) => {
      said += bytes;
      const address = /http:\/\/(?:127\.0\.0\.1|localhost):\d+/u.exec(said);
      if (!address) return;
      clearTimeout(timer);
      found(address[0]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", (error) => fail(error.message));
    child.on("exit", (code) => fail(`exit code ${code}`));
  });
  for (const end = Date.now() + START_MS; ; ) {
    const ready = await fetch(`${url}/readyz`).then(({ ok }) => ok, () => false);
    if (ready) break;
    if (Date.now() > end) throw new Error(`${url} is not ready\n${said}`);
    await new Promise((done) => setTimeout(done, 50));
  }
  const gone = new Promise((done) => child.on("exit", done));
  const stop = async () => {
    child.kill("SIGKILL");
    await gone;
  };
  return { url, stop };
}

/**
 * `test` with the server's address, and a page that fails its test when the console has an error, or a
 * request goes anywhere else. What a test expects to be said there it adds to `allowed`.
 */
export const test = base.extend({
  server: [
    async ({}, use) => {
      if (process.env.PROMPTIST_URL) {
        await use({ url: process.env.PROMPTIST_URL.replace(/\/$/u, "") });
        return;
      }
      const server = await startServer();
      await use(server);
      await server.stop();
    },
    { scope: "worker" },
  ],
  baseURL: async ({ server }, use) => use(server.url),
  allowed: async ({}, use) => use([]),
  page: async ({ page, baseURL, allowed }, use) => {
    const wrong = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) wrong.push(message.text());
    });
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (protocol !== "data:" && origin !== new URL(baseURL).origin) wrong.push(`a request to ${request.url()}`);
    });
    await use(page);
    expect(wrong.filter((text) => !allowed.some((pattern) => pattern.test(text)))).toEqual([]);
  },
});

export { expect };

/** What a browser says of a response that is an error, or does not come. */
export const FAILED_TO_LOAD = /^Failed to load resource/u;

/** Opens the page, adapts `text`, and waits for the whole answer. */
export async function adapt(page, text, { settings = async () => {} } = {}) {
  await page.goto("/");
  await settings();
  await page.getByLabel("Your prompt", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Adapt", exact: true }).click();
  await answered(page);
}

export async function answered(page) {
  await expect(page.locator("#result")).toHaveAttribute("aria-busy", "false");
  await expect(page.locator(".phrase").first()).toBeVisible();
}

/** The adapted prompt as it stands. */
export async function shown(page) {
  return (await page.locator("#answer").textContent()).trim();
}

export function phrases(page) {
  return page.locator("#answer .phrase");
}
