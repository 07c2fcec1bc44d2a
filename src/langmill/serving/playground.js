"use strict";
const $ = (id) => document.getElementById(id);
const ROUTES = JSON.parse(document.body.dataset.routes);  // by path: an example of a body, and how to show a response
const KNOBS = ["max_tokens", "temperature", "top_p", "num_beams", "seed"];
const state = { models: [], chosen: null, path: null, running: null, key: "", drafts: {} };
const current = () => state.models.find((model) => model.id === state.chosen);
const route = () => ROUTES[state.path];
const paths = (model) => model.endpoints.filter((path) => ROUTES[path] && !path.includes("{"));  // no parameter to fill
const field = () => Object.keys(route().example).find((key) => typeof route().example[key] === "string");
// A model that samples goes on with a text; one that is greedy or searches answers it.
const continues = () => route().view === "text" && current().defaults.temperature > 0;
const verb = () => ({ text: continues() ? "Write on" : "Answer", labels: "Classify", json: "Ask" })[route().view];

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function toggle(text, pressed, onclick) {
  const button = make("button", "", text);
  button.setAttribute("aria-pressed", String(pressed));
  button.onclick = onclick;
  return button;
}

function headers() {
  const found = { "content-type": "application/json" };
  if (state.key) found.authorization = "Bearer " + state.key;
  return found;
}

async function refresh() {
  try {
    const ready = await (await fetch("/ready", { headers: headers(), cache: "no-store" })).json();
    const answer = await fetch("/v1/models", { headers: headers(), cache: "no-store" });
    $("health").className = ready.ready ? "ready" : "waiting";
    $("health").textContent = ready.ready ? "ready" : "not ready";
    const refused = Object.entries(ready.models).filter(([, each]) => each.refused)
      .map(([name, each]) => `${name} version ${each.refused.version} was refused: ${each.refused.reason}`);
    const notices = [...(ready.reasons ?? []), ...refused];
    $("notice").textContent = notices.join("\n");
    $("notice").hidden = !notices.length;
    const asks = answer.status === 401, appears = asks && $("key").hidden;
    $("key").hidden = !asks;
    $("links").hidden = asks || state.key !== "";  // links carry no key
    if (appears) $("key-value").focus();
    $("key").firstElementChild.textContent = state.key ? "The server does not know this key" : "This server wants a key";
    if (answer.ok) show((await answer.json()).data);
  } catch {
    $("health").className = "waiting";
    $("health").textContent = "the server does not answer";
  }
}

function show(models) {
  if (JSON.stringify(models) === JSON.stringify(state.models) && models.length) return;
  const before = Object.fromEntries(state.models.map((model) => [model.id, model.version]));
  state.models = models;
  const focused = document.activeElement.dataset.model;
  $("models").replaceChildren(...models.map((model) => {
    const button = toggle(model.id, model.id === state.chosen, () => choose(model.id));
    button.dataset.model = model.id;
    button.append(make("small", "", "version " + model.version));
    if (before[model.id] && before[model.id] !== model.version) {
      button.classList.add("swapped");
      button.title = `was version ${before[model.id]}`;
    }
    if (model.id === focused) queueMicrotask(() => button.focus());
    return button;
  }));
  if (!models.length) $("text").textContent = "No model is in service yet.";
  else if (current()) fill();
  else {
    const wanted = decodeURIComponent(location.hash.slice(1));
    choose(models.some((model) => model.id === wanted) ? wanted : models[0].id);
  }
}

// What was typed for a model, which stays when another one is looked at. Knobs that were not touched follow the version.
const draft = () => (state.drafts[state.chosen] ??= { prompts: {}, knobs: {} });

function choose(id) {
  stop();
  state.chosen = id;
  history.replaceState(null, "", "#" + encodeURIComponent(id));
  document.title = id + " · Langmill";
  for (const button of $("models").children) button.setAttribute("aria-pressed", String(button.dataset.model === id));
  at(paths(current())[0]);
}

function at(path) {
  stop();
  state.path = path;
  const offered = paths(current());
  $("routes").hidden = offered.length < 2;
  $("routes").replaceChildren(...offered.map((each) => toggle(each, each === path, () => at(each))));
  $("go").disabled = $("copy").disabled = $("prompt").disabled = !path;
  $("knobs").hidden = route()?.view !== "text";
  clear();
  if (!path) {
    $("text").textContent = `The page has no form for ${current().endpoints.join(" and ")}.`;
    return;
  }
  const labels = { text: continues() ? "The beginning of a text" : "A text to answer", labels: "A text to classify", json: field() };
  $("prompt-label").textContent = labels[route().view];
  $("prompt").value = draft().prompts[path] ?? current().examples[path][field()] ?? "";
  $("go").textContent = verb();
  fill();
  $("prompt").focus();
  if (route().view === "labels") run();
}

function fill() {
  const { defaults, max_tokens: most } = current();
  if (!defaults) return;
  for (const name of KNOBS) $(name).value = draft().knobs[name] ?? defaults[name] ?? "";
  $("max_tokens").max = most;
  $("num_beams").parentElement.hidden = defaults.num_beams === 1;
}

function clear() {
  $("error").hidden = $("further").hidden = true;
  $("facts").replaceChildren();
  $("bars").replaceChildren();
  $("bars").hidden = route()?.view !== "labels";
  $("text").hidden = !$("bars").hidden;
  $("text").className = "empty";
  $("text").textContent = "What the model says appears here.";
}

function body() {
  const asked = { model: state.chosen, ...(route().view === "text" ? {} : route().example) };
  if (field()) asked[field()] = $("prompt").value;
  if (route().view === "text")  // what is left out is the model's own
    for (const [name, value] of Object.entries(draft().knobs)) asked[name] = Number(value);
  return asked;
}

const counted = (tokens) => tokens !== undefined && `${tokens} token${tokens === 1 ? "" : "s"}`;

function say(text) {
  $("text").hidden = false;
  $("text").className = "";
  $("text").textContent = text;
}

function facts(answer, ...rest) {
  const who = make("b", "", `${answer.model} version ${answer.version}`);
  $("facts").replaceChildren(who, ...rest.filter(Boolean).map((text) => make("span", "", text)));
}

function fail(message) {
  $("text").hidden = $("text").classList.contains("empty");
  $("error").textContent = message;
  $("error").hidden = false;
}

function stop() {
  if (!state.running) return;
  state.running.abort();
  state.running = null;
  $("facts").append(make("span", "", "stopped"));
  $("go").textContent = verb();
  $("text").classList.remove("writing");
}

async function run() {
  if (!state.path) return;
  stop();
  const control = (state.running = new AbortController());
  const { view } = route();
  clear();
  try {
    const request = body();
    if (view === "text") {
      $("go").textContent = "Stop";
      $("text").className = "writing";
      $("text").textContent = continues() ? request[field()] : "";
      const searches = (request.num_beams ?? current().defaults.num_beams) > 1 && !request.temperature;
      if (!searches) Object.assign(request, { stream: true, stream_options: { include_usage: true } });
    }
    const began = performance.now();
    const answer = await fetch(state.path, {
      method: "POST", headers: headers(), body: JSON.stringify(request), signal: control.signal,
    });
    if (!answer.ok) {
      if (answer.status === 401) $("key").hidden = false;
      const problem = await answer.json().catch(() => null);
      $("text").className = "empty";
      fail(problem?.error?.message ?? `The server answered ${answer.status}.`);
    } else if (view === "text") await read(answer, request, began);
    else if (view === "labels") bars(await answer.json());
    else say(JSON.stringify(await answer.json(), null, 1));
  } catch (error) {
    if (error.name !== "AbortError") fail("The server does not answer.");
  } finally {
    if (state.running === control) {
      state.running = null;
      $("go").textContent = verb();
      $("text").classList.remove("writing");
    }
  }
}

async function* chunks(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) if (event !== "data: [DONE]") yield JSON.parse(event.replace(/^data: /, ""));
  }
}

async function read(answer, request, began) {
  const written = document.createTextNode("");
  $("text").replaceChildren(make("span", "given", continues() ? request[field()] : ""), written);
  let why = "", first = 0;
  for await (const chunk of request.stream ? chunks(answer) : [await answer.json()]) {
    if (chunk.error) return fail(chunk.error.message);
    for (const choice of chunk.choices) {
      written.appendData(choice.text);
      if (choice.finish_reason) why = choice.finish_reason === "stop" ? "ended by itself" : "cut at the limit";
    }
    const passed = performance.now() - began;
    first = first || passed;
    const tokens = chunk.usage?.completion_tokens;
    facts(chunk, `${request.stream ? "first token " : ""}after ${Math.round(first)} ms`, counted(tokens),
      request.stream && tokens > 4 && `${Math.round((1000 * tokens) / passed)} tokens/s`, why);
  }
  if (!why) fail("The server broke the answer off.");
  if (!written.data) $("text").append(make("i", "given", "(no text)"));
  $("further").hidden = !why || !continues();
}

function bars(answer) {
  const found = answer.data[0];
  $("bars").replaceChildren(...Object.entries(found.probabilities).map(([label, value]) => {
    const bar = make("div", label === found.label ? "bar best" : "bar");
    const share = (100 * value).toFixed(1) + "%", track = make("div", "track"), fill = make("span", "fill");
    track.append(fill);
    bar.append(make("span", "label", label), track, make("span", "value", share));
    requestAnimationFrame(() => (fill.style.width = share));
    return bar;
  }));
  facts(answer, counted(answer.usage.prompt_tokens), found.truncated && "longer than the model reads: truncated");
}

async function copy() {
  const quoted = JSON.stringify(body()).replaceAll("'", "'\\''");
  const key = state.key ? " -H 'Authorization: Bearer KEY'" : "";
  const line = `curl -s ${location.origin}${state.path} -H 'Content-Type: application/json'${key} -d '${quoted}'`;
  try {
    await navigator.clipboard.writeText(line);  // browsers have none for a page of another machine without TLS
    $("copy").textContent = "Copied";
    setTimeout(() => ($("copy").textContent = "Copy as curl"), 1500);
  } catch {
    clear();
    say(line);
  }
}

$("go").onclick = () => (state.running && route().view === "text" ? stop() : run());
$("copy").onclick = copy;
$("further").onclick = () => {
  $("prompt").value = draft().prompts[state.path] = $("text").textContent;
  run();
};
$("key").onsubmit = (event) => { event.preventDefault(); state.key = $("key-value").value; refresh(); };
document.onkeydown = (event) => {
  const wanted = event.ctrlKey || event.metaKey || event.target.parentElement?.parentElement?.id === "knobs";
  if (event.key === "Enter" && wanted && !event.isComposing) { event.preventDefault(); run(); }
  if (event.key === "Escape") stop();
};
for (const name of KNOBS)
  $(name).oninput = () => {
    const { value } = $(name), { knobs } = draft();
    if (value === "" || Number(value) === current().defaults[name]) delete knobs[name];
    else knobs[name] = value;
  };
let pause;
$("prompt").oninput = () => {
  draft().prompts[state.path] = $("prompt").value;
  clearTimeout(pause);
  if (route().view === "labels") pause = setTimeout($("prompt").value.trim() ? run : clear, 250);
};
refresh();
setInterval(refresh, 4000);
