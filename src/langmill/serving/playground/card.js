// The view of a model's card: what it is, from what, how good, and what it can't do; as far as the server says.

import { make, plural } from "./dom.js";
import { look, PATHS, ROUTES } from "./server.js";

const CAN = { chat: "answers in conversations", text: "continues or answers texts", translation: "translates", labels: "classifies texts" };
const CANNOT = {
  chat: "It does not chat: it has not learned turns of a conversation.",
  labels: "It gives no labels.",
  text: "It writes no text.",
};
const words = (name) => name.replaceAll("_", " ");

export function cardView(context) {
  const { model } = context;
  const root = make("section", { className: "card", aria: { label: "About the model" } });
  let shown = "";

  async function refresh() {
    const entry = model(), known = `${entry.id} ${entry.version}`;
    if (known === shown) return;
    shown = known;
    const told = Object.values(PATHS).some((path) => path.startsWith(PATHS.models + "/{"));
    const more = told ? await look(`${PATHS.models}/${encodeURIComponent(entry.id)}`).catch(() => ({})) : {};
    if (known === shown) draw({ ...entry, ...more });
  }

  function draw(card) {
    const rows = [...facts(card)].filter(([, fact]) => fact !== undefined && fact !== null && fact !== "");
    root.replaceChildren(
      make("h2", {}, `${card.id}, version ${card.version}`),
      make("p", { className: "lead" }, card.description ?? ""),
      make("dl", {}, ...rows.flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, fact)])),
      ...quality(card),
      make("h3", {}, "What it can't do"), make("ul", {}, ...limits(card).map((text) => make("li", {}, text))));
  }

  return { root, refresh, opened: refresh, stop() {}, focus() {}, request: null };
}

const viewsOf = (card) => new Set(card.endpoints.map((path) => ROUTES[path]?.view).filter(Boolean));

function* facts({ origin = {}, ...entry }) {
  const card = { ...entry, ...origin };
  const can = [...viewsOf(card)].map((view) => CAN[view]).filter(Boolean);
  yield ["What it does", can.join(", ")];
  yield ["Labels", card.labels?.length ? card.labels.join(", ") : ""];
  yield ["Languages", card.languages?.filter(Boolean).join(" to ")];
  yield ["Trained on", [card.corpus, card.training_documents && plural(card.training_documents, "document")].filter(Boolean).join(", ")];
  yield ["Fine-tuned from", card.base];
  yield ["Parameters", card.parameters && card.parameters.toLocaleString("en")];
  yield ["Context length", plural(card.context_length, "token")];
  yield ["Reads at once here", card.max_prompt_tokens && plural(card.max_prompt_tokens, "token")];
  yield ["Longest answer here", card.max_tokens && plural(card.max_tokens, "token")];
  yield ["Provenance", card.provenance && make("code", {}, card.provenance)];
}

/** The metric that decides beside its baselines, where the server says them. */
function quality({ metrics }) {
  if (!metrics || !Object.keys(metrics).length) return [make("p", { className: "hint" }, "This server does not say how good it is; langmill report does.")];
  const { metric, better, value, low, high, judged, ...rest } = metrics;
  // As the registry has them: "unigram 2.7".
  const others = ["trivial_baseline", "strong_baseline", "base"].filter((name) => rest[name]).map((name) => {
    const [, which, reached] = /^(.*) (\S+)$/.exec(rest[name]) ?? [null, rest[name], null];
    return { name: which, strength: name.split("_")[0], value: Number.isFinite(Number(reached)) ? Number(reached) : reached };
  });
  // Four digits of the own value, and as many decimals of what stands under it.
  const decimals = Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value) || 1))));
  const number = (given) => (typeof given === "number" ? given.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }) : given ?? "");
  const line = (name, reached, className, range = "") => make("tr", { className }, make("td", {}, name),
    make("td", { className: "number" }, number(reached)), make("td", { className: "number" }, range));
  const interval = low === undefined || high === undefined ? "" : `${number(low)} to ${number(high)}`;
  return [
    make("h3", {}, "How good it is"),
    make("table", {}, make("tbody", {}, value === undefined ? "" : line(words(metric), value, "own", interval),
      ...others.map(({ name, strength, value: reached }) => line(`${words(String(name))} (${strength === "base" ? "before tuning" : `${strength} baseline`})`, reached, "baseline")))),
    make("p", { className: "hint" }, `On ${judged ? `${judged} ` : "the "}test documents, which it has not seen${interval && "; the range is the 95% interval"}.${better ? ` The ${better}, the better.` : ""}`),
  ];
}

function limits(card) {
  const views = viewsOf(card), found = Object.entries(CANNOT).filter(([view]) => !views.has(view) && !(view === "text" && views.has("chat"))).map(([, text]) => text);
  if (views.has("labels")) found.push(`It always picks one of its ${card.labels.length} labels, also for a text that none fits.`, `It reads the first ${plural(card.context_length, "token")} of a text; what is left out is said.`);
  else found.push(`It reads up to ${plural(card.max_prompt_tokens ?? card.context_length, "token")} at once; a longer text is refused.`);
  if (views.has("text") || views.has("chat")) found.push("It looks nothing up: names, dates and numbers that it writes may be wrong.");
  return found;
}
