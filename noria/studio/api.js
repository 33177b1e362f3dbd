/* The public HTTP API as the page uses it; nothing here is private to the page. */

const KEY = "noria.api_key";
const USER = "noria.user";

export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
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

/** Keep the API key for this browser tab only. */
export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

function headers(extra = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

async function checked(response) {
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    /* an answer without a body */
  }
  throw new ApiError(error.message ?? `HTTP ${response.status}`, response.status, error.code);
}

export async function get(path) {
  return (await checked(await fetch(path, { headers: headers(), cache: "no-store" }))).json();
}

export async function post(path, body, options = {}) {
  const request = { method: "POST", headers: headers({ "Content-Type": "application/json", ...options.headers }), body: JSON.stringify(body) };
  return checked(await fetch(path, { ...request, signal: options.signal }));
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
  throw new ApiError("The connection ended before the answer did.", 0, "connection_lost");
}

/** The `data` of server-sent events. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) if (block.startsWith("data: ")) yield block.slice(6);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
