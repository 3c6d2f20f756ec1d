// A line over the last minutes, as SVG: it has the page's colours, and scales without redrawing.

import { h, svg } from "./dom.js";
import { number, t } from "./i18n.js";

const SECONDS = 180;
const [WIDTH, HEIGHT] = [600, 120];

export class Chart {
  #points = [];
  #name;
  #first = 0;
  #last = 0;
  #line = svg("path", { class: "line" });
  #area = svg("path", { class: "area" });
  #top = h("span", { class: "top" });
  #picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    this.#area, this.#line);

  constructor(parent, name) {
    this.#name = name;
    parent.classList.add("chart");
    parent.append(this.#picture, this.#top, h("span", { class: "bottom" }, "0"));
  }

  // The time of the first point, until the chart is full: then `null`, and `undefined` without points.
  get began() {
    if (!this.#first) return undefined;
    return this.#points.length < SECONDS ? new Date(this.#first) : null;
  }

  // One point per second: a later one of the same second replaces it. `null` is a gap, and so are seconds without data.
  add(point) {
    const now = Date.now();
    const passed = this.#last ? Math.min(SECONDS, Math.round((now - this.#last) / 1000)) : 1;
    for (let second = 1; second < passed; second += 1) this.#points.push(null);
    if (passed === 0) this.#points.pop();
    else this.#last = now;
    this.#first ||= now;
    this.#points.push(point);
    this.#points = this.#points.slice(-SECONDS);
    this.#draw();
  }

  // In the current language.
  redraw() {
    this.#draw();
  }

  // The segments between gaps, as lists of index and value.
  #stretches() {
    const stretches = [[]];
    this.#points.forEach((point, index) => {
      if (point !== null) stretches.at(-1).push([index, point]);
      else if (stretches.at(-1).length > 0) stretches.push([]);
    });
    return stretches.filter((stretch) => stretch.length > 0);
  }

  #draw() {
    const measured = this.#points.filter((point) => point !== null);
    const highest = Math.max(0, ...measured);
    const most = scale(highest);
    const x = (index) => WIDTH - (this.#points.length - 1 - index) * (WIDTH / (SECONDS - 1));
    const y = (point) => HEIGHT - (point / most) * (HEIGHT - 4);
    const lines = this.#stretches().map((stretch) => {
      const points = stretch.map(([index, point]) => `${x(index).toFixed(1)},${y(point).toFixed(1)}`);
      // A single second is as wide as one.
      if (points.length === 1) points.unshift(`${x(stretch[0][0] - 1).toFixed(1)},${y(stretch[0][1]).toFixed(1)}`);
      return { points: points.join(" "), from: points[0].split(",")[0], to: points.at(-1).split(",")[0] };
    });
    this.#line.setAttribute("d", lines.map(({ points }) => `M${points}`).join(" "));
    this.#area.setAttribute("d", lines.map(({ points, from, to }) => `M${from},${HEIGHT} ${points} ${to},${HEIGHT}Z`).join(" "));
    this.#top.textContent = number(most);
    const text = (point) => (point === undefined || point === null ? "–" : number(point));
    this.#picture.setAttribute("aria-label", t("chartNow", {
      name: t(this.#name), now: text(this.#points.at(-1)), most: text(measured.length > 0 ? highest : null),
      count: this.#points.length,
    }));
  }
}

// The next of 1, 2, 5, 10, 20, …, so that the scale rarely changes.
function scale(most) {
  if (most <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most);
}
