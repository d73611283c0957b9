// The empty state: what this is, and things of this very collection to try.
import { batch } from "./api.js";
import { counted, el } from "./dom.js";
import { frame, nameOf } from "./results.js";

const SAMPLES = 20;
const TRIES = 5;

/** Codes that lie anywhere, the same ones each time: what is near them is a sample of the index. */
export function scatteredCodes(nBits, count) {
  let seed = 20;
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed >>> 24;
  };
  const nBytes = Math.ceil(nBits / 8);
  const last = nBits % 8 ? (1 << (nBits % 8)) - 1 : 255; // padding bits are zero
  return Array.from({ length: count }, () =>
    Array.from({ length: nBytes }, (_, at) => (random() & (at === nBytes - 1 ? last : 255)))
      .map((byte) => byte.toString(16).padStart(2, "0")).join(""));
}

/** Make a short query of a caption: its first clause, of a few words. */
export function queryFrom(caption) {
  const clause = caption.split(/[.:;,!?\n]/)[0].trim();
  const words = clause.split(/\s+/);
  return clause.length >= 3 && words.length <= 8 ? clause : words.slice(0, 6).join(" ");
}

async function sample(index, limits) {
  const side = index.sides.images ? "images" : "texts";
  const codes = scatteredCodes(index.n_bits, Math.min(SAMPLES, limits.batch));
  const answers = await batch(index.name,
    codes.map((hex) => ({ code: { hex }, target: side, k: Math.min(4, limits.k) })));
  const seen = new Map();
  for (const answer of answers) {
    const fresh = answer.results[0].hits.find((hit) => !seen.has(hit.item ?? hit.id));
    if (fresh) seen.set(fresh.item ?? fresh.id, fresh);
  }
  return { side, hits: [...seen.values()] };
}

function headline(index) {
  const { images, texts } = index.sides;
  const what = images ? counted(images.count, "picture") : counted(texts.count, "text");
  if (index.queries.text && index.queries.picture) return `Search ${what} by words or by a picture`;
  return index.queries.text ? `Search ${what} by words` : `Browse ${what} by what is alike`;
}

/** Show the empty state; `act` has `text(words)` and `like(hit, side)`. */
export async function showStart(place, index, limits, act, isCurrent) {
  const tries = el("div", { class: "tries" });
  const samples = el("div", { class: "samples" });
  place.replaceChildren(el("div", { class: "start" },
    el("h2", { class: "headline" }, headline(index)),
    el("p", { class: "lead" },
      index.queries.text ? "Type what you look for, " : "",
      index.queries.picture ? "drop or paste a picture, " : "",
      `${index.queries.text || index.queries.picture ? "or start" : "Start"} from one below. ` +
      `Each picture and each text is a code of ${index.n_bits} bits; the answers are those ` +
      "that fit your query's numbers best."),
    tries, samples));
  const { side, hits } = await sample(index, limits);
  if (!isCurrent()) return;
  const captions = hits.filter((hit) => hit.caption).map((hit) => queryFrom(hit.caption));
  if (index.queries.text && captions.length) {
    const chosen = [...new Set(captions)].sort((one, other) => one.length - other.length)
      .filter((text) => text.length <= 48).slice(-TRIES);
    tries.append(...chosen.map((text) =>
      el("button", { type: "button", onclick: () => act.text(text) }, text)));
  }
  const shown = hits.filter((hit) => hit.picture);
  if (shown.length) {
    samples.append(el("h2", {}, "Some of them: choose one to see what is like it"),
      el("ul", {}, shown.map((hit) => el("li", {}, el("button", {
        type: "button", title: nameOf(hit), onclick: () => act.like(hit, side),
      }, frame(hit.picture, 128), el("span", { class: "unseen" }, `More like ${nameOf(hit)}`))))));
  }
}
