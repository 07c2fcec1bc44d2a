// Tables of comma-separated values as RFC 4180 has them, and as spreadsheets write them: also with semicolons or tabs.

/** The delimiter that stands most often outside quotes in the first line. */
export function delimiterOf(text) {
  const counts = { ",": 0, ";": 0, "\t": 0 };
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
  const source = text.replace(/^\uFEFF/, ""), rows = [];
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
