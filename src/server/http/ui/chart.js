// Small charts, drawn by hand: one or two lines over time, read by pointer.

import { h, s } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 72;

/** A round number at or above: 1, 2, 2.5, 5 or 10 times a power of ten. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((bound) => bound >= value * 0.999) ?? value;
}

/** Path data of a line through values; a missing value interrupts it. */
export function path(values, slots, top) {
  const step = WIDTH / Math.max(1, slots - 1);
  const from = slots - values.length;
  let pen = "M";
  let data = "";
  values.forEach((value, at) => {
    if (value === null || value === undefined) {
      pen = "M";
      return;
    }
    const x = ((from + at) * step).toFixed(1);
    const y = (HEIGHT - Math.min(1, Math.max(0, value / top)) * (HEIGHT - 3) - 1).toFixed(1);
    data += `${pen}${x} ${y}`;
    pen = "L";
  });
  return data;
}

/** The same line, closed along the floor. */
export function area(values, slots, top) {
  const runs = path(values, slots, top).split("M").filter(Boolean);
  return runs
    .map((run) => {
      const points = run.split("L");
      const x = (point) => point.split(" ")[0];
      return `M${x(points[0])} ${HEIGHT}L${run}L${x(points.at(-1))} ${HEIGHT}Z`;
    })
    .join("");
}

/** Slots of the axis and what its left end is called: a page that was opened just now shows a minute, not five. */
export function axis(samples, kept, everySeconds) {
  const slots = [30, 75].find((few) => few < kept && samples <= few) ?? kept;
  return { slots, oldest: `${+((slots * everySeconds) / 60).toFixed(1)} min ago` };
}

/** A chart that is drawn anew with every sample. */
export class Chart {
  constructor({ unit, least = 0, top = null }) {
    Object.assign(this, { slots: 1, unit, least, top, lines: [], times: [] });
    this.areaPath = s("path", { class: "area" });
    this.paths = [s("path", { class: "line" }), s("path", { class: "line other" })];
    this.cross = s("line", { class: "cross", y1: 0, y2: HEIGHT, visibility: "hidden" });
    const floor = s("line", { class: "floor", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 });
    this.svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, floor, this.areaPath, ...this.paths.toReversed(), this.cross);
    this.reading = h("div", { class: "reading", "aria-hidden": "true", hidden: true });
    this.node = h("div", { class: "chart" }, this.svg, this.reading);
    this.node.addEventListener("pointermove", (event) => this.read(event));
    this.node.addEventListener("pointerleave", () => this.unread());
    this.highest = h("span");
    this.oldest = h("span");
    this.scale = h("div", { class: "scale", "aria-hidden": "true" }, this.oldest, this.highest);
  }

  /** Draws lines of values, the newest last; `label` is what is heard of them. */
  draw(lines, times, { label, slots, oldest }) {
    this.slots = slots;
    this.oldest.textContent = oldest;
    this.lines = lines;
    this.times = times;
    const known = lines.flat().filter((value) => value !== null && value !== undefined);
    const top = this.top ?? ceiling(Math.max(this.least, ...known));
    this.svg.setAttribute("aria-label", label);
    this.areaPath.setAttribute("d", area(lines[0], this.slots, top));
    this.paths.forEach((line, at) => line.setAttribute("d", lines[at] ? path(lines[at], this.slots, top) : ""));
    this.highest.textContent = `scale ${this.unit(top)}`;
  }

  read(event) {
    const box = this.node.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const slot = Math.round(share * (this.slots - 1));
    const at = slot - (this.slots - this.lines[0]?.length);
    if (!(at >= 0)) return this.unread();
    const words = this.lines.map((line) => (line[at] === null ? "–" : this.unit(line[at]))).join(" · ");
    this.reading.textContent = `${words}  at ${new Date(this.times[at]).toLocaleTimeString()}`;
    this.reading.hidden = false;
    this.reading.style.left = `${Math.min(80, Math.max(20, share * 100))}%`;
    const x = (slot * WIDTH) / (this.slots - 1);
    for (const name of ["x1", "x2"]) this.cross.setAttribute(name, x);
    this.cross.setAttribute("visibility", "visible");
    return undefined;
  }

  unread() {
    this.reading.hidden = true;
    this.cross.setAttribute("visibility", "hidden");
  }
}
