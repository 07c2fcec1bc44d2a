// Tables of comma-separated values as RFC 4180 has them, and as spreadsheets write them: also with semicolons, tabs or bars.

/**
 * A file's bytes as text: UTF-8, or the UTF-16 that a byte order mark announces. Any other encoding would have to be
 * guessed, and a wrong guess changes letters unseen. Throws where it is neither.
 */
export function textOf(bytes) {
  const [first, second] = new Uint8Array(bytes), mark = `${first} ${second}`;
  const text = new TextDecoder({ "255 254": "utf-16le", "254 255": "utf-16be" }[mark] ?? "utf-8", { fatal: true }).decode(bytes);
  if (text.includes("\0")) throw new TypeError("not a text");
  return text;
}

const NAMED = /^\uFEFF?sep=(.)\r?\n/i;

/** The delimiter that the first line names, as Excel has it do (`sep=;`), or that stands in it most often outside quotes. */
export function delimiterOf(text) {
  if (NAMED.test(text)) return NAMED.exec(text)[1];
  const counts = { ",": 0, ";": 0, "\t": 0, "|": 0 };
  let quoted = false;
  for (const sign of text) {
    if (sign === '"') quoted = !quoted;
    else if (!quoted && (sign === "\n" || sign === "\r")) break;
    else if (!quoted && sign in counts) counts[sign] += 1;
  }
  return Object.entries(counts).sort(([, one], [, other]) => other - one)[0][0];
}

/** Rows of cells. Throws where a quote is never closed, with the line at which it opens. */
export function parse(text, delimiter = delimiterOf(text)) {
  const source = text.replace(NAMED, "").replace(/^\uFEFF/, ""), rows = [];
  let row = [], cell = "", quoted = false, line = 1, opened = 0;
  for (let at = 0; at < source.length; at += 1) {
    const sign = source[at];
    if (sign === "\n") line += 1;
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (source[at + 1] === '"') { cell += '"'; at += 1; }
      else quoted = false;
    } else if (sign === '"' && cell === "") { quoted = true; opened = line; }
    else if (sign === delimiter) { row.push(cell); cell = ""; }
    else if (sign === "\n" || sign === "\r") {
      if (sign === "\r" && source[at + 1] === "\n") continue;
      rows.push([...row, cell]);
      row = [];
      cell = "";
    } else cell += sign;
  }
  if (quoted) throw new Error(`The quote that opens in line ${opened} is never closed.`);
  if (cell !== "" || row.length) rows.push([...row, cell]);
  return rows.filter((each) => each.length > 1 || each[0] !== "");
}

/** Rows as text; a cell with the delimiter, a quote or a line break stands in quotes. */
export function format(rows, delimiter) {
  const quote = (cell) => (/["\r\n]/.test(cell) || cell.includes(delimiter) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => row.map((cell) => quote(String(cell))).join(delimiter)).join("\r\n") + "\r\n";
}
