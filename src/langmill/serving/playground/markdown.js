// The Markdown that assistants write, as elements: code, emphasis, links, headings, lists, tables, quotes. Anything else
// stays as it is. Each block has the direction of its own first letter.

import { make } from "./dom.js";

const INLINE = new RegExp([
  "`(?<code>[^`\\n]+)`",
  "\\*\\*(?<bold>[^*\\n]+)\\*\\*",
  "(?<![\\w*])\\*(?!\\s)(?<italic>[^*\\n]+?)(?<!\\s)\\*(?![\\w*])",
  "(?<!\\w)_(?!\\s)(?<slanted>[^_\\n]+?)(?<!\\s)_(?!\\w)",
  "\\[(?<words>[^\\]\\n]+)\\]\\((?<href>https?://[^\\s)]+)\\)",
].join("|"), "g");
const ITEM = /^(\s*)(?:[-*+•]|(\d+)[.)])(?: +(.*))?$/;
const HEADING = /^#{1,6} +(.*)$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^> ?/;
const ROW = /^\s*\|?.*\|/;
const BELOW_HEAD = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

function inline(text) {
  const nodes = [];
  let at = 0;
  for (const { 0: all, index, groups } of text.matchAll(INLINE)) {
    nodes.push(text.slice(at, index));
    const { code, bold, italic, slanted, words, href } = groups;
    if (code) nodes.push(make("code", {}, code));
    else if (bold) nodes.push(make("b", {}, ...inline(bold)));
    else if (href) nodes.push(make("a", { href, target: "_blank", rel: "noopener noreferrer", title: href }, words));
    else nodes.push(make("i", {}, italic ?? slanted));
    at = index + all.length;
  }
  return [...nodes, text.slice(at)].filter((node) => node !== "");
}

const block = (tag, text, properties = {}) => make(tag, { dir: "auto", ...properties }, ...inline(text));

/** Items as lists in lists, by their indentation. */
function lists(items) {
  const found = [];
  for (let at = 0, end; at < items.length; at = end) {
    const { indent, number, text } = items[at], tag = number ? "ol" : "ul";
    for (end = at + 1; end < items.length && items[end].indent > indent;) end += 1;
    if (found.at(-1)?.localName !== tag) found.push(make(tag, { dir: "auto", ...(number && { start: Number(number) }) }));
    found.at(-1).append(make("li", {}, ...inline(text), ...lists(items.slice(at + 1, end))));
  }
  return found;
}

const cells = (row) => row.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table([head, , ...rows]) {
  const line = (tag, row) => make("tr", {}, ...cells(row).map((cell) => block(tag, cell)));
  return make("div", { className: "scroll" },
    make("table", {}, make("thead", {}, line("th", head)), make("tbody", {}, ...rows.map((row) => line("td", row)))));
}

function blocks(text) {
  const lines = text.split("\n"), found = [];
  const take = (test) => {
    const from = at;
    while (at < lines.length && test(lines[at], at)) at += 1;
    return lines.slice(from, at);
  };
  const isTable = (index) => ROW.test(lines[index]) && BELOW_HEAD.test(lines[index + 1] ?? "") && lines[index + 1].includes("-");
  const starts = (line, index) => HEADING.test(line) || RULE.test(line) || ITEM.test(line) || QUOTE.test(line) || isTable(index);
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) at += 1;
    else if (HEADING.test(line)) { found.push(block("p", HEADING.exec(line)[1], { className: "heading" })); at += 1; }
    else if (RULE.test(line)) { found.push(make("hr")); at += 1; }
    else if (isTable(at)) found.push(table(take((each) => ROW.test(each) || BELOW_HEAD.test(each))));
    else if (QUOTE.test(line)) found.push(make("blockquote", {}, ...blocks(take((each) => QUOTE.test(each)).map((each) => each.replace(QUOTE, "")).join("\n"))));
    else if (ITEM.test(line)) {
      const items = [];
      // What is indented goes on with the item before it; an empty line may stand between two items.
      for (const each of take((one, index) => (ITEM.test(one) && !RULE.test(one)) || /^\s+\S/.test(one) || (!one.trim() && ITEM.test(lines[index + 1] ?? "")))) {
        const item = ITEM.exec(each);
        if (item) items.push({ indent: item[1].length, number: item[2], text: item[3] ?? "" });
        else if (each.trim()) items.at(-1).text += " " + each.trim();
      }
      found.push(...lists(items));
    } else found.push(block("p", take((each, index) => each.trim() && !starts(each, index)).join("\n")));
  }
  return found;
}

/** The nodes of a text; one that is still being written may end in an open block of code. */
export function rendered(text) {
  return text.split(/^```/m).flatMap((part, index) =>
    (index % 2 ? [make("pre", {}, make("code", {}, part.replace(/^[^\n]*\n?/, "").replace(/\n$/, "")))] : blocks(part)));
}
