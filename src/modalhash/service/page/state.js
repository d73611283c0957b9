// What is asked, as an address: it can be shared, and the back button goes through it.
import { own } from "./dom.js";

const NAMES = {
  index: "index", text: "q", minus: "not", like: "like", side: "of", picture: "picture",
  target: "find", where: "where", k: "k", radius: "within", relevance: "likely",
  rerank: "order", item: "item", why: "why",
};
const FIELD = "f.";
export const USUAL_K = 24;

/** A search that asks nothing yet. */
export const nothing = () => ({
  index: "", text: "", minus: "", like: "", side: "", picture: "", target: "", where: "",
  k: "", radius: "", relevance: "", rerank: "", item: "", why: "",
  fields: new Map(), // names are the collection's own, "constructor" among them
});

/** Whether anything is searched for. */
export const asks = (state) => Boolean(state.text.trim() || state.like || state.picture);

/** Read the state from an address's query. */
export function parse(query) {
  const given = new URLSearchParams(query);
  const state = nothing();
  for (const [name, short] of Object.entries(NAMES)) state[name] = given.get(short) ?? "";
  for (const [name, value] of given) {
    if (name.startsWith(FIELD)) state.fields.set(name.slice(FIELD.length), value);
  }
  for (const name of ["item", "why"]) {
    if (!/^(images|texts):./.test(state[name])) state[name] = ""; // an address that somebody typed
  }
  return state;
}

/** Write the state as an address's query; "" if it says nothing. */
export function format(state) {
  const said = new URLSearchParams();
  for (const [name, short] of Object.entries(NAMES)) if (state[name]) said.set(short, state[name]);
  for (const [name, value] of state.fields) if (value) said.set(FIELD + name, value);
  return said.size ? `?${said}` : "";
}

const quoted = (text) => `"${text.replace(/[\\"]/g, "\\$&")}"`;
const pattern = (text) => `"%${text.replace(/[\\"%_]/g, "\\$&")}%"`;

const DAY = 86_400_000;

/** The days of a year, as a range. */
export const yearRange = (year) => dayRange(`${year}-01-01`, `${year}-12-31`);

/** Days from one to another, both of them in; "" is open. */
export const dayRange = (first, last) => `${first}..${last}`;

/** The tests of a range of days. A date may be a month or a moment: it begins with its day. */
function testDays(name, value) {
  const [first, last] = value.split("..").map((part) => (/^\d{4}-\d{2}-\d{2}$/.test(part?.trim() ?? "") ? part.trim() : ""));
  const tests = [];
  // "2021-07" lies in the range that begins with 2021-07-01, and comes before that text.
  if (first) tests.push(`${name} >= "${first.replace(/-01-01$/, "").replace(/^(\d{4}-\d{2})-01$/, "$1")}"`);
  const after = last ? new Date(Date.parse(last) + DAY) : NaN;
  if (Number.isFinite(Number(after))) tests.push(`${name} < "${after.toISOString().slice(0, 10)}"`);
  return tests.join(" and ");
}

/** The test that a field is a value, or a list that has it. */
function testExactly(field, value) {
  const truth = { true: true, false: false }[value];
  const isTruth = truth !== undefined && field.types.includes("truth");
  const said = isTruth ? value : quoted(value);
  const tests = [];
  if (isTruth || field.types.includes("text")) tests.push(`${field.name} == ${said}`);
  if (field.types.includes("list")) tests.push(`${said} in ${field.name}`);
  return tests.length > 1 ? `(${tests.join(" or ")})` : tests[0];
}

/** How the state holds that a field has exactly a value: of fields with few values, as it is. */
export const exactly = (field, value) => (wayOf(field) === "choice" ? value : `=${value}`);

/** How a field is filtered: "days", "choice", "range", "words", or null if only by hand. */
export function wayOf(field) {
  if (field.is_date) return "days";
  if (field.values.length) return "choice";
  if (field.types.includes("number")) return "range";
  return field.types.includes("text") ? "words" : null;
}

function testOf(field, value) {
  if (wayOf(field) === "days") return testDays(field.name, value);
  if (wayOf(field) === "choice") return testExactly(field, value);
  if (value.startsWith("=")) return testExactly(field, value.slice(1));
  if (wayOf(field) === "words") return `${field.name} like ${pattern(value)}`;
  const [from, to] = value.split("..").map((part) => (part?.trim() ? Number(part) : NaN));
  const tests = [];
  if (Number.isFinite(from)) tests.push(`${field.name} >= ${from}`);
  if (Number.isFinite(to)) tests.push(`${field.name} <= ${to}`);
  return tests.join(" and ");
}

/** Return the filter of a state: what was written by hand comes first, so that places in it hold. */
export function filterOf(state, fields) {
  const tests = fields
    .filter((field) => state.fields.get(field.name))
    .map((field) => testOf(field, state.fields.get(field.name)))
    .filter(Boolean);
  const written = state.where.trim() ? state.where : "";
  if (!written) return { filter: tests.join(" and "), offset: 0 };
  if (!tests.length) return { filter: written, offset: 0 };
  return { filter: [`(${written})`, ...tests].join(" and "), offset: 1 };
}

/** What is empty where nothing narrows a search down. */
export const noLimits = () => ({ fields: new Map(), where: "", minus: "", radius: "", relevance: "", rerank: "" });

/** Count the limits that are set. */
export const limitsSet = (state) =>
  [...state.fields.values()].filter(Boolean).length +
  [state.where, state.minus, state.radius, state.relevance, state.rerank].filter(Boolean).length;

/** What a state asks with: "text", "image", of an item its side; null of several parts. */
export function modalityOf(state) {
  const parts = [
    state.text.trim() && "text",
    state.picture && "image",
    state.like && (state.side === "texts" ? "text" : "image"),
    state.minus.trim() && "minus",
  ].filter(Boolean);
  return parts.length === 1 ? parts[0] : null;
}

/** What is searched: as chosen, or what suits the query and the index. */
export function targetOf(state, index) {
  const sides = Object.keys(index.sides);
  if (sides.length === 1) return sides[0];
  if (state.target) return state.target;
  return state.picture && !state.text.trim() ? "both" : "images";
}

/** Return an id as the index has it: an address knows only texts. */
export function idOf(text, side, index) {
  if (own(index.sides, side)?.id_kind !== "integer") return text;
  return Number.isSafeInteger(Number(text)) ? Number(text) : (JSON.rawJSON?.(text) ?? Number(text));
}

/** Return the request of all texts of a picture. */
export function captionsOf(hit, index) {
  const id = typeof hit.id === "string" ? quoted(hit.id) : (hit.id.rawJSON ?? String(hit.id));
  return { id: hit.id, id_side: "images", target: "texts", filter: `item == ${id}`, k: Math.min(20, index.sides.texts.count || 1) };
}

function partsOf(state, index) {
  const parts = {};
  if (state.text.trim()) parts.text = state.text.trim();
  if (state.minus.trim()) parts.minus_text = state.minus.trim();
  if (state.like) {
    parts.id_side = state.side || "images";
    parts.id = idOf(state.like, parts.id_side, index);
  }
  return parts;
}

/** Return the query of an answer. A picture isn't sent again: its code stands for it, by bits alone. */
export function queryOf(state, index, answer) {
  if (!state.picture) return partsOf(state, index);
  const modality = modalityOf(state);
  return { code: { hex: answer.code, ...(modality ? { modality } : {}) }, scoring: "hamming" };
}

/** Return the request of a state. */
export function requestOf(state, index, limits) {
  const { filter } = filterOf(state, index.fields);
  const target = targetOf(state, index);
  const request = { target, k: Math.min(Number(state.k) || USUAL_K, limits.k), ...partsOf(state, index) };
  if (filter) request.filter = filter;
  if (state.radius !== "") request.radius = Number(state.radius);
  if (state.relevance && canCutByRelevance(state, index)) {
    request.min_relevance = Number(state.relevance) / 100;
  }
  if (state.rerank && orders(state, index).includes(state.rerank)) {
    Object.assign(request, { rerank: "auto", rerank_by: state.rerank });
  }
  return request;
}

function directions(state, index) {
  const asked = modalityOf(state);
  const target = targetOf(state, index);
  const sides = target === "both" ? ["images", "texts"] : [target];
  return sides.map((side) => `${asked}_to_${side === "images" ? "image" : "text"}`);
}

/** The largest probability that distances of this search reach. */
export const reachOf = (state, index) =>
  Math.max(0, ...directions(state, index).map((one) => own(index.reach ?? {}, one) ?? 0));

/** Whether distances of this search are known as probabilities. */
export const canCutByRelevance = (state, index) =>
  modalityOf(state) !== null && directions(state, index).every((one) => own(index.relevance, one));

/** What the nearest can be put in order by. */
export function orders(state, index) {
  if (modalityOf(state) === null) return ["relaxed"];
  const [first, ...rest] = directions(state, index).map((one) => own(index.rerank, one) ?? []);
  return first.filter((way) => rest.every((other) => other.includes(way)));
}
