// The panel of filters: a control for each field of the collection, and a line for all else.
import { el, own } from "./dom.js";
import { canCutByRelevance, modalityOf, orders, targetOf, wayOf } from "./state.js";

const LIKELY = ["", "10", "25", "50", "75", "90"];
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
  switch (wayOf(field)) {
    case "choice":
      return choice(name, [["", "any"], ...field.values.map((one) => [
        String(one), one === true ? "yes" : one === false ? "no" : String(one),
      ])], value, change);
    case "range":
      return range(name, field, value, change);
    default:
      return labelled(name, words(name, value, change, { placeholder: "contains …" }));
  }
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
    found.push(choice("at least so likely", LIKELY.map((one) => [one, one ? `${one} %` : "any"]),
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
  const fields = index.fields.filter((field) => wayOf(field) &&
    (target === "both" || field.sides.includes(target) || state.fields.get(field.name)));
  const line = words("filter", state.where, (where) => set({ where }), {
    class: "line-input", spellcheck: "false", autocapitalize: "off", "aria-describedby": "filter-error filter-help",
    placeholder: example(index),
  });
  panel.replaceChildren(
    el("div", { class: "fields" },
      fields.map((field) => fieldControl(field, state, set)),
      limits(state, index, set),
      el("div", { class: "wide" },
        labelled("filter in words", line),
        el("div", { id: "filter-error" }),
        el("p", { class: "note", id: "filter-help" },
          "Compare with ", el("code", {}, "== != < <= > >="), ", or use ", el("code", {}, "in (…)"), ", ",
          el("code", {}, "like \"a%\""), ", ", el("code", {}, "is null"), "; join with ",
          el("code", {}, "and"), ", ", el("code", {}, "or"), ", ", el("code", {}, "not"), "."))),
    el("div", { class: "filter-actions" },
      el("button", { type: "button", class: "quiet outlined", id: "filters-clear", onclick: clear }, "Clear all")));
  if (held) document.getElementById(held)?.focus();
}

function example(index) {
  const field = index.fields.find((one) => one.values.length && typeof one.values[0] === "string");
  if (field) return `${field.name} == "${field.values[0]}"`;
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
