// How a text is to be written: each setting with one line on what it does. What is not touched is the model's own.

import { button, make } from "./dom.js";

const SETTINGS = [
  { names: ["max_completion_tokens", "max_tokens"], of: "max_tokens", label: "Longest answer", min: 1, step: 1,
    about: "In tokens; an English word is about one and a half." },
  { names: ["temperature"], label: "Temperature", min: 0, max: 2, step: 0.1,
    about: "0 always takes the most likely token; the higher, the more is left to chance." },
  { names: ["top_p"], label: "Top p", min: 0.05, max: 1, step: 0.05,
    about: "Draws from the most likely tokens that together have this probability; 1 from all." },
  { names: ["top_k"], label: "Top k", min: 0, step: 1,
    about: "Draws from this many of the most likely tokens; 0 from all." },
  { names: ["min_p"], label: "Min p", min: 0, max: 1, step: 0.05,
    about: "Leaves out tokens less likely than this share of the most likely one; 0 none." },
  { names: ["repetition_penalty"], label: "Repetition penalty", min: 0.1, max: 100, step: 0.05,
    about: "Above 1, what is there already becomes less likely." },
  { names: ["frequency_penalty"], label: "Frequency penalty", min: -2, max: 2, step: 0.1, placeholder: "0",
    about: "Above 0, a token becomes less likely with each time it was written." },
  { names: ["presence_penalty"], label: "Presence penalty", min: -2, max: 2, step: 0.1, placeholder: "0",
    about: "Above 0, a token becomes less likely once it was written." },
  { names: ["num_beams"], label: "Beams", min: 1, step: 1,
    about: "Above 1, the most likely whole text is searched, which takes longer; 1 writes token by token." },
  { names: ["seed"], label: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, placeholder: "a new one each time",
    about: "The same seed gives the same text again." },
];

/**
 * The settings that a route takes, as a fold-out form.
 *
 * @param fields names of the route's body fields
 * @param model gives the model's entry in the list of models, whose defaults stand in the boxes until they are touched
 */
export function settingsForm(fields, model, changed) {
  const touched = {}, inputs = {};
  const offered = SETTINGS.map((setting) => ({ ...setting, name: setting.names.find((name) => fields.includes(name)) }))
    .filter(({ name }) => name);
  const summary = make("summary", {}, "Settings");
  const reset = button("As the model has them", () => {
    for (const name of Object.keys(touched)) delete touched[name];
    refresh();
    changed();
  }, { className: "quiet" });
  const root = make("details", { className: "settings", hidden: !offered.length }, summary);
  const grid = make("div", { className: "grid" });
  for (const { name, label, about, of, ...bounds } of offered) {
    const id = `setting-${name}-${Math.random().toString(36).slice(2)}`;
    const input = make("input", { id, type: "number", ...bounds, data: { setting: of ?? name }, aria: { describedby: id + "-about" } });
    const complaint = make("small", { className: "complaint", hidden: true });
    input.oninput = () => {
      const own = defaults()[of ?? name];
      if (input.value === "" && !input.validity.badInput) delete touched[name];
      else if (Number(input.value) === own) delete touched[name];
      else touched[name] = Number(input.value);
      complain(name, "");
      describe();
      changed();
    };
    inputs[name] = { input, complaint, of: of ?? name, label };
    grid.append(make("div", {}, make("label", { htmlFor: id }, label), input, make("small", { id: id + "-about" }, about), complaint));
  }
  root.append(grid, reset);

  const defaults = () => model().defaults ?? {};

  function complain(name, text) {
    const { input, complaint } = inputs[name];
    complaint.textContent = text;
    complaint.hidden = !text;
    input.setAttribute("aria-invalid", String(Boolean(text)));
    if (!text) return;
    root.open = true;
    input.focus();
    complaint.scrollIntoView({ block: "nearest" });
  }

  function describe() {
    const shown = offered.filter(({ name }) => name in touched).map(({ name, label }) => `${label.toLowerCase()} ${touched[name]}`);
    summary.textContent = shown.length ? `Settings: ${shown.join(", ")}` : "Settings: the model's own";
    reset.hidden = !shown.length;
  }

  /** Show the defaults of the version in service in the boxes that were not touched. */
  function refresh() {
    for (const [name, { input, of }] of Object.entries(inputs)) {
      if (of === "max_tokens" && model().max_tokens) input.max = model().max_tokens;
      const value = name in touched ? touched[name] : defaults()[of] ?? "";
      if (document.activeElement !== input) input.value = value;
    }
    describe();
  }

  /** Whether every box holds what it may; the first that does not says so. */
  function check() {
    for (const [name, { input, label }] of Object.entries(inputs)) {
      const { badInput, rangeUnderflow, rangeOverflow, stepMismatch } = input.validity;
      let text = "";
      if (badInput) text = `${label} must be a number.`;
      else if (rangeUnderflow || rangeOverflow)
        text = `${label} must be ${input.max === "" ? `${input.min} or more` : `between ${input.min} and ${input.max}`}.`;
      else if (stepMismatch && Number(input.step) === 1) text = `${label} must be a whole number.`;
      complain(name, text);
      if (text) return false;
    }
    return true;
  }

  /** Show the server's complaint of a field beside its box; false where there is no such box. */
  function blame(field, text) {
    const name = Object.keys(inputs).find((each) => each === field || inputs[each].of === field);
    if (name) complain(name, text);
    return Boolean(name);
  }

  refresh();
  return { root, refresh, check, blame, values: () => ({ ...touched }), beams: () => touched.num_beams ?? defaults().num_beams ?? 1 };
}
