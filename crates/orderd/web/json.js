// JSON without loss of digits: identifiers may have more than JavaScript's numbers.

// A fraction that JavaScript's numbers can't hold, or one beyond their range: its text.
export class Fraction {
  #text;

  constructor(text) {
    this.#text = text;
  }

  toString() {
    return this.#text;
  }
}

export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    if (typeof value !== "number" || !context) return value;
    if (/^-?\d+$/.test(context.source)) return Number.isSafeInteger(value) ? value : BigInt(context.source);
    return digits(context.source) === digits(String(value)) ? value : new Fraction(context.source);
  });
}

// The digits that count: without those of the exponent, and zeros at the ends.
const digits = (number) => number.replace(/e.*/i, "").replace(/[-.]/g, "").replace(/^0+|0+$/g, "");

// The text of a value that was parsed.
export const stringify = (content, indent) => JSON.stringify(content, (_, value) =>
  (typeof value === "bigint" || value instanceof Fraction ? JSON.rawJSON?.(String(value)) ?? String(value) : value), indent);

// The names of a path such as `delivery.email`; `\\.` is a dot within a name.
export const path = (text) => text.match(/(?:\\.|[^.\\])+/g)?.map((name) => name.replace(/\\(.)/g, "$1")) ?? [];

// The value at a path; for an array, the values of its elements.
export function member(value, names) {
  if (names.length === 0 || value === null || value === undefined) return value;
  if (Array.isArray(value)) return value.map((element) => member(element, names)).filter((found) => found !== undefined);
  const [name, ...rest] = names;
  const own = typeof value === "object" ? ownName(value, name) : undefined;
  return own === undefined ? undefined : member(value[own], rest);
}

// Without a model, names are exact.
let isModelled = false;
export const setHasModel = (has) => (isModelled = has);
export const hasModel = () => isModelled;

// The object's own spelling of a name.
function ownName(object, name) {
  if (Object.hasOwn(object, name)) return name;
  return hasModel() ? Object.keys(object).findLast((own) => folded(own) === folded(name)) : undefined;
}

// The signs of JSON text that are outside of strings, each with its place. A single regular expression for strings would
// exhaust the stack on long ones.
function* signs(text) {
  const next = /["{}[\],:]/g;
  for (let found = next.exec(text); found; found = next.exec(text)) {
    if (found[0] === '"') next.lastIndex = stringEnd(text, found.index);
    else yield [found[0], found.index];
  }
}

// The place after the string that begins at `start`.
function stringEnd(text, start) {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text[end - 1 - escapes] === "\\") escapes += 1;
    if (escapes % 2 === 0) return end + 1;
  }
  return text.length;
}

// The members of an object, each as its name and the text of its value; of an array, its elements without names.
// Nothing else has any. A name may occur twice.
export function parts(text) {
  const found = [];
  let [depth, name, start] = [0, undefined, 0];
  for (const [sign, at] of signs(text)) {
    const isEnd = sign === "}" || sign === "]";
    if (depth === 1 && sign === ":") name = JSON.parse(text.slice(start, at));
    if (depth === 1 && (sign === "," || isEnd)) {
      const value = text.slice(start, at).trim();
      if (value) found.push([name, value]);
    }
    if (isEnd) depth -= 1;
    if (sign === "{" || sign === "[") depth += 1;
    if (depth === 1 && !isEnd) start = at + 1;
  }
  return found;
}

// A name without its case. The service folds letters alike, one by one, as Go does.
export function folded(name) {
  const only = (letters, letter) => ([...letters].length === 1 ? letters : letter);
  const fold = (letter) => {
    const upper = only(letter.toUpperCase(), letter);
    // The capital of dotless ı is I, but ı does not fold to i.
    return letter === "ı" ? letter : only(upper.toLowerCase(), upper);
  };
  return [...name].map(fold).join("");
}

// Parsing and laying out a deeper document would exhaust the stack.
const MAX_DEPTH = 200;

export function isTooDeep(text) {
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (token === "{" || token === "[") depth += 1;
    if (token === "}" || token === "]") depth -= 1;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}

// Indents the original text, so that the copied text is the service's.
export function pretty(text) {
  if (isTooDeep(text)) return text;
  const out = [];
  let depth = 0;
  let before = "";
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs)) {
    const closes = token === "}" || token === "]";
    const opened = before === "{" || before === "[";
    if (closes) depth -= 1;
    if (closes ? !opened : opened || before === ",") out.push(`\n${"  ".repeat(depth)}`);
    out.push(token === ":" ? ": " : token);
    if (token === "{" || token === "[") depth += 1;
    before = token;
  }
  return out.join("");
}

// A sum that stays exact; undefined where a value is not a number.
export function sum(values) {
  if (values.every((value) => Number.isInteger(value) || typeof value === "bigint")) {
    const total = values.reduce((total, value) => total + BigInt(value), 0n);
    return Number.isSafeInteger(Number(total)) ? Number(total) : total;
  }
  if (!values.every((value) => typeof value === "number")) return undefined;
  return values.reduce((total, value) => total + value, 0);
}
