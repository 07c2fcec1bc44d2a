// Making and finding elements. Text is always set as text: the page's policy forbids markup made from strings.

export const $ = (id) => document.getElementById(id);

/** An element with properties (a `data` or `aria` object goes into attributes) and children; false children are left out. */
export function make(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(data)) node.dataset[name] = value;
  for (const [name, value] of Object.entries(aria)) node.setAttribute(name === "role" ? "role" : `aria-${name}`, String(value));
  node.append(...children.filter((child) => child !== false && child !== undefined && child !== null));
  return node;
}

/** A button that sends no form. */
export const button = (text, onclick, properties = {}) => make("button", { type: "button", onclick, ...properties }, text);

/** Bring an answer into sight where it is below the fold, or has little room there, as on a telephone. */
export function reveal(node) {
  const { top } = node.getBoundingClientRect(), narrow = matchMedia("(max-width: 760px)").matches;
  if (top < 0 || top > innerHeight * (narrow ? 0.3 : 0.85))
    node.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

/** Put a text on the clipboard and say so on the button; browsers have none for a page of another machine without TLS. */
export async function copy(text, pressed) {
  const before = pressed.textContent;
  try {
    await navigator.clipboard.writeText(text);
    pressed.textContent = "Copied";
  } catch {
    pressed.textContent = "Select it and copy: this page has no clipboard without HTTPS";
  }
  setTimeout(() => (pressed.textContent = before), 1800);
}

/** Save a text as a file. */
export function download(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
export const percent = (share) => (100 * share).toFixed(1) + "%";
