// What the views share: the box for a text with its count of tokens, and the place where an answer or an error stands.

import { button, make, plural, reveal } from "./dom.js";
import { countTokens, Refused } from "./server.js";

const COUNT_AFTER = 350;  // ms without a key pressed

/**
 * A labelled box for a text. `oninput` hears of every change; `tooLong` says what happens beyond the limit; `also` gives
 * further models that are to read the text.
 */
export function promptBox({ label, value, model, also = () => [], oninput, tooLong }) {
  const id = "prompt-" + Math.random().toString(36).slice(2);
  const area = make("textarea", { id, value, spellcheck: false, dir: "auto", className: "prompt" });
  const counter = make("small", { className: "counter" });
  const name = make("label", { htmlFor: id }, label);
  let pause, control, over = "";

  async function count() {
    control?.abort();
    control = new AbortController();
    const text = area.value;
    const counts = await Promise.all([model(), ...also()].map(async ({ id: name, max_prompt_tokens: most }) =>
      [text ? await countTokens(name, { prompt: text }, control.signal).catch(() => null) : 0, most]));
    if (text !== area.value) return;
    const [tokens, limit] = counts.sort(([some, most], [others, mostOthers]) => others / mostOthers - some / most)[0];
    over = tokens > limit ? tooLong(tokens, limit) : "";
    counter.textContent = tokens === null ? "" : over || `${tokens.toLocaleString("en")} of ${plural(limit, "token")}`;
    counter.classList.toggle("over", Boolean(over));
  }

  const changed = () => {
    clearTimeout(pause);
    pause = setTimeout(count, COUNT_AFTER);
    over = "";
  };
  area.oninput = () => { changed(); oninput?.(); };
  changed();
  return {
    root: make("div", { className: "box" }, make("div", { className: "row" }, name, counter), area),
    area,
    get value() { return area.value; },
    set value(text) { area.value = text; changed(); },
    /** Why the text can't be sent, as far as is known; "" where nothing speaks against it. */
    get over() { return over; },
    recount: changed,
  };
}

/** Where an answer stands: its body, an error in its place, and a line of facts under it. */
export function answerPanel(title, ...tools) {
  const body = make("div", { className: "answer empty", dir: "auto", aria: { live: "polite" } });
  const error = make("div", { className: "error", hidden: true, aria: { role: "alert" } });
  const facts = make("div", { className: "facts" });
  const root = make("section", { aria: { label: title } },
    make("div", { className: "row" }, make("span", { className: "name" }, title), make("span", { className: "right" }), ...tools), body, error, facts);
  const clear = (hint) => {
    error.hidden = true;
    facts.replaceChildren();
    body.hidden = false;
    body.className = "answer empty";
    body.replaceChildren(hint);
  };
  return {
    root, body, facts, clear,
    show(...nodes) {
      body.className = "answer";
      body.hidden = error.hidden = false;
      error.hidden = true;
      body.replaceChildren(...nodes);
    },
    state(who, ...rest) {
      facts.replaceChildren(make("b", {}, who), ...rest.filter(Boolean).map((text) => make("span", {}, text)));
    },
    /** Say what went wrong where the answer would stand; what was written so far stays above it. */
    fail(problem, again) {
      body.hidden = body.classList.contains("empty");
      body.classList.remove("writing");
      complain(error, problem, again);
      reveal(root);
    },
  };
}

/** Fill a place for errors: the sentence, how long to wait where the server says so, and the way to try again if that may help. */
export function complain(place, problem, again) {
  const wait = problem.seconds ? `Try again in ${plural(problem.seconds, "second")}.` : "";
  place.replaceChildren(make("p", {}, `${problem.message} ${wait}`.trim()), again && problem.status !== 400 ? button("Try again", again, { className: "quiet" }) : "");
  place.hidden = false;
}

/** One request at a time: a new one ends the one before, and so does `stop`. Its errors go to `failed`. */
export function runner({ started, ended, failed }) {
  let running = null;
  const stop = () => {
    if (!running) return false;
    running.abort();
    running = null;
    ended(true);
    return true;
  };
  return {
    stop,
    get busy() { return running !== null; },
    async run(work) {
      stop();
      const control = (running = new AbortController());
      started();
      try {
        await work(control.signal);
      } catch (error) {
        if (error.name !== "AbortError" && !control.signal.aborted) {
          if (!(error instanceof Refused)) console.error(error);
          failed(error);
        }
      } finally {
        if (running === control) {
          running = null;
          ended(false);
        }
      }
    },
  };
}
