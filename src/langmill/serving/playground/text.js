// The view "text": a text and its continuation or answer, side by side; and "translation", a source and its translation.

import { button, make, reveal } from "./dom.js";
import { answerPanel, promptBox, runner } from "./panels.js";
import { askJson, write } from "./server.js";
import { settingsForm } from "./settings.js";

const tooLong = (tokens, limit) => `${tokens.toLocaleString("en")} tokens, the model reads ${limit.toLocaleString("en")}: shorten it`;

function twoPanels(context, { label, title, hint, verb, tools = [], produce }) {
  const { model, route, field } = context;
  const settings = settingsForm(route.fields, model, context.changed);
  const box = promptBox({ label, model, tooLong, value: model().examples[context.path]?.[field] ?? "", oninput: context.changed });
  const answer = answerPanel(title, ...tools);
  const go = button(verb, () => (runs.busy ? runs.stop() : run()), { className: "go" });
  const request = () => ({ path: context.path, body: { model: model().id, [field]: box.value, ...settings.values() } });
  const runs = runner({
    started() { go.textContent = "Stop"; },
    ended(stopped) {
      go.textContent = verb;
      answer.body.classList.remove("writing");
      if (stopped) answer.facts.append(make("span", {}, "stopped"));
    },
    failed(problem) {
      if (!settings.blame(problem.param, problem.message)) answer.fail(problem, run);
      else answer.clear(hint);
    },
  });

  function run() {
    if (!settings.check()) return;
    if (box.over) return answer.fail(new Error(`The text has ${box.over}.`));
    answer.clear("");
    answer.body.classList.replace("empty", "writing");
    reveal(answer.root);
    return runs.run((signal) => produce({ request: request(), settings, answer, signal }));
  }

  answer.clear(hint);
  const root = make("div", { className: "two" },
    make("section", { aria: { label: "Request" } }, box.root, settings.root,
      make("div", { className: "row" }, go, make("span", { className: "hint" }, make("kbd", {}, "Ctrl"), " ", make("kbd", {}, "Enter")))),
    answer.root);
  return {
    root, request, run, stop: runs.stop, focus: () => box.area.focus(), box,
    refresh() { settings.refresh(); box.recount(); },
  };
}

/** A text to go on with, or to answer. */
export function textView(context) {
  const { model } = context;
  const continues = () => model().defaults?.temperature > 0;  // one that is greedy or searches answers
  const further = button("Go on from here", () => {
    view.box.value = view.box.value + written;
    view.run();
  }, { className: "quiet", hidden: true, title: "Take this as the beginning" });
  let written = "";
  const view = twoPanels(context, {
    label: continues() ? "The beginning of a text" : "A text to answer",
    title: "Answer",
    hint: "What the model writes appears here.",
    verb: continues() ? "Write on" : "Answer",
    tools: [further],
    async produce({ request: { path, body }, settings, answer, signal }) {
      further.hidden = true;
      const given = make("span", { className: "given" }, continues() ? body[context.field] : ""), text = make("span");
      const streamed = settings.beams() <= 1 || body.temperature > 0;
      answer.body.replaceChildren(given);
      for await (const { text: so_far, who, facts } of write(path, body, signal, streamed)) {
        if (!text.parentNode) answer.body.append(text);
        text.textContent = written = so_far;
        answer.state(who, ...facts);
      }
      if (!written) text.append(make("i", { className: "given" }, "(no text)"));
      further.hidden = !continues() || !written;
    },
  });
  return view;
}

/** A source text and its translation. The response has OpenAI's choices, or `data` with one entry a text. */
export function translationView(context) {
  return twoPanels(context, {
    label: "Text to translate",
    title: "Translation",
    hint: "The translation appears here.",
    verb: "Translate",
    async produce({ request: { path, body }, answer, signal }) {
      const began = performance.now(), found = await askJson(path, body, signal);
      answer.show(translationOf(found));
      answer.state(`${found.model} version ${found.version}`, `after ${Math.round(performance.now() - began)} ms`,
        found.usage?.completion_tokens !== undefined && `${found.usage.completion_tokens} tokens`);
    },
  });
}

/** The text of a translation, wherever a response of that view has it. */
export function translationOf(found) {
  const [first] = found.data ?? found.choices ?? [];
  return first?.translation ?? first?.text ?? first?.message?.content ?? found.translation ?? JSON.stringify(found, null, 1);
}

/** Any route that the page knows no view for: its example's text, and the response as JSON. */
export function jsonView(context) {
  const view = twoPanels(context, {
    label: context.field ?? "Request", title: "Response", hint: "The response appears here.", verb: "Ask",
    async produce({ request: { path, body }, answer, signal }) {
      const found = await askJson(path, { ...context.route.example, ...body }, signal);
      answer.show(make("pre", {}, shortened(found)));
      if (found.version) answer.state(`${found.model} version ${found.version}`);
    },
  });
  const { request } = view;
  view.request = () => ({ path: context.path, body: { ...context.route.example, ...request().body } });
  return view;
}

/** JSON to be read: long lists of numbers keep their beginning. */
function shortened(found) {
  const numbers = (value) => Array.isArray(value) && value.length > 8 && value.every((each) => typeof each === "number");
  return JSON.stringify(found, (_, value) => (numbers(value) ? [...value.slice(0, 6), `… ${value.length} numbers`] : value), 1);
}
