// JSON without losing a digit: identifiers may have more of them than a number of JavaScript's.

export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const exact = typeof value !== "number" || Number.isSafeInteger(value) || !context;
    return exact || !/^-?\d+$/.test(context.source) ? value : BigInt(context.source);
  });
}

// The names of a path such as `delivery.email`; `\\.` is a dot within a name.
export const path = (text) => text.match(/(?:\\.|[^.\\])+/g)?.map((name) => name.replace(/\\(.)/g, "$1")) ?? [];

// The value at a path; of an array, those of its elements.
export function member(value, names) {
  if (names.length === 0 || value === null || value === undefined) return value;
  if (Array.isArray(value)) return value.map((element) => member(element, names)).filter((found) => found !== undefined);
  const [name, ...rest] = names;
  return typeof value === "object" && Object.hasOwn(value, name) ? member(value[name], rest) : undefined;
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

// Indents the text itself, so that what is copied is what the service said.
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
