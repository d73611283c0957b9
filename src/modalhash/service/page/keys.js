// The keyboard: to the box, between answers, through the hits that are shown large.
import { faces, moveTo, neighbour } from "./results.js";
import { toggle } from "./selection.js";

const writes = (node) => node.matches("input:not([type=radio], [type=checkbox]), select, textarea");

/** Listen to keys; `page` has `box`, `answers`, `large`, `sheets`, `filters`, `clearBox`, `closeFilters`. */
export function listen(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (page.sheets.some((sheet) => sheet.open)) return;
    if (page.large.open) return stepWith(event, page);
    const hit = event.target.closest?.(".hit");
    if (event.key === "/" && !writes(event.target)) {
      event.preventDefault();
      page.box.focus();
      page.box.select();
    } else if (event.target === page.box) {
      inBox(event, page);
    } else if (hit) {
      inAnswers(event, hit.querySelector(".face"), page);
    } else if (event.key === "Escape" && !page.filters.hidden && page.filters.contains(event.target)) {
      page.closeFilters();
    }
  });
}

function stepWith(event, page) {
  const by = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
  if (by === undefined) return;
  const buttons = page.large.querySelectorAll(".sheet-top button");
  if (buttons.length === 3) buttons[by].click();
}

function inBox(event, page) {
  if (event.key === "ArrowDown") {
    const first = faces(page.answers).find((face) => face.tabIndex === 0);
    if (!first) return;
    event.preventDefault();
    moveTo(page.answers, first);
  } else if (event.key === "Escape") {
    event.preventDefault();
    page.clearBox();
  }
}

function inAnswers(event, face, page) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Escape") return page.box.focus();
  if (key === "m") return face.closest(".hit").querySelector(".like-this").click();
  if (key === "x") return toggle(face, event.shiftKey);
  if (!/^(Arrow(Up|Down|Left|Right)|Home|End)$/.test(key)) return;
  event.preventDefault();
  const next = neighbour(page.answers, face, key);
  if (next) moveTo(page.answers, next);
  else page.box.focus();
}
