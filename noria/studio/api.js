/* The public HTTP API as the page uses it; nothing here is private to the page. */

const KEY = "noria.api_key";
const USER = "noria.user";
const ENDED = "The connection ended before the answer did.";

export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code ?? `HTTP ${status}`;
  }
}

/** A name for this browser, so that the server can keep its conversations and judgements apart from others'. */
export function user() {
  let name = localStorage.getItem(USER);
  if (!name) {
    name = `studio-${Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    localStorage.setItem(USER, name);
  }
  return name;
}

/** Whether a key was entered in this browser tab. */
export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** Keep the API key for this browser tab only. */
export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

function headers(extra = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

/** `fetch` whose failures are ApiErrors, except a stop asked for. */
async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw lost(error, "The server cannot be reached.", "no_connection");
  }
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    /* an answer without a body */
  }
  throw new ApiError(error.message ?? `HTTP ${response.status}`, response.status, error.code);
}

/** The ApiError of a failed connection; a stop asked for stays what it is. server-texts.js has the Chinese of each code. */
function lost(error, message, code) {
  return error.name === "AbortError" ? error : new ApiError(message, 0, code);
}

export async function get(path) {
  return (await request(path, { headers: headers(), cache: "no-store" })).json();
}

export async function post(path, body, options = {}) {
  const sent = headers({ "Content-Type": "application/json", ...options.headers });
  return request(path, { method: "POST", headers: sent, body: JSON.stringify(body), signal: options.signal });
}

/**
 * Send what the user said and yield the chunks of the answer. The server keeps the history: only the new message is sent.
 * The first value yielded is `{receipt, conversation}`.
 */
export async function* chat({ model, text, conversation, user, signal }) {
  const extra = conversation ? { "X-Noria-Conversation": conversation } : {};
  const body = { model, messages: [{ role: "user", content: text }], stream: true, stream_options: { include_usage: true }, user };
  const response = await post("/v1/chat/completions", body, { headers: extra, signal });
  yield { receipt: response.headers.get("x-noria-receipt"), conversation: response.headers.get("x-noria-conversation") };
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message, 500, chunk.error.code);
    yield chunk;
  }
  throw new ApiError(ENDED, 0, "connection_lost");
}

/** The `data` of server-sent events. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => { throw lost(error, ENDED, "connection_lost"); });
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) if (block.startsWith("data: ")) yield block.slice(6);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
