// The server's routes. Paths are relative, so that the page works behind a proxy that serves it under a prefix.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 5000;
const PATIENCE_MS = 20_000;

/** An answer that is no answer, and that asking again would not change. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.name = "Refusal";
    this.status = status;
  }
}

/**
 * Asks until there is an answer: a server that is gone may come back, and what it has not acknowledged it may
 * not have. Whoever sends something sends it so that twice is once.
 *
 * @param {string} path
 * @param {{ token?: string | null, body?: object, onTrouble?: (tries: number) => void }} [options]
 */
export async function ask(path, { token = null, body = undefined, onTrouble = () => {} } = {}) {
  for (let tries = 1; ; tries += 1) {
    const response = await once(path, token, body);
    if (response) return response;
    onTrouble(tries);
    await new Promise((done) => setTimeout(done, Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (tries - 1))));
  }
}

/** The answer's JSON; null if there was none and it is worth asking again. */
async function once(path, token, body) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let json;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    json = await response.json();
  } catch {
    // No connection, or one that broke, or a proxy's page in between.
    return null;
  }
  if (response.ok) return json;
  if (response.status >= 500 || response.status === 408 || response.status === 429) return null;
  throw new Refusal(response.status, json?.error?.message ?? "");
}

/** A name for an answer that no other has. */
export function nonce() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
