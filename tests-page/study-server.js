// A study to rate: made of coloured images, served by a real server that can be killed and started again.
//
// PROMPTIST_BIN names the program, by default this repository's debug build. With PROMPTIST_TEST_POSTGRES the
// study is kept there.

import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deflateSync } from "node:zlib";

const BUILT = fileURLToPath(new URL("../target/debug/promptist", import.meta.url));
const PROGRAM = process.env.PROMPTIST_BIN || BUILT;
const START_MS = 60_000;

/** Systems, and the colour channel that their images are full of. */
export const SYSTEMS = { "xanadu-sft": 0, "yggdrasil-ppo": 2 };

/** A study in a folder of its own. `config` is TOML. */
export class Study {
  constructor({ inputs = 10, perSide = 1, size = 96, config = "", requests = [], database = "", draw = picture } = {}) {
    this.root = mkdtempSync(join(tmpdir(), "promptist-study-"));
    this.folder = join(this.root, "study");
    mkdirSync(join(this.root, "images"));
    const rows = [];
    for (let input = 0; input < inputs; input += 1) {
      const request = requests[input] ?? `request number ${input + 1}`;
      for (const [system, channel] of Object.entries(SYSTEMS)) {
        const images = Array.from({ length: perSide }, (_, place) => {
          const name = `images/${system}-${input}-${place}.png`;
          writeFileSync(join(this.root, name), draw(size, channel, input * perSide + place));
          return name;
        });
        rows.push({ id: `in-${input}`, user_input: request, system, adapted_prompt: `${request}, ${system}`, images, seeds: images.map((_, place) => place) });
      }
    }
    writeFileSync(join(this.root, "rows.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const place = database ? `database = ${JSON.stringify(database)}\n` : "";
    writeFileSync(join(this.root, "study.toml"), `${place}${config}`);
    this.run("new", "--config", join(this.root, "study.toml"), "--input", join(this.root, "rows.jsonl"), "--out", this.folder);
  }

  /** What a verb prints. */
  run(verb, ...args) {
    const rest = verb === "new" ? args : [this.folder, ...args];
    return execFileSync(PROGRAM, ["study", verb, ...rest], { encoding: "utf8", maxBuffer: 1 << 26, stdio: ["ignore", "pipe", "pipe"] });
  }

  /** Paths of links for raters. */
  invite(count) {
    return this.run("invite", "--count", String(count), "--url", "").trim().split("\n");
  }

  answers() {
    return this.run("export", "--format", "jsonl").split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  report() {
    return JSON.parse(this.run("report", "--json"));
  }

  /** Starts the server; on the port that it had, if it had one. */
  async start() {
    for (const end = Date.now() + START_MS; ; ) {
      try {
        await this.#start();
        return this.url;
      } catch (error) {
        if (Date.now() > end) throw error;
        await new Promise((done) => setTimeout(done, 100));
      }
    }
  }

  #start() {
    const child = spawn(PROGRAM, ["study", "serve", this.folder, "--addr", `127.0.0.1:${this.port ?? 0}`], { stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    let said = "";
    return new Promise((found, failed) => {
      const read = (bytes) => {
        said += bytes;
        const address = /http:\/\/127\.0\.0\.1:(\d+)/u.exec(said);
        if (!address) return;
        [this.url, this.port] = [address[0], address[1]];
        found();
      };
      child.stdout.on("data", read);
      child.stderr.on("data", read);
      child.on("error", failed);
      child.on("exit", (code) => failed(new Error(`${PROGRAM} study serve: exit code ${code}\n${said}`)));
    });
  }

  /** SIGKILL: no last words. */
  async kill() {
    const gone = new Promise((done) => this.child.on("exit", done));
    this.child.kill("SIGKILL");
    await gone;
  }

  async remove() {
    if (this.child && this.child.exitCode === null && this.child.signalCode === null) await this.kill();
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Waves, with one colour channel at its height throughout, so that whoever looks knows whose it is. */
export function picture(size, channel, which) {
  return png(size, (x, y) => {
    const wave = Math.sin(((x * (2 + (which % 5)) + y * (1 + (which % 7))) / size) * 4 + which);
    return [0, 1, 2].map((c) => (c === channel ? 230 : 40 + Math.round(50 * (wave + 1)) + (c === 1 ? 40 : 0)));
  });
}

/** A square PNG; `colour` gives red, green and blue of a pixel. */
export function png(size, colour) {
  const rows = Buffer.alloc(size * (1 + 3 * size));
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) rows.set(colour(x, y), y * (1 + 3 * size) + 1 + 3 * x);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const whole = Buffer.alloc(body.length + 8);
  whole.writeUInt32BE(data.length, 0);
  body.copy(whole, 4);
  whole.writeUInt32BE(crc32(body), body.length + 4);
  return whole;
}

function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
  }
  return ~sum >>> 0;
}
