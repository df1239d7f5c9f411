// Elements without markup: every text that is shown becomes a text node, never HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name in node && name !== "list" && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element: `h("p", { class: "note" }, "text", child)`. */
export const h = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

/** An SVG element, made alike. */
export const s = (name, attributes = {}, ...children) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  node.append(...children.flat(Infinity).filter(Boolean));
  return node;
};

/** The element of this id. */
export const $ = (id) => document.getElementById(id);

/** Puts children in the place of whatever an element holds. */
export const replace = (node, ...children) =>
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));

/** Copies a text; says whether it worked. The clipboard's own interface wants a secure origin, so there is a second way. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "offscreen", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    document.body.append(area);
    const before = document.activeElement;
    area.select();
    const worked = document.execCommand("copy");
    area.remove();
    before?.focus?.();
    return worked;
  }
}

/** Announces to screen readers what is visible elsewhere. */
export function announce(text) {
  const place = $("announcer");
  place.textContent = "";
  // A change in the same turn would not be noticed.
  setTimeout(() => {
    place.textContent = text;
  }, 50);
}

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count with separators: 12,345. */
export const count = (number) => plain.format(number);

/** A figure in three digits or so: 0.042, 4.2, 42, 1.2k. */
export function figure(number) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e9) return `${trim(number / 1e9)}G`;
  if (size >= 1e6) return `${trim(number / 1e6)}M`;
  if (size >= 1e4) return `${trim(number / 1e3)}k`;
  return trim(number);
}

function trim(number) {
  const size = Math.abs(number);
  if (size === 0) return "0";
  if (size >= 100) return plain.format(number);
  if (size >= 10) return String(+number.toFixed(1));
  if (size >= 0.1) return String(+number.toFixed(2));
  return size < 0.001 ? "<0.001" : String(+number.toFixed(3));
}

/** Milliseconds, in the unit that reads best. */
export function duration(millis) {
  if (millis === null || millis === undefined || !Number.isFinite(millis)) return "–";
  if (millis >= 60_000) return `${trim(millis / 60_000)} min`;
  if (millis >= 1000) return `${trim(millis / 1000)} s`;
  if (millis > 0 && millis < 0.1) return `${plain.format(millis * 1000)} µs`;
  return `${trim(millis)} ms`;
}
