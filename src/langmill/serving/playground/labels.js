// The view "labels": how probable each label is, and which words mattered.

import { button, make, percent, plural } from "./dom.js";
import { answerPanel, promptBox, runner } from "./panels.js";
import { askJson, LIMITS } from "./server.js";

const PAUSE = 250;  // ms without a key pressed
const MOST_WORDS = 400;
const WORD = /[\p{L}\p{N}]/u;

export function labelsView(context) {
  const { model, field, path } = context;
  const why = button("Which words mattered?", () => ready() && runs.run(explain), { className: "second" });
  const answer = answerPanel("Answer");
  let pause, last = null;
  const box = promptBox({
    label: "A text to classify", model, value: model().examples[path]?.[field] ?? "",
    tooLong: (tokens, limit) => `${tokens.toLocaleString("en")} tokens, up to ${limit.toLocaleString("en")} are taken`,
    oninput() {
      context.changed();
      clearTimeout(pause);
      pause = setTimeout(() => (box.value.trim() ? run() : clear()), PAUSE);
    },
  });
  const words = make("div", { className: "words", hidden: true });
  const body = (input) => ({ model: model().id, [field]: input });
  const runs = runner({
    started() {},
    ended(stopped) { if (stopped) words.classList.remove("waiting"); },
    failed(problem) { words.hidden = true; answer.fail(problem, run); },
  });
  const clear = () => {
    words.hidden = why.hidden = true;
    last = null;
    answer.clear("How probable each label is appears here.");
  };

  /** Whether there is a text to ask about; asking now takes the place of asking when nobody has typed for a moment. */
  function ready() {
    clearTimeout(pause);
    if (!box.value.trim()) answer.fail(new Error("There is no text to classify yet."));
    else if (box.over) answer.fail(new Error(`The text has ${box.over}.`));
    else return true;
  }

  function run() {
    return ready() && runs.run(classify);
  }

  async function classify(signal) {
    const text = box.value, found = await askJson(path, body(text), signal), [first] = found.data;
    last = { text, first, version: found.version };
    words.hidden = true;
    why.hidden = false;  // until it has been answered for this text
    answer.show(bars(first));
    answer.state(`${found.model} version ${found.version}`, plural(found.usage.prompt_tokens, "token"),
      first.truncated && "longer than the model reads: truncated");
  }

  /** Leave each word out once, and see how the probability of the predicted label changes. */
  async function explain(signal) {
    if (last?.text !== box.value) await classify(signal);  // which this has stopped, or which was about to begin
    const { text, first } = last, parts = split(text);
    const places = parts.flatMap((part, index) => (WORD.test(part) ? [index] : []));
    if (places.length < 2) return note("One word alone can't be left out.");
    if (places.length > MOST_WORDS) return note(`This text has ${places.length} words; up to ${MOST_WORDS} are left out one by one. Take a shorter part.`);
    note("", "waiting");
    const losses = new Map(), size = Math.max(1, LIMITS.max_inputs);
    for (let start = 0; start < places.length; start += size) {
      const group = places.slice(start, start + size);
      const texts = group.map((place) => without(parts, place));
      const found = await askJson(path, body(texts), signal);
      for (const { index, probabilities } of found.data) losses.set(group[index], first.probability - probabilities[first.label]);
      words.firstChild.textContent = `Leaving out ${losses.size} of ${places.length} words …`;
    }
    shown(parts, losses, first);
  }

  const note = (text, className = "") => {
    words.replaceChildren(make("p", { className: "about" }, text));
    words.className = "words " + className;
    words.hidden = false;
  };

  function shown(parts, losses, { label, truncated }) {
    const most = Math.max(...[...losses.values()].map(Math.abs), 1e-9);
    const marked = parts.map((part, index) => {
      const loss = losses.get(index);
      if (loss === undefined) return part;
      const word = make("span", { className: loss < 0 ? "against" : "for", title: `without it ${label} is ${loss < 0 ? "more" : "less"} probable by ${(100 * Math.abs(loss)).toFixed(1)} points` }, part);
      word.style.setProperty("--weight", (Math.abs(loss) / most).toFixed(3));
      return word;
    });
    const strongest = [...losses].sort(([, one], [, other]) => Math.abs(other) - Math.abs(one)).slice(0, 3)
      .map(([index, loss]) => `“${parts[index]}” ${loss < 0 ? "+" : "−"}${(100 * Math.abs(loss)).toFixed(1)}`);
    note("");
    why.hidden = true;
    words.replaceChildren(
      make("p", { className: "marked", dir: "auto" }, ...marked),
      make("p", { className: "about" }, make("span", { className: "for key" }, "for"), ` ${label}, `,
        make("span", { className: "against key" }, "against"), `. Without the word, the probability of ${label} changes by so many points: ${strongest.join(", ")}.`),
      make("p", { className: "about" }, "Each word was left out once and the rest classified again. Words that say the same cover for each other, so a ",
        "pale word is not proof that it does not matter", truncated ? "; the text is longer than the model reads, so words beyond show nothing." : "."));
  }

  clear();
  answer.body.after(why, words);
  const go = button("Classify", run, { className: "go" });
  const root = make("div", { className: "two" },
    make("section", { aria: { label: "Request" } }, box.root,
      make("div", { className: "row" }, go, make("span", { className: "hint" }, "classifies as you type"))), answer.root);
  return {
    root, run, stop: runs.stop, focus: () => box.area.focus(),
    request: () => ({ path, body: body(box.value) }),
    refresh() {
      box.recount();
      if (last && last.version !== model().version) run();
    },
    opened() { if (box.value.trim() && !last) run(); },
  };
}

/** Bars of the labels in the order of their probability, as wide as they are probable. */
export function bars({ label: best, probabilities }) {
  const rows = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  return make("div", { className: "bars", aria: { role: "list" } }, ...rows.map(([label, share]) => {
    const fill = make("span", { className: "fill" });
    fill.style.width = percent(share);
    return make("div", { className: label === best ? "bar best" : "bar", aria: { role: "listitem" } },
      make("span", { className: "label", title: label }, label), make("span", { className: "track" }, fill), make("span", { className: "value" }, percent(share)));
  }));
}

/** The text without one word, and without the second of the two spaces that would be left in its place. */
function without(parts, place) {
  const before = parts.slice(0, place).join(""), after = parts.slice(place + 1).join("");
  if (/^[^\s\p{L}\p{N}]/u.test(after)) return before.replace(/\s$/, "") + after;  // no space before a comma
  return before + (before === "" || /\s$/.test(before) ? after.replace(/^\s/, "") : after);
}

/** A text as words and what stands between them; languages without spaces are split as the browser knows how. */
export function split(text) {
  if (typeof Intl.Segmenter !== "function") return text.split(/(\s+)/).filter(Boolean);
  return [...new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)].reduce((parts, { segment, isWordLike }) => {
    // Punctuation belongs to no word of its own: it stays whatever is left out.
    if (isWordLike) parts.push(segment);
    else if (parts.length && !WORD.test(parts.at(-1))) parts[parts.length - 1] += segment;
    else parts.push(segment);
    return parts;
  }, []);
}
