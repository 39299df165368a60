// The server's routes, and what goes wrong on the way to them.
//
// Every failure leaves here as a `Failure`, which has the sentence that is shown. Paths are relative, so
// that the page works behind a proxy that serves it under a prefix.

/** What went wrong, in words for the one who reads the page. */
export class Failure extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, param?: string | null, retryAfter?: number | null }} [facts]
   */
  constructor(message, { status = 0, param = null, retryAfter = null } = {}) {
    super(message);
    this.name = "Failure";
    this.status = status;
    this.param = param;
    this.retryAfter = retryAfter;
  }
}

const GONE = "The server cannot be reached. Your text is safe here; try again when the server is back.";
const BROKEN = "The connection broke before the answer was whole. Your text is safe here; try again.";
const UNREADABLE = "The server sent an answer that this page cannot read.";

/** The models that are served, and whether there is an image model. */
export async function models(signal) {
  return json(await request("v1/models", { signal }));
}

/** Adapts in one piece: the object of `adapt --json`. */
export async function adapt(body, signal) {
  return json(await post("v1/adapt", body, signal));
}

/**
 * Adapts, and tells the text as it grows.
 *
 * @param {object} body
 * @param {(text: string) => void} onProgress
 * @param {AbortSignal} signal
 */
export async function adaptStreaming(body, onProgress, signal) {
  const response = await post("v1/adapt", { ...body, stream: true }, signal);
  for await (const { event, data } of events(response)) {
    if (event === "progress") onProgress(String(data.text ?? ""));
    else if (event === "done") return data;
    else if (event === "error") throw fromErrorObject(data, response);
  }
  throw new Failure(BROKEN);
}

/** The scores of lists of added phrases, without a search. */
export async function rescore(body, signal) {
  const { scores } = await json(await post("v1/rescore", body, signal));
  if (!Array.isArray(scores)) throw new Failure(UNREADABLE);
  return scores;
}

/**
 * Makes images of both prompts.
 *
 * @param {{ user_input: string, prompt: string, seed?: number }} body
 * @param {(event: string, data: any) => void} onEvent
 * @param {AbortSignal} signal
 */
export async function images(body, onEvent, signal) {
  const response = await post("v1/images", body, signal);
  for await (const { event, data } of events(response)) {
    if (event === "error") throw fromErrorObject(data, response);
    if (event === "done") return;
    onEvent(event, data);
  }
  throw new Failure(BROKEN);
}

function post(path, body, signal) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure(GONE);
  }
  if (response.ok) return response;
  let body = null;
  try {
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A proxy's page, or nothing: the status says enough.
  }
  throw fromErrorObject(body, response);
}

async function json(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(error instanceof SyntaxError ? UNREADABLE : BROKEN);
  }
}

function fromErrorObject(body, response) {
  const { message, param, type } = body?.error ?? {};
  const said = typeof message === "string" && message !== "" ? message : null;
  const retryAfter = seconds(response.headers.get("Retry-After"));
  const status = response.ok ? statusOf(type) : response.status;
  return new Failure(sentence(status, said, retryAfter), { status, param: param ?? null, retryAfter });
}

/** An error that comes in the middle of a stream has a type, and no status of its own. */
function statusOf(type) {
  return { overloaded_error: 429, timeout_error: 504, unavailable_error: 503, server_error: 500 }[type] ?? 422;
}

function sentence(status, said, retryAfter) {
  switch (status) {
    case 401:
      return "The server wants a token that this page does not have.";
    case 413:
      return "That is more text than the server takes.";
    case 429: {
      const wait = retryAfter === 1 ? "1 second" : `${retryAfter} seconds`;
      return `The server is busy. ${retryAfter ? `It asks to wait ${wait}, then` : "Wait a moment, then"} try again.`;
    }
    case 503:
      return "The server is starting or stopping. Try again in a moment.";
    case 408:
    case 504:
      return "The server ran out of time for this answer. Ask for less, or try again.";
    case 502:
      return GONE;
    default:
      if (status >= 500) return "Something went wrong in the server. Try again; its log says more.";
      return said ? `The server says: ${said}` : `The server refused this (${status}).`;
  }
}

function seconds(header) {
  const value = Number.parseInt(header ?? "", 10);
  return Number.isFinite(value) && value >= 0 ? value : null;
}

/** The events of a `text/event-stream` response, their data read as JSON. */
async function* events(response) {
  if (!response.body || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    throw new Failure(UNREADABLE);
  }
  const reader = response.body.getReader();
  const parser = new EventParser();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      let chunk;
      try {
        chunk = await reader.read();
      } catch (error) {
        throw error.name === "AbortError" ? error : new Failure(BROKEN);
      }
      for (const message of parser.push(decoder.decode(chunk.value, { stream: !chunk.done }))) {
        let data;
        try {
          data = JSON.parse(message.data || "{}");
        } catch {
          throw new Failure(UNREADABLE);
        }
        yield { event: message.event, data };
      }
      if (chunk.done) return;
    }
  } finally {
    // Leaving early tells the server that nobody reads on.
    reader.cancel().catch(() => {});
  }
}

/**
 * Server-sent events from pieces of text, cut anywhere. Fields other than `event` and `data` mean nothing
 * to us; an event that is not closed by an empty line is dropped, as the standard has it.
 */
export class EventParser {
  #rest = "";
  #event = "";
  #data = [];

  /** @param {string} text @returns {{ event: string, data: string }[]} the events that are whole now */
  push(text) {
    const whole = [];
    this.#rest += text;
    // A lone CR at the end may be the first half of CR LF: it waits for what follows.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/u);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length > 0) whole.push({ event: this.#event || "message", data: this.#data.join("\n") });
        this.#event = "";
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /u, "");
      if (name === "event") this.#event = value;
      else if (name === "data") this.#data.push(value);
    }
    return whole;
  }
}
