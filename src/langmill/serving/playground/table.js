// Beside the view "labels": a file of texts is classified row by row, and comes back with labels and probabilities.

import { delimiterOf, format, parse, textOf } from "./csv.js";
import { button, download, make, percent, plural, reveal } from "./dom.js";
import { complain, runner } from "./panels.js";
import { askJson, LIMITS, Refused } from "./server.js";

const MOST_BYTES = 50 * 2 ** 20;
const BATCH = 32;
const BUSY_TRIES = 5;
const PREVIEW = 20;
const LIKELY = /^(text|review|content|message|body|comment|sentence|question|title)s?$/i;

export function tableView(context) {
  const { model, field, path } = context;
  let table = null;
  const file = make("input", { type: "file", accept: ".csv,.tsv,.txt,text/csv,text/tab-separated-values", aria: { label: "File" } });
  const column = make("select", { id: "table-column" }), truth = make("select", { id: "table-truth" });
  const headed = make("input", { type: "checkbox", checked: true, id: "table-headed" });
  const about = make("p", { className: "hint" });
  const go = button("Classify all rows", () => (runs.busy ? runs.stop() : run()), { className: "go", disabled: true });
  const save = button("Download the result", () => table && download(result(), `${table.name}-${model().id}.csv`, "text/csv"), { disabled: true, className: "second" });
  const bar = make("progress", { max: 1, value: 0, hidden: true }), summary = make("p", { className: "facts" });
  const error = make("div", { className: "error", hidden: true, aria: { role: "alert" } });
  const preview = make("div", { className: "scroll" });
  const choices = make("div", { className: "grid ends", hidden: true },
    make("div", {}, make("label", { htmlFor: "table-column" }, "Column with the text"), column),
    make("div", {}, make("label", { htmlFor: "table-truth" }, "Column with the true label, if there is one"), truth),
    make("div", {}, make("label", { htmlFor: "table-headed", className: "check" }, headed, " The first row has the names")));

  const runs = runner({
    started() { go.textContent = "Stop"; bar.hidden = false; error.hidden = true; },
    ended(stopped) {
      go.textContent = "Classify all rows";
      bar.hidden = true;
      if (stopped) summary.append(make("span", {}, "stopped; what is done can be downloaded"));
    },
    failed(problem) { complain(error, problem, run); reveal(error); },
  });

  const rows = () => table.body;
  const names = () => table.rows[0].map((name, index) => (headed.checked && name.trim()) || `column ${index + 1}`);

  async function read(given) {
    runs.stop();
    error.hidden = true;
    try {
      if (given.size > MOST_BYTES) throw new Error(`${given.name} has ${Math.round(given.size / 2 ** 20)} MiB; up to 50 are read here. Larger files: ask the server from a program.`);
      const text = textOf(await given.arrayBuffer()), plain = /\.txt$/i.test(given.name);
      const delimiter = plain ? "\t" : delimiterOf(text), found = parse(text, delimiter);
      if (!found.length) throw new Error(`${given.name} holds no rows.`);
      table = { name: given.name.replace(/\.[^.]*$/, ""), rows: found, delimiter };
      headed.checked = !plain;  // a text in each line
      arrange();
    } catch (problem) {
      table = null;
      choices.hidden = go.disabled = save.disabled = true;
      about.textContent = "";
      summary.replaceChildren();
      preview.replaceChildren();
      const message = problem instanceof TypeError ? `${given.name} is not text in UTF-8; save it as such (in Excel: “CSV UTF-8”).` : problem.message;
      complain(error, new Error(message));
    }
  }

  /** Offer the columns, the best guess chosen: by its name, else the one with the longest cells. */
  function arrange() {
    table.body = headed.checked ? table.rows.slice(1) : table.rows;
    const titles = names(), some = rows().slice(0, 50);
    const length = (index) => some.reduce((sum, row) => sum + (row[index] ?? "").length, 0);
    const named = titles.findIndex((title) => LIKELY.test(title.trim()));
    const longest = titles.map((_, index) => index).sort((one, other) => length(other) - length(one))[0];
    const labels = new Set(model().labels ?? []);
    const known = titles.findIndex((_, index) => some.length && some.every((row) => labels.has(row[index])));
    const options = () => titles.map((title, index) => make("option", { value: index }, title));
    column.replaceChildren(...options());
    column.value = named >= 0 ? named : longest;
    truth.replaceChildren(make("option", { value: -1 }, "none"), ...options());
    truth.value = known;
    forget();
    choices.hidden = false;
    go.disabled = !some.length;
    about.textContent = `${plural(rows().length, "row")}, ${plural(titles.length, "column")}. The file is read in this page; only the texts of the column go to the server.`;
    draw();
  }

  async function run() {
    if (!table) return;
    forget();
    draw();
    reveal(bar);
    return runs.run(async (signal) => {
      const texts = rows().map((row) => row[Number(column.value)] ?? ""), size = Math.max(1, Math.min(BATCH, LIMITS.max_inputs));
      for (let start = 0; start < texts.length; start += size) {
        const places = texts.slice(start, start + size).map((_, offset) => start + offset);
        const full = places.filter((place) => texts[place].trim());
        for (const place of places) if (!texts[place].trim()) table.answers[place] = { problem: "empty text" };
        await classify(full, texts, signal);
        bar.value = Math.min(1, (start + size) / texts.length);
        table.done = Math.min(start + size, texts.length);
        tally(start, table.done);
        if (start < PREVIEW) draw();
        else summarise();
      }
    });
  }

  /** Classify some rows at once; where one of them is refused, each by itself, so that the others get their answer. */
  async function classify(places, texts, signal) {
    if (!places.length) return;
    try {
      const found = await patiently({ model: model().id, [field]: places.map((place) => texts[place]) }, signal);
      for (const each of found.data) table.answers[places[each.index]] = each;
      table.versions.add(`${found.model} version ${found.version}`);
    } catch (problem) {
      if (!(problem instanceof Refused) || ![400, 413].includes(problem.status)) throw problem;
      if (places.length === 1) table.answers[places[0]] = { problem: problem.message };
      else for (const place of places) await classify([place], texts, signal);
    }
  }

  /** Wait as long as the server says where it is full. */
  async function patiently(body, signal) {
    for (let tries = 1; ; tries += 1)
      try {
        return await askJson(path, body, signal);
      } catch (problem) {
        if (![429, 503].includes(problem.status) || tries === BUSY_TRIES) throw problem;
        await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(1, problem.seconds)));
        signal.throwIfAborted();
      }
  }

  function forget() {
    Object.assign(table, { answers: [], versions: new Set(), done: 0 });
    count();
  }

  /** Count all answers afresh, as when another column has the true labels. */
  function count() {
    table.counts = { done: 0, labels: new Map(), truncated: 0, compared: 0, right: 0 };
    tally(0, table.done);
  }

  /** Count the answers of some rows; a file may have a million, so each is looked at once. */
  function tally(start, end) {
    const { counts } = table, known = Number(truth.value);
    for (let place = start; place < end; place += 1) {
      const answer = table.answers[place];
      if (!answer) continue;
      counts.done += 1;
      if (answer.label === undefined) continue;
      counts.labels.set(answer.label, (counts.labels.get(answer.label) ?? 0) + 1);
      if (answer.truncated) counts.truncated += 1;
      if (known < 0) continue;
      counts.compared += 1;
      if (rows()[place][known] === answer.label) counts.right += 1;
    }
  }

  function summarise() {
    const { done, labels, truncated, compared, right } = table.counts;
    const failed = done - [...labels.values()].reduce((sum, each) => sum + each, 0);
    save.disabled = !done;
    summary.replaceChildren(...[
      done && `${done.toLocaleString("en")} of ${plural(rows().length, "row")} done`,
      ...[...labels].map(([label, times]) => `${label}: ${times.toLocaleString("en")}`),
      failed && `${plural(failed, "row")} without an answer`,
      truncated && `${truncated.toLocaleString("en")} truncated`,
      compared && `right: ${percent(right / compared)} (${right.toLocaleString("en")} of ${compared.toLocaleString("en")})`,
      table.versions.size && [...table.versions].join(", "),
    ].filter(Boolean).map((text) => make("span", {}, text)));
  }

  function draw() {
    summarise();
    const shown = rows().slice(0, PREVIEW).map((row, place) => {
      const answer = table.answers[place], said = answer?.label ?? answer?.problem ?? "";
      return make("tr", {}, make("td", {}, make("div", { className: "cell" }, row[Number(column.value)] ?? "")),
        make("td", { className: answer?.problem ? "problem" : "" }, said), make("td", { className: "number" }, answer?.probability !== undefined ? percent(answer.probability) : ""));
    });
    preview.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, names()[Number(column.value)]), make("th", {}, "label"), make("th", { className: "number" }, "probability"))),
      make("tbody", {}, ...shown)), rows().length > PREVIEW ? make("p", { className: "hint" }, `The first ${PREVIEW} rows; the download has all.`) : "");
  }

  const result = () => format([
    [...names(), "predicted_label", "probability", "truncated", "problem"],
    ...rows().map((row, place) => {
      const { label = "", probability = "", truncated = "", problem = "" } = table.answers[place] ?? {};
      return [...names().map((_, index) => row[index] ?? ""), label, probability, truncated, problem];
    }),
  ], table.delimiter);

  file.onchange = () => file.files[0] && read(file.files[0]);
  headed.onchange = () => { runs.stop(); arrange(); };
  column.onchange = () => { runs.stop(); forget(); draw(); };  // they were answers to other texts
  truth.onchange = () => { count(); draw(); };
  const drop = make("div", { className: "drop" }, make("p", {}, "A CSV file with a text in each row: choose it, or drop it here."), file);
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
  };
  const root = make("section", { aria: { label: "Table" } }, drop, about, choices, make("div", { className: "row" }, go, save, bar), error, summary, preview);
  return {
    root, run, stop: runs.stop, focus: () => file.focus(), refresh() {},
    request: () => ({ path, body: { model: model().id, [field]: table ? rows().slice(0, 2).map((row) => row[Number(column.value)] ?? "") : ["first text", "second text"] } }),
  };
}
