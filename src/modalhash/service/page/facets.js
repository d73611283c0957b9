// Facets: the values of the collection's fields, with how many items have each.
import * as api from "./api.js";
import { el, number } from "./dom.js";
import { dayRange, exactly, filterOf, yearRange } from "./state.js";

const FIRST = 8; // values that are shown before "more"
const KEPT = 30;
const opened = new Set(); // fields whose further values are shown
const answers = new Map();

/** The facets of all items, and of fields that are chosen in, without that choice. */
async function ask(index, side, state) {
  const filters = [filterOf(state, index.fields).filter];
  const active = index.fields.filter((field) => state.fields.get(field.name)).slice(0, 4);
  for (const field of active) {
    const others = new Map([...state.fields].filter(([name]) => name !== field.name));
    filters.push(filterOf({ ...state, fields: others }, index.fields).filter);
  }
  const [all, ...rest] = await Promise.all(filters.map((filter) => counted(index, side, filter)));
  const facets = new Map(all.facets.map((facet) => [facet.name, facet]));
  active.forEach((field, at) => {
    const own = rest[at].facets.find((facet) => facet.name === field.name);
    if (own) facets.set(field.name, own);
  });
  const note = all.counted < all.of
    ? `Counted among the first ${number(all.counted)} of ${number(all.of)} items.` : "";
  return { note, facets: [...facets.values()].sort((one, other) => (one.name < other.name ? -1 : 1)) };
}

/** The values that the index states of a sample, where they can't be counted. */
function uncounted(index, side, error) {
  const facets = index.fields.filter((field) => field.sides.includes(side) && (field.is_date || field.values.length))
    .map((field) => ({
      name: field.name, kind: field.is_date ? "year" : "value", earliest: null, latest: null,
      values: field.is_date ? [] : field.values.map((value) => ({ value, count: null })),
    }));
  const note = error.code === "invalid_filter" ? "" : `The values can't be counted: ${error.message.split("\n")[0]}`;
  return { note, facets };
}

function counted(index, side, filter) {
  const key = JSON.stringify([index.name, index.opened_at, index.sides[side]?.count, side, filter]);
  if (!answers.has(key)) {
    const asked = api.facets(index.name, side, filter);
    asked.catch(() => answers.delete(key));
    answers.set(key, asked);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  }
  return answers.get(key);
}

/** Forget counts: the index has changed. */
export const forget = () => answers.clear();

const idOf = (...parts) => `facet-${parts.map((part) => encodeURIComponent(part).replaceAll("%", "_")).join("-")}`;

/** How a facet's value stands in the state: a year and a number as a range, others as they are. */
function chosenAs(facet, field, value) {
  if (facet.kind === "year") return yearRange(value);
  return typeof value === "number" ? `${value}..${value}` : exactly(field, String(value));
}

/** Whether a filter can choose the values of a facet: numbers inside of lists it can't. */
const canChoose = (facet, field) => field && (facet.kind === "year" ? field.is_date
  : !(field.types.includes("list") && facet.values.some((one) => typeof one.value === "number")));

const shownValue = (value) => (value === true ? "yes" : value === false ? "no" : String(value));

function group(facet, field, name, value, choose, redraw) {
  const isOpen = opened.has(facet.name);
  const areNumbers = facet.values.every((one) => typeof one.value === "number");
  if (areNumbers) facet.values.sort((one, other) => one.value - other.value);
  const isChosen = (one) => chosenAs(facet, field, one.value) === value;
  const isListed = !value || facet.kind === "year" || facet.values.some(isChosen);
  const values = isOpen ? facet.values : facet.values.filter((one, at) => at < FIRST || isChosen(one));
  const more = facet.values.length - values.length;
  const chips = values.map((one) => el("li", {}, el("button", {
    type: "button", class: "facet", id: idOf(facet.name, one.value), "data-value": one.value,
    "aria-pressed": String(isChosen(one)), onclick: () => choose(isChosen(one) ? "" : chosenAs(facet, field, one.value)),
  }, el("span", { class: "value" }, shownValue(one.value)), one.count === null ? null : [" ", el("span", { class: "number" }, number(one.count))])));
  const other = isListed ? null : el("li", {}, el("button", {
    type: "button", class: "facet", id: idOf(facet.name, value), "aria-pressed": "true", onclick: () => choose(""),
  }, el("span", { class: "value" }, value.replace(/^=/, ""))));
  const opener = more || isOpen && facet.values.length > FIRST ? el("li", {}, el("button", {
    type: "button", class: "facet more-values", id: idOf("more", facet.name), "aria-expanded": String(isOpen),
    onclick: () => {
      if (isOpen) opened.delete(facet.name);
      else opened.add(facet.name);
      redraw();
    },
  }, isOpen ? "fewer" : `${number(more)} more`)) : null;
  return el("section", { class: "facet-group", "data-field": facet.name, "aria-label": name },
    el("h2", {}, name), el("ul", {}, chips, other, opener),
    facet.kind === "year" ? days(facet, name, value, choose) : null);
}

/** Two days between which dates lie. */
function days(facet, name, value, choose) {
  const [from, to] = value.split("..");
  const day = (says, kept) => el("input", {
    type: "date", value: /^\d{4}-\d{2}-\d{2}$/.test(kept ?? "") ? kept : "", "aria-label": `${name}, ${says}`,
    id: idOf(facet.name, says), min: dayOf(facet.earliest), max: dayOf(facet.latest),
  });
  const first = day("first day", from);
  const last = day("last day", to);
  const change = () => choose(first.value || last.value ? dayRange(first.value, last.value) : "");
  first.addEventListener("change", change);
  last.addEventListener("change", change);
  return el("div", { class: "days", role: "group", "aria-label": `${name}, between two days` }, first, "to", last);
}

const dayOf = (date) => (/^\d{4}-\d{2}-\d{2}/.test(date ?? "") ? date.slice(0, 10) : null);

/** Draw the facets; the last ones stay until new ones have come. */
export async function showFacets(place, index, side, state, { nameOf, choose }) {
  const mine = (place.asked = {});
  if (!place.childElementCount) place.replaceChildren(el("p", { class: "note busy" }, "Counting …"));
  const found = await ask(index, side, state).catch((error) => uncounted(index, side, error));
  if (place.asked !== mine || !place.isConnected) return;
  const shown = found.facets
    .map((facet) => [facet, index.fields.find((field) => field.name === facet.name)])
    .filter((pair) => canChoose(...pair));
  const draw = () => {
    const held = place.contains(document.activeElement) ? document.activeElement.id : "";
    place.replaceChildren(
      ...shown.map(([facet, field]) => group(facet, field, nameOf(facet.name), state.fields.get(facet.name) ?? "",
        (value) => choose(facet.name, value), draw)),
      found.note ? el("p", { class: "note" }, found.note) : "");
    if (held) document.getElementById(held)?.focus();
  };
  draw();
}
