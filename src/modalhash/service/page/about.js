// What an index holds and which model made it.
import { models } from "./api.js";
import { bytes, counted, el, icon, number, own } from "./dom.js";
import { ruleSays } from "./results.js";

const facts = (rows) => el("dl", { class: "facts" },
  rows.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

const ARROWS = {
  text_to_image: "text → picture", image_to_text: "picture → text",
  image_to_image: "picture → picture", text_to_text: "text → text",
};

/** One line on an index, for the foot of the page. */
export function inShort(index) {
  const sides = Object.entries(index.sides)
    .map(([side, { count }]) => counted(count, side === "texts" ? "text" : "picture"));
  const each = `${index.n_bits} bits each`;
  return `${index.name}: ${sides.join(" and ")}, ${each} (${bytes(Math.ceil(index.n_bits / 8))})`;
}

function aboutIndex(index) {
  const sides = Object.entries(index.sides).map(([side, one]) =>
    [side === "texts" ? "texts" : "pictures", `${number(one.count)}; ${one.search}`]);
  const relevance = Object.entries(index.relevance)
    .map(([direction, rule]) => el("div", {}, `${own(ARROWS, direction) ?? direction}: ${ruleSays(rule)}`));
  return el("section", {}, el("h3", {}, "The index"), facts([
    ["collection", `${index.collection}${index.split ? ` (${index.split})` : ""}`],
    ...sides,
    ["a code", `${index.n_bits} bits, ${bytes(Math.ceil(index.n_bits / 8))}`],
    ["relevant means", relevance.length ? relevance : "not known: the index isn't calibrated"],
    ["fields", index.fields.map((field) => field.name).join(", ")],
    ["changes", index.writable ? "allowed" : "not allowed"],
    ["opened", index.opened_at && new Date(index.opened_at).toLocaleString()],
  ]));
}

function aboutModel(model) {
  const trained = model.trained_on;
  return el("section", {}, el("h3", {}, "The model"), facts([
    ["method", model.title === model.method ? model.method : `${model.title} (${model.method})`],
    ["encoder", model.encoder],
    ["learned from", trained?.collection &&
      `${trained.collection}${trained.split ? `, ${trained.split}` : ""}${trained.n_items ? `: ${counted(trained.n_items, "item")}` : ""}`],
    ["finer codes", model.fine_codes ? "yes" : "no"],
    ["fingerprint", el("code", {}, model.fingerprint)],
    ["made by", model.modalhash && `modalhash ${model.modalhash}`],
  ]));
}

/** Open the sheet of facts. */
export async function openAbout(sheet, index, service) {
  const place = el("div", { class: "sheet-body" }, aboutIndex(index));
  sheet.replaceChildren(
    el("div", { class: "sheet-top" },
      el("h2", { id: "about-title", tabindex: "-1" }, `About ${index.name}`),
      el("button", { type: "button", class: "quiet", onclick: () => sheet.close() },
        icon("close"), el("span", { class: "unseen" }, "Close"))),
    place);
  sheet.showModal();
  sheet.querySelector("h2").focus();
  const limits = service.limits;
  const isServer = limits.body_bytes !== undefined; // a static site searches in the browser
  const server = el("section", {}, el("h3", {}, isServer ? "The server" : "This site"), facts([
    ["version", `modalhash ${service.version}`],
    ["searches", !isServer && "run in this browser: what you search for is sent nowhere"],
    ["an upload", isServer && `up to ${bytes(limits.body_bytes)} and ${number(limits.pixels / 1e6)} million pixels`],
    ["a text", `up to ${counted(limits.text_length, "character")}`],
    ["answers", `up to ${number(limits.k)} at once`],
    ["for programs", isServer && el("a", { href: "v1/openapi.json" }, "the API as OpenAPI")],
  ]));
  try {
    const all = await models();
    const model = all.find((one) => one.fingerprint === index.model);
    place.append(...(model ? [aboutModel(model)] : []), server);
  } catch (error) {
    place.append(el("p", { class: "problem" }, error.message), server);
  }
}
