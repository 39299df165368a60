import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

// Debian's browser where there is one; else the one that `npx playwright install chromium` fetched.
export const executablePath = [process.env.PROMPTIST_CHROMIUM, "/usr/bin/chromium"].find((path) => path && existsSync(path));

export default defineConfig({
  testDir: ".",
  outputDir: "test-results",
  workers: 1,
  // Busy machines: another try tells a slow one from a broken page.
  retries: process.env.CI ? 2 : 0,
  fullyParallel: false,
  forbidOnly: Boolean(process.env.CI),
  timeout: 30_000,
  expect: { timeout: 10_000 },
  reporter: [["list"]],
  use: {
    browserName: "chromium",
    viewport: { width: 1280, height: 860 },
    launchOptions: { executablePath },
    trace: "off",
  },
});
