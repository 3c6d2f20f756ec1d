// Documents as CSV (RFC 4180): a column for each member that has no parts, arrays as JSON in one. Where no member is known,
// the members that are searched by, and the document.

import { isTooDeep, member, parse, path } from "./json.js";
import { arrival } from "./table.js";

export class Csv {
  extension = "csv";
  type = "text/csv";
  #columns;

  constructor(schema, searched) {
    const columns = leaves(schema, []);
    this.#columns = columns.length > 0 ? columns : [...searched.map(path), []];
  }

  // With the mark by which spreadsheets know UTF-8.
  get head() {
    const names = this.#columns.map((names) => names.map((name) => name.replaceAll(".", "\\.")).join(".") || "document");
    return `\ufeff${row(["id", "arrived", ...names])}`;
  }

  line(text, id) {
    // What is too deep to be read is left as it is.
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
  const text = typeof content === "object" ? json(content) : String(content);
  // Spreadsheets would run it as a formula. A phone number is not a formula.
  const isFormula = typeof content === "string" && /^[=@\t\r]|^[+-](?![\d\s().-]*$)/.test(text);
  const safe = isFormula ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const json = (content) => JSON.stringify(content, (_, value) => (typeof value === "bigint" ? JSON.rawJSON?.(String(value)) ?? String(value) : value));
