// The request on the screen as curl, Python and JavaScript.

import { hasKey } from "./server.js";

const KEY = "YOUR_KEY";
const single = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
const indented = (text) => text.replaceAll("\n", "\n    ");

/** A value as Python writes it; JSON differs in three words only. */
function python(value, deep = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  const further = deep + "    ";
  if (Array.isArray(value)) return `[${value.map((each) => python(each, deep)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${python(each, further)}`).join(", ")}}`;
}

function curl(address, body) {
  const key = hasKey() ? ` \\\n  -H 'Authorization: Bearer ${KEY}'` : "";
  return `curl -s ${address} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d ${single(JSON.stringify(body))}`;
}

/** With OpenAI's client where it has the path, else with the standard library alone. */
function inPython(address, body, view) {
  const call = { chat: "chat.completions", text: "completions" }[view];
  const base = address.match(/^(.*\/v1)\/(chat\/)?completions$/)?.[1];
  if (call && base) {
    const known = ["model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed"];
    const own = Object.fromEntries(Object.entries(body).filter(([name]) => !known.includes(name)));
    const given = Object.entries(body).filter(([name]) => known.includes(name)).map(([name, value]) => `    ${name}=${python(value)},\n`).join("");
    const extra = Object.keys(own).length ? `    extra_body=${python(own)},\n` : "";
    const shown = view === "chat" ? "message.content" : "text";
    return `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="${hasKey() ? KEY : "none"}")\n` +
      `answer = client.${call}.create(\n${given}${extra})\nprint(answer.choices[0].${shown})`;
  }
  const key = hasKey() ? `, "Authorization": "Bearer ${KEY}"` : "";
  return `import json\nfrom urllib.request import Request, urlopen\n\nbody = ${python(body)}\n` +
    `headers = {"Content-Type": "application/json"${key}}\n` +
    `request = Request("${address}", json.dumps(body).encode(), headers)\nprint(json.load(urlopen(request)))`;
}

function inJavaScript(address, body) {
  const key = hasKey() ? `, Authorization: "Bearer ${KEY}"` : "";
  return `const response = await fetch("${address}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${key} },\n` +
    `  body: JSON.stringify(${indented(JSON.stringify(body))}),\n});\nconsole.log(await response.json());`;
}

/** By language, the lines that send a request. */
export function snippets({ path, body }, view) {
  const address = location.origin + path;
  return { curl: curl(address, body), Python: inPython(address, body, view), JavaScript: inJavaScript(address, body) };
}
