// Two models, or two versions of one, asked the same, blind: which wrote which is shown after the vote, and the vote is stored.

import { button, make, percent, plural, reveal } from "./dom.js";
import { complain, promptBox, runner } from "./panels.js";
import { askJson, PATHS, write } from "./server.js";
import { settingsForm } from "./settings.js";
import { translationOf } from "./text.js";

const VERDICTS = { a: "A is better", b: "B is better", tie: "Both are good", neither: "Both are bad" };

/** What a model can be compared with at a path: its own versions beside the one in service, then other models. */
export function rivals(model, models, path) {
  const own = Object.entries(model.beside ?? {}).map(([id, version]) => ({ id, name: `version ${version} (${id.split("@").at(-1)})` }));
  const rest = models.filter(({ id, endpoints, gone }) => !gone && id !== model.id && endpoints.includes(path));
  return [...own, ...rest.map(({ id, version }) => ({ id, name: `${id}, version ${version}` }))];
}

export function compareView(context) {
  const { model, models, route, field, path } = context;
  const others = () => rivals(model(), models(), path);
  const other = make("select", { id: "compare-other" });
  const settings = settingsForm(route.view === "labels" ? [] : route.fields, model, context.changed);
  const box = promptBox({
    label: "The same for both", model, also: () => models().filter(({ id }) => id === other.value), tooLong: (tokens, limit) => `${tokens} tokens, the model reads ${limit}`,
    value: example(), oninput: context.changed,
  });
  const go = button("Ask both", () => (runs.busy ? runs.stop() : run()), { className: "go" });
  const error = make("div", { className: "error", hidden: true, aria: { role: "alert" } });
  const sides = ["a", "b"].map((side) => {
    const body = make("div", { className: "answer empty", dir: "auto" }), name = make("span", { className: "name" }, side.toUpperCase());
    return { side, body, name, root: make("section", { aria: { label: side.toUpperCase() } }, name, body) };
  });
  const votes = make("div", { className: "row votes", hidden: true },
    ...Object.entries(VERDICTS).map(([verdict, text]) => button(text, () => vote(verdict), { data: { verdict } })));
  const told = make("p", { className: "hint", aria: { role: "status" } });
  let pair = null;

  const runs = runner({
    started() { go.textContent = "Stop"; error.hidden = true; },
    ended() { go.textContent = "Ask both"; for (const { body } of sides) body.classList.remove("writing"); },
    failed(problem) { if (!settings.blame(problem.param, problem.message)) { complain(error, problem, run); reveal(error); } },
  });

  function example() {
    const given = model().examples[path] ?? {};
    return given.messages?.findLast(({ role }) => role === "user")?.content ?? given[field] ?? "";
  }
  const bodyFor = (id) => ({ model: id, ...(route.view === "chat" ? { messages: [{ role: "user", content: box.value }] } : { [field]: box.value }), ...settings.values() });

  async function answerOf(id, signal) {
    if (route.view === "labels") {
      const found = await askJson(path, bodyFor(id), signal), [{ label, probability }] = found.data;
      return { text: `${label} (${percent(probability)})`, model: found.model, version: found.version };
    }
    if (route.view === "translation") {
      const found = await askJson(path, bodyFor(id), signal);
      return { text: translationOf(found), model: found.model, version: found.version };
    }
    let last;
    for await (const found of write(path, bodyFor(id), signal, false)) last = found;
    const [name, version] = last.who.split(/ version (?=[^ ]*$)/);
    return { text: last.text, model: name, version: Number(version) };
  }

  function run() {
    if (!box.value.trim()) return complain(error, new Error("There is nothing to ask yet."));
    if (box.over) return complain(error, new Error(`The text has ${box.over}.`));
    if (!settings.check()) return;
    const ids = [context.modelId, other.value];
    if (Math.random() < 0.5) ids.reverse();
    pair = null;
    votes.hidden = true;
    told.textContent = "";
    for (const { body, name, side } of sides) {
      name.textContent = side.toUpperCase();
      body.className = "answer writing";
      body.textContent = "";
    }
    reveal(sides[0].root);
    return runs.run(async (signal) => {
      // Shown together: how fast one writes would give it away.
      const found = await Promise.all(ids.map((id) => answerOf(id, signal)));
      pair = { prompt: box.value, a: found[0], b: found[1] };
      for (const [index, { body }] of sides.entries()) {
        body.className = "answer";
        body.textContent = found[index].text.trim() || "(no text)";
      }
      votes.hidden = false;
      told.textContent = found[0].text === found[1].text ? "Both wrote the same." : "";
      votes.querySelector("button").focus({ preventScroll: true });
      reveal(sides[0].root);
    });
  }

  async function vote(verdict) {
    if (!pair) return;
    for (const each of votes.children) each.disabled = true;
    try {
      const tally = await askJson(PATHS.votes, { path, verdict, ...pair });
      for (const { side, name } of sides) name.textContent = `${side.toUpperCase()} is ${pair[side].model} version ${pair[side].version}`;
      votes.hidden = true;
      const won = Object.entries(tally.wins).map(([name, count]) => `${count} for ${name}`).join(", ");
      told.textContent = `Your vote is stored. ${plural(tally.votes, "vote")} on these two so far: ${won}, ${tally.ties} for neither.`;
      pair = null;
      go.focus({ preventScroll: true });
    } catch (problem) {
      complain(error, problem, () => { error.hidden = true; vote(verdict); });
    } finally {
      for (const each of votes.children) each.disabled = false;
    }
  }

  function refresh() {
    const chosen = other.value;
    other.replaceChildren(...others().map(({ id, name }) => make("option", { value: id }, name)));
    if (others().some(({ id }) => id === chosen)) other.value = chosen;
    settings.refresh();
  }

  other.onchange = box.recount;
  refresh();
  for (const { body } of sides) body.textContent = "An answer appears here; who wrote it is shown after your vote.";
  const root = make("div", { className: "compare" },
    make("section", { aria: { label: "Request" } }, make("div", { className: "row" },
      make("label", { htmlFor: "compare-other" }, `${context.modelId} against`), other), box.root, settings.root,
      make("div", { className: "row" }, go, make("span", { className: "hint" }, "A vote stores the prompt and both answers on the server."))),
    error, make("div", { className: "two" }, ...sides.map((each) => each.root)), votes, told);
  return { root, run, stop: runs.stop, focus: () => box.area.focus(), refresh, request: () => ({ path, body: bodyFor(context.modelId) }) };
}
