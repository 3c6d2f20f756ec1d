// Documents as CSV (RFC 4180): a column for each scalar member of the model; an array is one column, as JSON. The last
// column has the members that the model lacks, as one JSON object: columns of their own would depend on the documents,
// and the first line is written before they are read. If the model has no members: the searchable members, and the
// document. Values are the text that the service sends, not JavaScript's numbers, which lose digits.

import { folded, hasModel, parts, path } from "./json.js";
import { arrival } from "./table.js";

export class Csv {
  extension = "csv";
  type = "text/csv";
  #searched;
  #columns = [];
  #model;

  constructor(schema, searched) {
    this.#searched = searched.map(path);
    this.#model = new Members(schema?.properties ?? {}, [], this.#columns);
  }

  // With the byte order mark by which spreadsheets recognize UTF-8.
  get head() {
    const columns = hasModel() ? this.#columns : this.#searched;
    const names = columns.map((names) => safe(names.map((name) => name.replaceAll(".", "\\.")).join(".")));
    // A member of such a name is another column.
    const own = (name) => (names.includes(name) ? own(`orderd_${name}`) : name);
    const rest = hasModel() ? "unknown_members" : "document";
    return `\ufeff${row([own("key"), own("arrived"), ...names, own(rest)])}`;
  }

  line(text, id) {
    const [, document] = parts(text).find(([name]) => name === "order");
    const cells = hasModel() ? this.#cells(document) : [...this.#searched.map((names) => at(document, names)), document];
    return row([safe(id), arrival(id)?.toISOString() ?? "", ...cells.map(cell)]);
  }

  #cells(document) {
    const cells = this.#columns.map(() => "");
    const unknown = this.#model.read(document, cells);
    return [...cells, unknown];
  }
}

// The members of an object of the model: for each its column, or its own members.
class Members {
  #named = new Map();
  #folded = new Map();

  // Appends the paths of their columns to `columns`.
  constructor(properties, above, columns) {
    for (const [name, { properties: own, items }] of Object.entries(properties)) {
      const names = [...above, name];
      const member = own ? { members: new Members(own, names, columns) } : { column: columns.push(names) - 1, isArray: items !== undefined };
      this.#named.set(name, member);
      if (!this.#folded.has(folded(name))) this.#folded.set(folded(name), member);
    }
  }

  // Fills in the cells. Returns the members that the model lacks as one object, or "" without any. Of a repeated member,
  // the last value counts, as in Go: objects are merged, and `null` only empties arrays.
  read(object, cells) {
    const unknown = [];
    for (const [name, value] of parts(object)) {
      const { members, column, isArray } = this.#named.get(name) ?? this.#folded.get(folded(name)) ?? {};
      const isKnown = members !== undefined || column !== undefined;
      const lacked = isKnown ? members?.read(value, cells) : value;
      if (lacked) unknown.push(`${JSON.stringify(name)}:${lacked}`);
      if (column !== undefined && (value !== "null" || isArray)) cells[column] = value;
    }
    return unknown.length > 0 ? `{${unknown.join(",")}}` : "";
  }
}

// The text of the value at a path; for an array, the values of its elements as an array; "" without one. Without a model,
// names are exact.
function at(value, [name, ...rest]) {
  if (name === undefined) return value;
  if (value.startsWith("[")) {
    const found = parts(value).map(([, element]) => at(element, [name, ...rest])).filter((text) => text !== "");
    return `[${found.join(",")}]`;
  }
  const found = value.startsWith("{") ? parts(value).findLast(([own]) => own === name) : undefined;
  return found ? at(found[1], rest) : "";
}

// A cell for JSON text: a string is its characters, `null` is empty.
function cell(text) {
  if (text === "null") return "";
  if (!text.startsWith('"')) return text;
  return safe(JSON.parse(text));
}

// Spreadsheets would evaluate it as a formula; a phone number is not one.
const safe = (text) => (/^[=@\t\r]|^[+-](?![\d\s().-]*$)/.test(text) ? `'${text}` : text);

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const row = (cells) => `${cells.map(quoted).join(",")}\r\n`;
