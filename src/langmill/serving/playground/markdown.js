// The little Markdown that assistants write, as elements: code, bold, headings and lists. Anything else stays as it is.

import { make } from "./dom.js";

const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*)/;

function inline(text) {
  return text.split(INLINE).filter(Boolean).map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return make("b", {}, part.slice(2, -2));
    return part;
  });
}

function block(text) {
  const lines = text.split("\n");
  for (const [tag, mark] of [["ul", /^\s*[-*•] /], ["ol", /^\s*\d+[.)] /]])
    if (lines.every((line) => mark.test(line))) {
      const start = tag === "ol" ? Number.parseInt(lines[0], 10) : undefined;
      return make(tag, tag === "ol" ? { start } : {}, ...lines.map((line) => make("li", {}, ...inline(line.replace(mark, "")))));
    }
  const heading = /^#{1,6} (.*)$/.exec(text);
  return heading ? make("p", { className: "heading" }, ...inline(heading[1])) : make("p", {}, ...inline(text));
}

/** The nodes of a text; one that is still being written may end in an open block of code. */
export function rendered(text) {
  return text.split(/^```/m).flatMap((part, index) => {
    if (index % 2) return [make("pre", {}, make("code", {}, part.replace(/^[^\n]*\n?/, "").replace(/\n$/, "")))];
    const blocks = part.split(/\n{2,}|\n(?=#{1,6} )|(?<=^#{1,6} [^\n]*)\n/m);
    return blocks.flatMap(lists).map((each) => each.replace(/^\n+|\n+$/g, "")).filter((each) => each.trim()).map(block);
  });
}

/** A paragraph with a list right behind it, as two. */
function lists(text) {
  return text.split(/\n(?=\s*(?:[-*•]|\d+[.)]) )/).reduce((parts, line) => {
    const item = /^\s*(?:[-*•]|\d+[.)]) /;
    if (parts.length && item.test(line) && item.test(parts.at(-1))) parts[parts.length - 1] += "\n" + line;
    else parts.push(line);
    return parts;
  }, []);
}
