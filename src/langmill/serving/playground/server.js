// Talking to the server: requests with the key, refusals as errors, streams as events.

/** By path, what the page knows of each route at which a model is asked: example, view, fields of the body. */
export const ROUTES = JSON.parse(document.body.dataset.routes);
/** By the route's name, the paths at which no model is asked; and the server's limits. */
export const { paths: PATHS, limits: LIMITS } = JSON.parse(document.body.dataset.server);

/** A request that got no answer: the server's sentence, and the field at fault where it names one. */
export class Refused extends Error {
  constructor(message, { status = 0, param = null, code = null, seconds = 0 } = {}) {
    super(message);
    Object.assign(this, { status, param, code, seconds });
  }
}

let key = "";
export const hasKey = () => key !== "";
export const useKey = (value) => { key = value.trim(); };

const headers = () => ({ "content-type": "application/json", ...(key && { authorization: "Bearer " + key }) });

async function refusal(response) {
  if (response.status === 401) document.dispatchEvent(new Event("key-wanted"));
  const { message, ...rest } = (await response.json().catch(() => null))?.error ?? {};
  const seconds = Number(response.headers.get("retry-after")) || 0;
  return new Refused(message ?? `The server answered ${response.status}.`, { status: response.status, seconds, ...rest });
}

async function send(path, options) {
  try {
    return await fetch(path, { headers: headers(), cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is it still running?");
  }
}

/** The response to a GET as JSON; a status of 503 has a body too (`/ready`). */
export async function look(path) {
  const response = await send(path);
  if (!response.ok && response.status !== 503) throw await refusal(response);
  return response.json();
}

/** The response to a body, after a look at its size. */
export async function ask(path, body, signal) {
  const text = JSON.stringify(body), bytes = new TextEncoder().encode(text).length;
  if (bytes > LIMITS.max_body_bytes)
    throw new Refused(`This is ${bytes.toLocaleString("en")} bytes; the server reads ${LIMITS.max_body_bytes.toLocaleString("en")} at once.`);
  const response = await send(path, { method: "POST", body: text, signal });
  if (!response.ok) throw await refusal(response);
  return response;
}

export const askJson = async (path, body, signal) => (await ask(path, body, signal)).json();

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Refused("The connection broke while the answer was being written.");
    });
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const line = part.split("\n").find((each) => each.startsWith("data:"));
      if (line && line !== "data: [DONE]") yield JSON.parse(line.slice(5));
    }
  }
}

const ENDINGS = { stop: "ended by itself", length: "cut at the limit of tokens" };

/**
 * A text as it is written, in the shape of completions or chat completions. Yields what is known so far:
 * `{text, who, facts, done}`. Not streamed (a search for the most likely text can't be), it arrives at once.
 */
export async function* write(path, body, signal, streamed) {
  const began = performance.now();
  const asked = streamed ? { ...body, stream: true, stream_options: { include_usage: true } } : body;
  const response = await ask(path, asked, signal);
  let text = "", why = "", first = 0, tokens, who = "";
  for await (const chunk of streamed ? events(response) : [await response.json()]) {
    if (chunk.error) throw new Refused(chunk.error.message, chunk.error);
    who = chunk.version != null ? `${chunk.model} version ${chunk.version}` : chunk.model ?? who;
    for (const choice of chunk.choices ?? []) {
      text += choice.text ?? choice.delta?.content ?? choice.message?.content ?? "";
      if (choice.finish_reason) why = ENDINGS[choice.finish_reason] ?? choice.finish_reason;
    }
    const passed = performance.now() - began;
    if (text) first = first || passed;
    tokens = chunk.usage?.completion_tokens ?? tokens;
    const facts = [
      first && `${streamed ? "first token after" : "after"} ${Math.round(first)} ms`,
      tokens !== undefined && `${tokens} token${tokens === 1 ? "" : "s"}`,
      streamed && tokens > 4 && `${Math.round((1000 * tokens) / passed)} tokens/s`,
      why,
    ];
    yield { text, who, facts: facts.filter(Boolean), done: why !== "" };
  }
  if (!why) throw new Refused("The server broke the answer off.");
}

/** How many tokens a model reads of `{prompt}` or `{messages}`; null where the server does not count for others. */
export async function countTokens(model, what, signal) {
  if (!PATHS.tokenize) return null;
  const answer = await askJson(PATHS.tokenize, { model, ...what }, signal).catch(() => null);
  return answer?.count ?? null;
}
