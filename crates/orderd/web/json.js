// JSON without loss of digits: identifiers may have more than JavaScript's numbers.

export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const exact = typeof value !== "number" || Number.isSafeInteger(value) || !context;
    return exact || !/^-?\d+$/.test(context.source) ? value : BigInt(context.source);
  });
}

// The text of a value that was parsed.
export const stringify = (content) =>
  JSON.stringify(content, (_, value) => (typeof value === "bigint" ? JSON.rawJSON?.(String(value)) ?? String(value) : value));

// The names of a path such as `delivery.email`; `\\.` is a dot within a name.
export const path = (text) => text.match(/(?:\\.|[^.\\])+/g)?.map((name) => name.replace(/\\(.)/g, "$1")) ?? [];

// The value at a path; for an array, the values of its elements.
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
