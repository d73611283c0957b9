// Elements made by code: what comes from the server is only ever set as text.
const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Make an HTML element; `onclick` and the like are listeners, `--x` is a style's variable. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an element of an SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Make one of the icons that stand in index.html. */
export function icon(name) {
  return svg("svg", { "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Return what an object itself has under a name; a name such as "constructor" finds nothing else. */
export const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);

/** Return the element of an id in index.html. */
export const byId = (id) => document.getElementById(id);

const whole = new Intl.NumberFormat("en");

/** Write a number for reading: 1,393. */
export const number = (value) => whole.format(value);

/** Write a count with its noun: "1 bit", "14 bits". */
export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

/** Write a probability as a percentage that claims no certainty. */
export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 1) return "under 1 %";
  if (value < 100 && value > 99) return "over 99 %";
  return `${Math.round(value)} %`;
}

/** Write a number of bytes: "16 MB". */
export function bytes(count) {
  if (count < 1000) return counted(count, "byte");
  const [size, unit] = count < 1e6 ? [count / 1000, "kB"] : [count / 1e6, "MB"];
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
}
