// The view "chat": a conversation that is kept while the tab is open; turns can be edited, stopped and asked for again.

import { button, copy, make } from "./dom.js";
import { rendered } from "./markdown.js";
import { complain, runner } from "./panels.js";
import { countTokens, write } from "./server.js";
import { settingsForm } from "./settings.js";

const STORE = "langmill.conversations";
const MOST_KEPT = 20;
const TITLE_CHARACTERS = 40;

const kept = () => { try { return JSON.parse(sessionStorage.getItem(STORE)) ?? {}; } catch { return {}; } };

export function chatView(context) {
  const { model, route, path } = context;
  const id = context.modelId;
  let conversations = kept()[id] ?? [{ system: "", turns: [] }], current = conversations[0];
  let pause, over = "";

  const log = make("div", { className: "log", aria: { role: "log", live: "polite", label: "Conversation" }, tabIndex: 0 });
  const area = make("textarea", { rows: 1, placeholder: "Write a message", dir: "auto", aria: { label: "Message" } });
  const go = button("Send", () => (runs.busy ? runs.stop() : send()), { className: "go" });
  const room = make("small", { className: "counter" });
  const error = make("div", { className: "error", hidden: true, aria: { role: "alert" } });
  const settings = settingsForm(route.fields, model, context.changed);
  const system = make("textarea", { rows: 2, dir: "auto", value: current.system, placeholder: "for instance: Answer in one sentence." });
  const earlier = make("select", { aria: { label: "Conversations" }, hidden: true });
  const fresh = button("New conversation", () => open({ system: system.value, turns: [] }), { className: "quiet" });

  const runs = runner({
    started() { go.textContent = "Stop"; error.hidden = true; },
    ended(stopped) {
      go.textContent = "Send";
      const last = current.turns.at(-1);
      if (last) delete last.writing;
      if (last?.role === "assistant" && stopped) last.facts = [...(last.facts ?? []), "stopped"];
      if (last?.role === "assistant" && !last.content) current.turns.pop();
      keep();
      draw();
    },
    failed(problem) {
      const last = current.turns.at(-1);
      if (problem.status === 400) takeBack();
      else if (last?.role === "assistant" && last.content) last.facts = [...(last.facts ?? []), "broken off"];
      if (settings.blame(problem.param, problem.message)) return;
      const hint = problem.code === "context_length_exceeded" ? " Shorten the message, or begin a new conversation." : "";
      complain(error, Object.assign(new Error(problem.message + hint), { seconds: problem.seconds, status: problem.status }), again);
    },
  });

  const messages = () => [
    ...(current.system.trim() ? [{ role: "system", content: current.system }] : []),
    ...current.turns.map(({ role, content }) => ({ role, content })),
  ];
  const request = () => {
    const asked = messages();
    if (asked.at(-1)?.role !== "user") asked.push({ role: "user", content: area.value || "Hello" });
    return { path, body: { model: id, messages: asked, ...settings.values() } };
  };

  function send() {
    const text = area.value.trim();
    if (!text || !settings.check()) return area.focus();
    if (over) return complain(error, new Error(over));
    runs.stop();
    area.value = "";
    grow();
    current.turns.push({ role: "user", content: text });
    answer();
  }

  /** Ask once more for the last answer; one that stopped or broke off gives way. */
  function again() {
    if (current.turns.at(-1)?.role === "assistant") current.turns.pop();
    return answer();
  }

  /** Put a message that the server refuses to read back into its box, to be changed. */
  function takeBack() {
    if (current.turns.at(-1)?.role === "assistant") current.turns.pop();  // nothing was written
    if (area.value || current.turns.at(-1)?.role !== "user") return;
    area.value = current.turns.pop().content;
    grow();
  }

  /** Write the answer to the last message of the user. */
  function answer() {
    if (!settings.check()) return;
    const body = { model: id, messages: messages(), ...settings.values() };
    const streamed = settings.beams() <= 1 || body.temperature > 0;
    return runs.run(async (signal) => {
      const turn = { role: "assistant", content: "", writing: true };
      current.turns.push(turn);
      draw();
      const shown = log.lastElementChild, words = shown.querySelector(".words"), facts = shown.querySelector(".facts");
      try {
        for await (const { text, who, facts: found } of write(path, body, signal, streamed)) {
          const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
          Object.assign(turn, { content: text, who, facts: found });
          words.replaceChildren(...rendered(text));
          facts.replaceChildren(...factsOf(turn));
          if (follows) log.scrollTop = log.scrollHeight;
        }
        if (!turn.content) turn.content = "(no text)";
      } finally {
        delete turn.writing;
      }
    });
  }

  // That an answer ended by itself is what one expects.
  const factsOf = ({ who, facts = [] }) => [make("b", {}, who ?? ""),
    ...facts.filter((text) => text !== "ended by itself").map((text) => make("span", {}, text))];

  function draw() {
    log.replaceChildren(...(current.turns.length ? current.turns.map(bubble) : [welcome()]));
    log.scrollTop = log.scrollHeight;
    earlier.hidden = conversations.length < 2;
    earlier.replaceChildren(...conversations.map((each, index) =>
      make("option", { value: index, selected: each === current }, title(each))));
    fresh.hidden = !current.turns.length;
    context.changed();
    count();
  }

  const title = ({ turns }) => {
    const text = turns[0]?.content ?? "New conversation";
    return text.length > TITLE_CHARACTERS ? text.slice(0, TITLE_CHARACTERS) + "…" : text;
  };

  function bubble(turn, index) {
    const words = make("div", { className: "words", dir: "auto" });
    if (turn.role === "user") words.textContent = turn.content;
    else words.append(...rendered(turn.content));
    const last = index === current.turns.length - 1;
    const tools = make("div", { className: "tools" });
    if (turn.role === "user") {
      tools.append(button("Edit", () => edit(index), { className: "quiet" }));
      if (last && !runs.busy) tools.append(button("Answer", again, { className: "quiet" }));
    }
    if (turn.role === "assistant" && !turn.writing) {
      tools.append(button("Copy", ({ target }) => copy(turn.content, target), { className: "quiet" }));
      if (last) tools.append(button("Regenerate", again, { className: "quiet" }));
    }
    const facts = turn.role === "assistant" && make("div", { className: "facts" }, ...factsOf(turn));
    return make("article", { className: `turn ${turn.role}${turn.writing ? " writing" : ""}`, aria: { label: turn.role === "user" ? "You" : "The model" } },
      words, make("div", { className: "row" }, facts, tools));
  }

  function edit(index) {
    runs.stop();
    const box = make("textarea", { value: current.turns[index].content, rows: 3, dir: "auto", aria: { label: "Edit the message" } });
    const sendAgain = () => {
      if (!box.value.trim()) return box.focus();
      current.turns.length = index;
      current.turns.push({ role: "user", content: box.value.trim() });
      answer();
    };
    box.onkeydown = (event) => {
      if (event.key === "Escape") { event.stopPropagation(); draw(); area.focus(); }
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.stopPropagation(); event.preventDefault(); sendAgain(); }
    };
    log.children[index].replaceChildren(box, make("div", { className: "row" },
      button("Send again", sendAgain), button("Cancel", () => draw(), { className: "quiet" }),
      make("small", {}, "What came after it is left out.")));
    box.focus();
  }

  function welcome() {
    const asked = model().examples[path]?.messages?.findLast(({ role }) => role === "user")?.content;
    const text = typeof asked === "string" ? asked : "What is the capital of France?";
    return make("div", { className: "welcome" },
      make("p", {}, "Each answer reads the whole conversation. It is kept in this tab until you close it, and nowhere else."),
      button(text, () => { area.value = text; send(); }, { className: "example" }));
  }

  function open(conversation) {
    runs.stop();
    current = conversation;
    conversations = [conversation, ...conversations.filter((each) => each !== conversation && each.turns.length)].slice(0, MOST_KEPT);
    system.value = current.system;
    error.hidden = true;
    keep();
    draw();
    area.focus();
  }

  function keep() {
    const plain = conversations.map(({ system: text, turns }) => ({ system: text, turns: turns.map(({ writing, ...turn }) => turn) }));
    try {
      sessionStorage.setItem(STORE, JSON.stringify({ ...kept(), [id]: plain }));
    } catch { /* full or forbidden: the conversation lives as long as the page */ }
  }

  function count() {
    over = "";
    clearTimeout(pause);
    pause = setTimeout(async () => {
      const asked = [...messages(), ...(area.value.trim() ? [{ role: "user", content: area.value }] : [])];
      const tokens = asked.at(-1)?.role === "user" ? await countTokens(id, { messages: asked }) : null;
      const limit = model().max_prompt_tokens;
      over = tokens > limit ? `The conversation has ${tokens.toLocaleString("en")} tokens; the model reads ${limit.toLocaleString("en")}. Shorten the message, or begin a new conversation.` : "";
      room.textContent = tokens === null ? "" : `${tokens.toLocaleString("en")} of ${limit.toLocaleString("en")} tokens`;
      room.classList.toggle("over", Boolean(over));
    }, 400);
  }

  const grow = () => {
    area.style.height = "auto";
    area.style.height = Math.min(area.scrollHeight + 2, 220) + "px";
  };
  area.oninput = () => { grow(); context.changed(); count(); };
  area.onkeydown = (event) => {
    const touch = matchMedia("(pointer: coarse)").matches;  // there Enter begins a new line
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || (touch && !event.ctrlKey)) return;
    event.preventDefault();
    event.stopPropagation();
    send();
  };
  system.oninput = () => { current.system = system.value; keep(); context.changed(); count(); };
  earlier.onchange = () => open(conversations[earlier.value]);

  const systemBox = make("details", { className: "settings", open: Boolean(current.system) }, make("summary", {}, "System prompt"),
    make("small", {}, "Said to the model before the conversation: who it is and how to answer."), system);
  const root = make("div", { className: "chat" }, make("section", { aria: { label: "Chat" } },
    make("div", { className: "talk" }, make("div", { className: "row" }, earlier, make("span", { className: "right" }), room, fresh), log, error,
      make("div", { className: "composer" }, area, go)),
    make("div", { className: "options" }, systemBox, settings.root)));
  draw();
  return { root, request, stop: runs.stop, run: send, focus: () => area.focus(), refresh: settings.refresh };
}
