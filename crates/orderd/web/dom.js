// The only module that creates elements. Text from orders becomes text nodes.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text of an order, isolated so that right-to-left text does not affect its neighbours.
export function value(text, props = {}) {
  return h("bdi", { ...props, class: `value ${props.class ?? ""}` }, String(text));
}

// A line of a list shows the beginning of a long text.
export const LINE = 160;
export const line = (text) => (text.length > LINE ? `${text.slice(0, LINE).replace(/[\uD800-\uDBFF]$/, "")}…` : text);

let saying = 0;

// Announces to screen readers, at most once in five seconds: the last text counts.
export function say(text) {
  clearTimeout(saying);
  const last = Number($("say").dataset.at ?? 0);
  const wait = Math.max(0, last + 5000 - Date.now());
  saying = setTimeout(() => {
    $("say").textContent = text;
    $("say").dataset.at = Date.now();
  }, wait);
}
