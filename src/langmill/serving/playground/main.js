// The page: which models there are, what can be done with the chosen one, and the request as code.

import { cardView } from "./card.js";
import { chatView } from "./chat.js";
import { compareView, rivals } from "./compare.js";
import { $, button, copy, make } from "./dom.js";
import { labelsView } from "./labels.js";
import { hasKey, look, PATHS, ROUTES, useKey } from "./server.js";
import { snippets } from "./snippets.js";
import { tableView } from "./table.js";
import { jsonView, textView, translationView } from "./text.js";

const LOOK_EVERY = 4000;
/** By a route's `page_view`, in the order of the tabs; `more` are views of the same route. */
const VIEWS = {
  chat: { name: "Chat", make: chatView },
  translation: { name: "Translate", make: translationView },
  labels: { name: "Classify", make: labelsView, more: [{ id: "table", name: "Table", make: tableView }] },
  text: { name: "Write", make: textView },
  json: { name: null, make: jsonView },
};
const COMPARED = ["chat", "translation", "text", "labels"];

const state = { models: null, chosen: null, tab: null, opened: new Map(), language: "curl" };
const entry = (id = state.chosen) => state.models?.find((model) => model.id === id);
const key = () => `${state.chosen} ${state.tab}`;
const view = () => state.opened.get(key());

/** What can be done with a model: its routes' views, a comparison where there is something to compare with, its card. */
function tabs(model) {
  const paths = model.endpoints.filter((path) => ROUTES[path] && !path.includes("{"));  // no parameter to fill
  const found = [], order = Object.keys(VIEWS);
  for (const path of paths.sort((one, other) => order.indexOf(ROUTES[one].view) - order.indexOf(ROUTES[other].view))) {
    const { view: kind } = ROUTES[path], { name, make: build, more = [] } = VIEWS[kind] ?? VIEWS.json;
    const twin = found.some((tab) => tab.kind === kind) || name === null;
    found.push({ id: twin ? path.split("/").at(-1) : kind, kind, name: twin ? title(path) : name, make: build, path });
    if (!twin) for (const each of more) found.push({ ...each, kind, path });
  }
  const compared = found.find(({ kind, path }) => COMPARED.includes(kind) && rivals(model, state.models, path).length);
  if (compared && PATHS.votes) found.push({ ...compared, id: "compare", name: "Compare blind", make: compareView });
  found.push({ id: "about", kind: "about", name: "About", make: cardView });
  return found;
}

const title = (path) => path.split("/").at(-1).replace(/^./, (letter) => letter.toUpperCase());

async function refresh() {
  try {
    const ready = await look(PATHS.ready);
    $("health").className = ready.ready ? "ready" : "waiting";
    $("health").textContent = ready.ready ? "ready" : "not ready";
    const refused = Object.entries(ready.models ?? {}).filter(([, each]) => each.refused)
      .map(([name, each]) => `${name} version ${each.refused.version} was refused: ${each.refused.reason}`);
    say([...(ready.reasons ?? []), ...refused]);
    const { data } = await look(PATHS.models);
    $("key").hidden = true;
    $("links").hidden = hasKey();  // links carry no key
    show(data);
  } catch (problem) {
    if (problem.status === 401) return;
    $("health").className = "waiting";
    $("health").textContent = problem.status ? "not ready" : "the server does not answer";
    if (problem.status) say([problem.message]);
  }
}

function say(notices) {
  const text = notices.join("\n");
  if ($("notice").textContent !== text) $("notice").textContent = text;
  $("notice").hidden = !text;
}

function show(served) {
  const models = withGone(served);
  const before = Object.fromEntries((state.models ?? []).map((model) => [model.id, model.version]));
  if (state.models && JSON.stringify(models) === JSON.stringify(state.models)) return;
  state.models = models;
  const focused = document.activeElement?.dataset.model;
  $("models").replaceChildren(...models.map((model) => {
    const fresh = before[model.id] !== undefined && before[model.id] !== model.version;
    const pill = button(model.id, () => choose(model.id), {
      data: { model: model.id }, aria: { pressed: model.id === state.chosen },
      className: fresh ? "swapped" : "", title: fresh ? `was version ${before[model.id]}` : "",
    });
    pill.append(make("small", {}, model.gone ? "not in service" : `version ${model.version}`));
    if (model.id === focused) queueMicrotask(() => pill.focus());
    return pill;
  }));
  if (!models.length) return $("view").replaceChildren(make("p", { className: "hint" }, "No model is in service yet."));
  if (entry()) return renew();
  const [wanted, tab] = location.hash.slice(1).split("/").map(decodeURIComponent);
  choose(entry(wanted)?.id ?? models[0].id, tab);
}

/** A model that was here and is not in service now keeps its place, and with it what was typed: it may be on its way back. */
function withGone(served) {
  const known = state.models ?? [], find = (list, wanted) => list.find(({ id }) => id === wanted);
  if (known.every(({ id }) => find(served, id))) return served;
  return [...known.map((each) => find(served, each.id) ?? { ...each, gone: true }), ...served.filter(({ id }) => !find(known, id))];
}

/** Another version may have come into service: what was typed, written and chosen stays. */
function renew() {
  drawTabs();
  for (const [name, each] of state.opened) if (name.startsWith(state.chosen + " ")) each.refresh?.();
  drawCode();
}

function choose(id, tab) {
  view()?.stop();
  state.chosen = id;
  for (const pill of $("models").children) {
    pill.setAttribute("aria-pressed", String(pill.dataset.model === id));
    if (pill.dataset.model === id) pill.scrollIntoView({ inline: "nearest", block: "nearest" });
  }
  const offered = tabs(entry());
  open((offered.find((each) => each.id === tab) ?? offered[0]).id);
}

function open(id) {
  view()?.stop();
  state.tab = id;
  const tab = tabs(entry()).find((each) => each.id === id), modelId = state.chosen;
  if (!state.opened.has(key())) {
    const route = ROUTES[tab.path] ?? { example: {}, fields: [] };
    const field = Object.keys(route.example).find((name) => typeof route.example[name] === "string");
    const model = () => entry(modelId) ?? last;
    const last = entry();
    state.opened.set(key(), tab.make({ model, modelId, path: tab.path, route, field, models: () => state.models, changed: drawCode }));
  }
  history.replaceState(null, "", `#${encodeURIComponent(state.chosen)}/${encodeURIComponent(id)}`);
  document.title = `${state.chosen} · Langmill`;
  drawTabs();
  $(`tab-${id}`).scrollIntoView({ inline: "nearest", block: "nearest" });
  $("view").replaceChildren(view().root);
  view().refresh?.();
  view().opened?.();
  view().focus({ preventScroll: true });
  drawCode();
}

function drawTabs() {
  const offered = tabs(entry()), focused = document.activeElement?.role === "tab";
  $("tabs").replaceChildren(...offered.map((tab) => button(tab.name, () => open(tab.id), {
    role: "tab", id: `tab-${tab.id}`, tabIndex: tab.id === state.tab ? 0 : -1, aria: { selected: tab.id === state.tab, controls: "view" },
  })));
  $("view").setAttribute("aria-labelledby", `tab-${state.tab}`);
  if (focused) $(`tab-${state.tab}`)?.focus();
}

function drawCode() {
  const request = view()?.request?.();
  $("code").hidden = !request;
  if (!request || !$("code").open) return;
  const { view: kind } = ROUTES[request.path], found = snippets(request, kind);
  $("languages").replaceChildren(...Object.keys(found).map((name) => button(name, () => { state.language = name; drawCode(); },
    { className: "quiet", aria: { pressed: name === state.language } })));
  $("snippet").textContent = found[state.language];
}

$("code").ontoggle = drawCode;
$("copy").onclick = () => copy($("snippet").textContent, $("copy"));
$("key").onsubmit = (event) => { event.preventDefault(); useKey($("key-value").value); refresh(); };
document.addEventListener("key-wanted", () => {
  const appears = $("key").hidden;
  $("key").hidden = false;
  $("links").hidden = true;
  $("key").firstElementChild.textContent = hasKey() ? "The server does not know this key" : "This server wants a key";
  if (appears) $("key-value").focus();
});
$("tabs").onkeydown = (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], offered = tabs(entry());
  if (!step) return;
  event.preventDefault();
  const at = offered.findIndex((each) => each.id === state.tab);
  open(offered.at((at + step) % offered.length).id);
  $(`tab-${state.tab}`).focus();
};
document.onkeydown = (event) => {
  const inSetting = event.target.dataset?.setting !== undefined;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey || inSetting) && !event.isComposing) { event.preventDefault(); view()?.run?.(); }
  if (event.key === "Escape") view()?.stop();
};
addEventListener("hashchange", () => {
  const [wanted, tab] = location.hash.slice(1).split("/").map(decodeURIComponent);
  if (entry(wanted) && (wanted !== state.chosen || tab !== state.tab)) choose(wanted, tab);
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();
setInterval(() => document.hidden || refresh(), LOOK_EVERY);
