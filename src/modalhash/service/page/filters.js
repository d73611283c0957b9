// The panel of filters: a control for each field of the collection, and a line for all else.
import { el, own, percent } from "./dom.js";
import { showFacets } from "./facets.js";
import { canCutByRelevance, modalityOf, orders, reachOf, targetOf, wayOf } from "./state.js";

const LIKELY = [1, 2, 5, 10, 25, 50, 75, 90]; // percent
const ORDERS = { fine: "finer codes", features: "features", relaxed: "the query's real numbers" };

const shownName = (name) => name.replaceAll("`", "").replaceAll("_", " ");

function labelled(name, control, className = "field") {
  control.id = `filter-${name.replace(/\W+/g, "-")}`;
  return el("div", { class: className }, el("label", { for: control.id }, name), control);
}

function choice(name, options, value, onChange) {
  const known = options.some(([one]) => one === value);
  const all = known ? options : [...options, [value, value]];
  const select = el("select", { onchange: () => onChange(select.value) },
    all.map(([one, text]) => el("option", { value: one, selected: one === value }, text)));
  return labelled(name, select);
}

function range(name, field, value, onChange) {
  const [from = "", to = ""] = value.split("..");
  const bound = (says, kept, hint) => el("input", {
    type: "number", step: "any", value: kept, placeholder: hint ?? "", "aria-label": `${name}, ${says}`,
  });
  const low = bound("at least", from, field.minimum);
  const high = bound("at most", to, field.maximum);
  const change = () => onChange(low.value || high.value ? `${low.value}..${high.value}` : "");
  low.addEventListener("change", change);
  high.addEventListener("change", change);
  return el("div", { class: "field", role: "group", "aria-label": name },
    el("span", { class: "name" }, name), el("div", { class: "pair" }, low, "to", high));
}

function words(name, value, onChange, attributes = {}) {
  const input = el("input", { type: "text", value, ...attributes });
  input.addEventListener("change", () => onChange(input.value.trim() ? input.value : ""));
  return input;
}

function fieldControl(field, state, set) {
  const value = state.fields.get(field.name) ?? "";
  const change = (chosen) => set({ fields: new Map(state.fields).set(field.name, chosen) });
  const name = shownName(field.name);
  return wayOf(field) === "range" ? range(name, field, value, change)
    : labelled(name, words(name, value, change, { placeholder: "contains …" }));
}

function limits(state, index, set) {
  const found = [];
  if (index.queries.text) {
    found.push(labelled("but not", words("but not", state.minus, (minus) => set({ minus }), {
      placeholder: "words to lead away from",
    })));
  }
  const radius = el("input", {
    type: "number", min: 0, max: index.n_bits, step: 1, value: state.radius, placeholder: "any",
    onchange: () => radius.validity.valid && set({ radius: radius.value }),
  });
  found.push(labelled(`at most so many of ${index.n_bits} bits away`, radius));
  if (canCutByRelevance(state, index) || state.relevance) {
    const reach = reachOf(state, index);
    const reached = LIKELY.filter((one) => one / 100 <= reach);
    found.push(choice("at least so likely", [["", `any (the nearest reach ${percent(reach)})`],
      ...reached.map((one) => [String(one), `${one} %`])],
    state.relevance, (relevance) => set({ relevance })));
  }
  const ways = orders(state, index);
  if (ways.length) {
    found.push(choice("order of the nearest", [["", "by differing bits"],
      ...ways.map((way) => [way, `refined by ${own(ORDERS, way) ?? way}`])],
    ways.includes(state.rerank) ? state.rerank : "", (rerank) => set({ rerank })));
  }
  return found;
}

/** Show the panel for a state; `set` changes the state, `clear` empties all of it. */
export function showFilters(panel, state, index, set, clear) {
  const held = panel.contains(document.activeElement) ? document.activeElement.id : "";
  const target = targetOf(state, index);
  const side = target === "both" ? (index.sides.images ? "images" : "texts") : target;
  const fields = index.fields.filter((field) => ["range", "words"].includes(wayOf(field)) &&
    (target === "both" || field.sides.includes(target) || state.fields.get(field.name)));
  const facets = panel.querySelector(".facets") ?? el("div", { class: "facets" });
  const line = words("filter", state.where, (where) => set({ where }), {
    class: "line-input", spellcheck: "false", autocapitalize: "off", "aria-describedby": "filter-error filter-help",
    placeholder: example(index),
  });
  const isSet = fields.some((field) => state.fields.get(field.name)) ||
    [state.where, state.minus, state.radius, state.relevance, state.rerank].some(Boolean);
  const wasOpen = panel.querySelector(".further")?.open;
  panel.replaceChildren(
    facets,
    el("details", { class: "further", open: wasOpen || isSet },
      el("summary", {}, "More ways to narrow down"), el("div", { class: "fields" },
      fields.map((field) => fieldControl(field, state, set)),
      limits(state, index, set),
      el("div", { class: "wide" },
        labelled("filter in words", line),
        el("div", { id: "filter-error" }),
        el("p", { class: "note", id: "filter-help" },
          "Compare with ", el("code", {}, "== != < <= > >="), ", or use ", el("code", {}, "in (…)"), ", ",
          el("code", {}, "like \"a%\""), ", ", el("code", {}, "is null"), "; join with ",
          el("code", {}, "and"), ", ", el("code", {}, "or"), ", ", el("code", {}, "not"), ".")))),
    el("div", { class: "filter-actions" },
      el("button", { type: "button", class: "quiet outlined", id: "filters-clear", onclick: clear }, "Clear all")));
  if (held) document.getElementById(held)?.focus();
  showFacets(facets, index, side, state, {
    nameOf: shownName,
    choose: (name, value) => set({ fields: new Map(state.fields).set(name, value) }),
  });
}

function example(index) {
  for (const field of index.fields) {
    const value = field.values.find((one) => typeof one === "string" && one);
    if (value) return `${field.name} == "${value}"`;
  }
  const measured = index.fields.find((one) => one.minimum !== null);
  return measured ? `${measured.name} >= ${measured.minimum}` : "year >= 2020";
}

/** Mark the place in the filter line that the server can't understand. */
export function markFilter(panel, state, message, offset) {
  const line = panel.querySelector(".line-input");
  const note = panel.querySelector("#filter-error");
  if (!line || !note) return;
  const [, position, problem] = /at character (\d+): ([^\n]*)/.exec(message) ?? [];
  line.setAttribute("aria-invalid", "true");
  const letters = [...state.where]; // the server counts characters, not halves of them
  const at = Math.min(Math.max(Number(position ?? 1) - 1 - offset, 0), letters.length);
  note.replaceChildren(el("div", { class: "marked" },
    el("p", {}, problem ? `Character ${at + 1}: ${problem}` : message),
    state.where ? el("code", { "aria-hidden": "true" }, letters.slice(0, at).join(""),
      el("mark", {}, letters[at] ?? " "), letters.slice(at + 1).join("")) : null));
}

/** Whether a state's limits need a single query's probabilities and can't have them. */
export const cutIsUnknown = (state, index) =>
  Boolean(state.relevance) && !(modalityOf(state) && canCutByRelevance(state, index));
