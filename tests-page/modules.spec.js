// The parts that are plain functions, run where they are used.

import { expect, test } from "./server.js";

test.beforeEach(async ({ page }) => {
  await page.goto("/");
});

test("an answer splits into its phrases and joins to the same text", async ({ page }) => {
  const cases = [
    ["a cat, 8k, soft light", "a cat", ["8k", "soft light"], "a cat", ""],
    ["A cat sits. 8k, soft light", " A cat sits. ", ["8k", "soft light"], "A cat sits.", ""],
    ["a cat, 8k --ar 16:9", "a cat --ar 16:9", ["8k"], "a cat", " --ar 16:9"],
    ["a cat --ar 16:9, 8k", "a cat --ar 16:9", ["8k"], "a cat --ar 16:9", ""],
    // The same phrase twice, and one that is the input.
    ["a cat, a cat, 8k, 8k", "a cat", ["a cat", "8k", "8k"], "a cat", ""],
    // All of it the model's.
    ["a cat portrait, 8k", "a cat", ["a cat portrait", "8k"], "", ""],
    ["by moebius, 8k", "a cat", ["by moebius", "8k"], "", ""],
    // Nothing added.
    ["a cat", "a cat", [], "a cat", ""],
  ];
  for (const [text, input, phrases, opening, closing] of cases) {
    const found = await page.evaluate(
      async ([text, input, phrases]) => {
        const { split, join } = await import("/page/phrases.js");
        const pieces = split(text, input, phrases);
        return { pieces, joined: join(pieces, new Set()) };
      },
      [text, input, phrases],
    );
    expect(found.pieces.phrases, text).toEqual(phrases);
    expect([found.pieces.opening, found.pieces.closing], text).toEqual([opening, closing]);
    expect(found.joined).toBe(text);
  }
});

test("phrases that do not stand in the text are left alone", async ({ page }) => {
  const pieces = await page.evaluate(async () => (await import("/page/phrases.js")).split("a cat, 8k", "a cat", ["4k"]));
  expect(pieces).toEqual({ opening: "a cat, 8k", separators: [], phrases: [], closing: "" });
});

test("whatever is removed, separators stay where they belong", async ({ page }) => {
  const cases = [
    ["a cat, b, c", "a cat", ["b", "c"], [0], "a cat, c"],
    ["a cat, b, c", "a cat", ["b", "c"], [1], "a cat, b"],
    ["a cat, b, c", "a cat", ["b", "c"], [0, 1], "a cat"],
    ["A cat. b, c", "A cat.", ["b", "c"], [0], "A cat. c"],
    ["b, c", "a cat", ["b", "c"], [0], "c"],
    ["b, c", "a cat", ["b", "c"], [0, 1], ""],
    ["a cat, b, c --ar 1", "a cat --ar 1", ["b", "c"], [0, 1], "a cat --ar 1"],
  ];
  for (const [text, input, phrases, removed, expected] of cases) {
    const joined = await page.evaluate(
      async ([text, input, phrases, removed]) => {
        const { split, join } = await import("/page/phrases.js");
        return join(split(text, input, phrases), new Set(removed));
      },
      [text, input, phrases, removed],
    );
    expect(joined).toBe(expected);
  }
});

test("events are the same however the bytes are cut", async ({ page }) => {
  const stream = ": keep-alive\n\nevent: progress\ndata: {\"text\":\r\ndata: \"a\"}\r\n\r\ndata: x\r\rid: 7\nretry: 3\n\nevent: done\ndata:{}\n\nevent: cut\ndata: off";
  const whole = [
    { event: "progress", data: '{"text":\n"a"}' },
    { event: "message", data: "x" },
    { event: "done", data: "{}" },
  ];
  for (const size of [1, 2, 3, 7, 1000]) {
    const found = await page.evaluate(
      async ([stream, size]) => {
        const { EventParser } = await import("/page/api.js");
        const parser = new EventParser();
        const events = [];
        for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.slice(at, at + size)));
        return events;
      },
      [stream, size],
    );
    expect(found, `pieces of ${size}`).toEqual(whole);
  }
});
