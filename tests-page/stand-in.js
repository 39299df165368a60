// A stand-in for `promptist serve`, to work on the page without building the server.
//
//     node stand-in.js serve --port 7700
//     node stand-in.js serve --port 7700 --api http://127.0.0.1:7788
//
// The page's files come from disk, so that a reload shows a change. With `--api` everything else is asked of
// a real server; without, answers are made up from a list of phrases, in the server's shapes and with its
// headers. It is no part of what the tests prove: those run against the real server.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("../crates/promptist-server/page/", import.meta.url));
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const PHRASES = [
  ["atmospheric lighting", "lighting"], ["golden hour", "lighting"], ["soft light", "lighting"],
  ["highly detailed", "quality-words"], ["sharp focus", "quality-words"], ["intricate", "quality-words"],
  ["oil painting", "medium"], ["digital painting", "medium"], ["concept art", "medium"],
  ["35mm", "camera"], ["wide shot", "camera"], ["bokeh", "camera"],
  ["moody", "style"], ["art nouveau", "style"], ["by greg rutkowski", "artists"],
  ["trending on artstation", "websites"], ["octane render", "engines"], ["muted colors", "colors"],
];
// One black pixel.
const PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
const KNOWN = new Set(
  ("user_input user_inputs num_beams num_return_sequences n do_sample temperature top_p max_new_tokens seed keep " +
    "guidance_scale filter no_artists ban must_include protect target budget min_distance seeds strength explain stream additions").split(" "),
);

class Refused extends Error {
  constructor(status, message, param = null) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

function answer(body) {
  const input = String(body.user_input ?? "").trim();
  if (!input) throw new Refused(422, "the prompt is empty", "user_input");
  for (const entry of body.ban ?? []) {
    if (entry.startsWith("/") && /\[[^\]]*$/u.test(entry)) throw new Refused(422, `\`ban\`: \`${entry}\`: unclosed character class`, "ban");
  }
  const unknown = Object.keys(body).find((name) => !KNOWN.has(name));
  if (unknown) throw new Refused(422, `unknown field \`${unknown}\``, unknown);
  const seed = body.seed ?? 0;
  const outputs = Array.from({ length: body.n ?? 1 }, (_, row) => output(input, body, seed, row));
  return {
    user_input: body.user_input,
    outputs,
    model: { name: "stand-in", sha256: "0".repeat(64) },
    settings: { ...body, seed },
    seed,
    receipt: {},
    version: "0.1.0",
    elapsed_ms: 18.2,
  };
}

function output(input, body, seed, row) {
  const mixed = (a, b) => Math.imul(a ^ b ^ (a >>> 15), 2654435761) >>> 0;
  let draw = [...input].reduce((sum, letter) => mixed(sum, letter.codePointAt(0)), mixed(seed + 1, row * 7919));
  const pool = PHRASES.filter(([, category]) => !body.ban?.includes(`@${category}`));
  const drawn = [];
  while (drawn.length < Math.round(6 * (body.strength ?? 1))) {
    draw = mixed(draw, 97);
    drawn.push(...pool.splice((draw >>> 8) % pool.length, 1));
  }
  drawn.push(...(body.must_include ?? []).map((phrase) => [phrase, "subject"]));
  const phrases = drawn.map(([phrase]) => phrase);
  const flags = body.keep === "words" ? (/(?: --\w+ \S+)+$/u.exec(input)?.[0] ?? "") : "";
  const own = input.slice(0, input.length - flags.length);
  const whole = score(phrases);
  return {
    text: [own, ...phrases].join(", ") + flags,
    score: whole,
    token_ids: [1, 2, 3],
    finish: "eos",
    ...(body.budget && { rules: { bans: 0, tokens: { target: body.target ?? "sd15", used: 31, budget: body.budget } } }),
    ...(body.explain && {
      phrases: drawn.map(([phrase, category], idx) => {
        const score_without = score(phrases.toSpliced(idx, 1));
        return { phrase, category, effect: whole - score_without, score_without };
      }),
    }),
  };
}

function score(phrases) {
  const sum = phrases.reduce((sum, phrase) => sum + ((phrase.length * 37) % 17) / 10, 0.6);
  return -sum / (phrases.length + 1);
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const ROUTES = {
  "GET /healthz": async (_, response) => response.end("ok"),
  "GET /readyz": async (_, response) => response.end("ok"),
  "GET /v1/models": async (_, response) =>
    send(response, 200, { object: "list", data: [{ id: "stand-in", object: "model", owned_by: "promptist", precision: "f32" }], generator: true }),
  "POST /v1/adapt": async (body, response) => {
    if (!body.stream) return send(response, 200, answer(body));
    if ((body.n ?? 1) > 1) throw new Refused(422, "`stream` needs one answer", "stream");
    const whole = answer(body);
    const event = stream(response);
    const words = whole.outputs[0].text.split(/(?<= )/u);
    for (let count = 1; count <= words.length; count += 1) {
      event("progress", { text: words.slice(0, count).join("") });
      await wait(25);
    }
    event("done", whole);
    response.end();
  },
  "POST /v1/rescore": async ({ additions }, response) => send(response, 200, { scores: additions.map(score) }),
  "POST /v1/images": async (_, response) => {
    const event = stream(response);
    for (const which of ["user_input", "prompt"]) {
      for (let done = 1; done <= 20; done += 1) {
        event("progress", { which, done, of: 20 });
        await wait(40);
      }
      event("image", { which, src: PIXEL, scores: { aesthetic: 5.2, clip: 0.281 } });
    }
    event("done", {});
    response.end();
  },
};

function stream(response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  return (name, data) => response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}

function send(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

async function file(path, response) {
  const name = path === "/" ? "index.html" : /^\/page\/([\w-]+\.\w+)$/u.exec(path)?.[1];
  if (!name) throw new Refused(404, "there is nothing at this path");
  const bytes = await readFile(PAGE + name).catch(() => {
    throw new Refused(404, "there is nothing at this path");
  });
  response
    .writeHead(200, { "Content-Type": TYPES[extname(name)], "Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff" })
    .end(bytes);
}

/** Asks the real server, and passes on what it says as it says it. */
async function pass(request, path, body, response) {
  const options = body === "" ? {} : { headers: { "Content-Type": request.headers["content-type"] }, body };
  const answer = await fetch(API + path, { method: request.method, ...options });
  const retryAfter = answer.headers.get("Retry-After");
  response.writeHead(answer.status, {
    "Content-Type": answer.headers.get("Content-Type") ?? "application/octet-stream",
    ...(retryAfter && { "Retry-After": retryAfter }),
  });
  for await (const chunk of answer.body ?? []) response.write(chunk);
  response.end();
}

function flag(name, otherwise) {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : process.argv[at + 1];
}

const API = flag("--api", "");
const port = Number(flag("--port", "0"));
const server = createServer(async (request, response) => {
  try {
    const { pathname } = new URL(request.url, "http://localhost");
    if (pathname === "/" || pathname.startsWith("/page/")) return await file(pathname, response);
    let body = "";
    for await (const chunk of request) body += chunk;
    if (API) return await pass(request, pathname, body, response);
    const route = ROUTES[`${request.method} ${pathname}`];
    if (!route) throw new Refused(404, "there is nothing at this path");
    await route(body ? JSON.parse(body) : {}, response);
  } catch (error) {
    const status = error.status ?? 500;
    send(response, status, { error: { message: error.message, type: "invalid_request_error", param: error.param ?? null } });
  }
}).listen(port, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
