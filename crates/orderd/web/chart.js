// A line over the last minutes, as SVG: its colours are the page's, and it needs no redrawing when resized.

import { h, svg } from "./dom.js";
import { number, t } from "./i18n.js";

const SECONDS = 180;
const [WIDTH, HEIGHT] = [600, 120];

export class Chart {
  #points = [];
  #name;
  #line = svg("polyline", { class: "line" });
  #area = svg("polygon", { class: "area" });
  #top = h("span", { class: "top" });
  #picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    this.#area, this.#line);

  constructor(place, name) {
    this.#name = name;
    place.classList.add("chart");
    place.append(this.#picture, this.#top, h("span", { class: "bottom" }, "0"));
  }

  // `null` where there was nothing to measure: the line goes on from the one before.
  add(point) {
    this.#points.push(point ?? this.#points.at(-1) ?? 0);
    if (this.#points.length > SECONDS) this.#points.shift();
    this.#draw();
  }

  #draw() {
    const most = scale(Math.max(...this.#points));
    const x = (index) => WIDTH - (this.#points.length - 1 - index) * (WIDTH / (SECONDS - 1));
    const y = (point) => HEIGHT - (point / most) * (HEIGHT - 4);
    const line = this.#points.map((point, index) => `${x(index).toFixed(1)},${y(point).toFixed(1)}`);
    this.#line.setAttribute("points", line.join(" "));
    this.#area.setAttribute("points", `${x(0).toFixed(1)},${HEIGHT} ${line.join(" ")} ${WIDTH},${HEIGHT}`);
    this.#top.textContent = number(most);
    this.#picture.setAttribute("aria-label", t("chartNow", {
      name: t(this.#name), now: number(this.#points.at(-1)), most: number(Math.max(...this.#points)),
      count: this.#points.length,
    }));
  }
}

// The next of 1, 2, 5, 10, 20, … so that the scale doesn't change every second.
function scale(most) {
  if (most <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most);
}
