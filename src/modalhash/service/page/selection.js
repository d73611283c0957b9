// Hits that are chosen: over several searches, until they are let go; their paths and their removal.
import * as api from "./api.js";
import { counted, el, icon } from "./dom.js";
import { idOf } from "./state.js";

const chosen = new Map(); // "side:id" to the hit and its side
let anchor = ""; // the one that was chosen last: a range begins there
let options = { place: null, bar: null, mayChange: () => false, onDelete: null };

const keyOf = (hit, side) => `${side}:${hit.id}`;

/** Set where hits and the bar stand, and what deleting does. */
export function prepare(given) {
  options = given;
}

/** Forget what was chosen. */
export function clear() {
  chosen.clear();
  anchor = "";
  redraw();
}

/** Where a hit lies, as far as the server says: its path, the name of its file, or its id. */
export const pathOf = (hit) => hit.picture?.path ?? hit.picture?.file_name ?? String(hit.id);

/** Make the box by which a hit is chosen. */
export function pick(hit, side, name) {
  const key = keyOf(hit, side);
  const box = el("input", {
    type: "checkbox", class: "pick", tabindex: "-1", "data-key": key, "aria-label": `Select: ${name}`,
  });
  box.checked = chosen.has(key);
  box.hit = [hit, side];
  box.addEventListener("click", (event) => choose(box, event.shiftKey));
  return el("label", { class: "pick-place" }, box);
}

function set(box, on) {
  const [hit, side] = box.hit;
  box.checked = on;
  if (on) chosen.set(box.dataset.key, { hit, side });
  else chosen.delete(box.dataset.key);
}

const boxes = () => [...options.place.querySelectorAll(".pick")];

/** Choose a hit, or, with shift, all from the one that was chosen last to it. */
function choose(box, isRange) {
  const all = boxes();
  const from = all.findIndex((one) => one.dataset.key === anchor);
  const to = all.indexOf(box);
  const range = isRange && from >= 0 ? all.slice(Math.min(from, to), Math.max(from, to) + 1) : [box];
  for (const one of range) set(one, box.checked);
  anchor = box.dataset.key;
  redraw();
}

/** Choose the hit of a face, or let it go. */
export function toggle(face, isRange) {
  const box = face.closest(".hit").querySelector(".pick");
  box.checked = !box.checked;
  choose(box, isRange);
}

/** Draw the boxes and the bar as things are chosen. */
export function redraw() {
  const { place, bar } = options;
  for (const box of boxes()) box.checked = chosen.has(box.dataset.key);
  place.classList.toggle("has-chosen", chosen.size > 0);
  document.body.classList.toggle("has-bar", chosen.size > 0);
  const held = bar.contains(document.activeElement) ? document.activeElement.dataset.act : "";
  bar.hidden = !chosen.size;
  if (!chosen.size) {
    bar.replaceChildren();
    if (held) place.querySelector('.face[tabindex="0"]')?.focus();
    return;
  }
  const shown = new Set(boxes().map((box) => box.dataset.key));
  const away = [...chosen.keys()].filter((key) => !shown.has(key)).length;
  const act = (name, text, onclick, more = {}) =>
    el("button", { type: "button", class: "quiet outlined", "data-act": name, onclick, ...more }, text);
  bar.replaceChildren(
    el("p", { class: "chosen-count", role: "status" },
      el("strong", {}, `${counted(chosen.size, "item")} selected`), away ? el("span", { class: "note" }, ` ${away} not shown`) : null),
    act("all", "Select all shown", selectShown, { disabled: boxes().every((box) => box.checked) }),
    act("copy", "Copy paths", (event) => copyPaths(event.target)),
    act("text", "Save as text", () => save("selection.txt", "text/plain", `${paths().join("\n")}\n`)),
    act("csv", "Save as CSV", () => save("selection.csv", "text/csv", table())),
    ...(options.mayChange() ? [act("delete", "Remove …", options.onDelete)] : []),
    el("button", { type: "button", class: "quiet", "data-act": "clear", onclick: clear },
      icon("close"), el("span", { class: "unseen" }, "Let go of the selection")));
  if (held) bar.querySelector(`[data-act=${held}]`)?.focus();
}

function selectShown() {
  for (const box of boxes()) set(box, true);
  redraw();
}

const paths = () => [...new Set([...chosen.values()].map(({ hit }) => pathOf(hit)))];

/** The ids that are chosen, each once, as the index has them. */
export const ids = (index) => [...new Map([...chosen.values()]
  .map(({ hit, side }) => [String(hit.id), idOf(String(hit.id), side, index)])).values()];

/** Copy a text, and say so on the button; where that isn't allowed, say what to do. */
export async function copyText(button, text, otherwise) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = otherwise;
  }
  setTimeout(() => (button.textContent = before), 2500);
}

const copyPaths = (button) => copyText(button, paths().join("\n"), "Not allowed: save them as text");

function save(name, type, content) {
  api.saveBlob(new Blob([content], { type: `${type};charset=utf-8` }), name);
}

/** Write a cell of a CSV file; one that a spreadsheet would compute begins with an apostrophe. */
export function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function table() {
  const rows = [...chosen.values()].map(({ hit, side }) =>
    [pathOf(hit), hit.id, side === "images" ? "picture" : "text", hit.caption, hit.distance, hit.strength]);
  return [["path", "id", "kind", "caption", "differing_bits", "match"], ...rows]
    .map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}
