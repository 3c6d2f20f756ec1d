// Documents as CSV (RFC 4180): a column for each scalar member; an array is one column, as JSON. If the model has no
// members: the searchable members, and the document.

import { isTooDeep, member, parse, path, stringify } from "./json.js";
import { arrival } from "./table.js";

export class Csv {
  extension = "csv";
  type = "text/csv";
  #columns;

  constructor(schema, searched) {
    const columns = leaves(schema, []);
    this.#columns = columns.length > 0 ? columns : [...searched.map(path), []];
  }

  // With the byte order mark by which spreadsheets recognize UTF-8.
  get head() {
    const names = this.#columns.map((names) => names.map((name) => name.replaceAll(".", "\\.")).join("."));
    // A member of such a name is another column.
    const own = (name) => (names.includes(name) ? `orderd_${name}` : name);
    return `\ufeff${row([own("key"), own("arrived"), ...names.map((name) => name || own("document"))])}`;
  }

  line(text, id) {
    // A document that is too deep to parse stays unchanged.
    const order = isTooDeep(text) ? {} : parse(text).order;
    const cells = this.#columns.map((names) => (names.length > 0 ? member(order, names) : text.slice(text.indexOf('"order":') + 8, -1)));
    return row([id, arrival(id)?.toISOString(), ...cells]);
  }
}

function leaves(schema, above) {
  return Object.entries(schema?.properties ?? {}).flatMap(([name, described]) =>
    described.properties ? leaves(described, [...above, name]) : [[...above, name]]);
}

const row = (cells) => `${cells.map(cell).join(",")}\r\n`;

function cell(content) {
  if (content === null || content === undefined) return "";
  const text = typeof content === "object" ? stringify(content) : String(content);
  // Spreadsheets would evaluate it as a formula; a phone number is not one.
  const isFormula = typeof content === "string" && /^[=@\t\r]|^[+-](?![\d\s().-]*$)/.test(text);
  const safe = isFormula ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
