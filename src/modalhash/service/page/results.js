// Answers: pictures in a grid, texts as lines, both with how near they are.
import { showThumbnail } from "./api.js";
import { momentName } from "./video.js";
import { counted, el, icon, number, own, percent } from "./dom.js";
import { pick } from "./selection.js";

const RULES = {
  shared_label: "shares a label with the query",
  pair: "is the very item that the query describes",
};

/** Say what relevant means. */
export const ruleSays = (rule) => own(RULES, rule) ?? "is relevant";

/** Cut a name that is too long for a sentence. */
export const short = (name) => (name.length > 44 ? `${name.slice(0, 40).trimEnd()}…` : name);

/** Name a hit for people. */
export const nameOf = (hit) => hit.caption || (hit.moment ? momentName(hit.moment) : String(hit.id));

/** Make the frame of a picture. */
export function frame(picture, size, { lazy = true, alt = "" } = {}) {
  const missing = (says) => el("span", { class: "frame is-missing" }, says);
  if (!picture) return missing("no picture");
  const image = el("img", { alt, decoding: "async", loading: lazy ? "lazy" : null });
  const box = el("span", { class: "frame" }, image);
  image.addEventListener("error", () => box.replaceWith(missing("can't be shown")), { once: true });
  showThumbnail(image, picture.thumbnail, size);
  return box;
}

/** Say what number stands behind a word. */
export const strengthSays = (hit) => (hit.relevance === null
  ? "By how few random codes would be as near"
  : `${percent(hit.relevance)} of the items as near are relevant`);

function figures(hit, nBits) {
  const share = `${(100 * (nBits - hit.distance)) / nBits}%`;
  return el("p", { class: "figures" },
    el("span", { class: "meter", "aria-hidden": "true" }, el("i", { "--share": share })),
    el("span", {}, `${counted(hit.distance, "bit")} away`),
    hit.strength === null ? null
      : el("span", { class: `strength is-${hit.strength}`, title: strengthSays(hit) }, hit.strength));
}

function hitCard(hit, side, nBits, act) {
  const name = nameOf(hit);
  const face = el("a", {
    class: "face", tabindex: "-1", href: act.addressOf(hit, side), "data-id": hit.id, "data-side": side,
    onclick: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // the browser opens it elsewhere
      event.preventDefault();
      act.open(hit, side);
    },
  }, frame(hit.picture, 256), el("span", { class: "caption" }, name));
  const acts = el("div", { class: "acts-of-hit" },
    el("button", {
      type: "button", tabindex: "-1", class: "like-this", onclick: () => act.like(hit, side),
    }, icon("similar"), "More like this", el("span", { class: "unseen" }, `: ${name}`)),
    el("button", {
      type: "button", tabindex: "-1", class: "why-this", onclick: () => act.why(hit, side),
    }, icon("why"), "Why", el("span", { class: "unseen" }, ` this answer: ${name}`)));
  return el("li", { class: "hit" }, face, pick(hit, side, name), figures(hit, nBits), acts);
}

function group(result, nBits, act, isOneOfTwo) {
  const isText = result.target === "texts";
  const cards = result.hits.map((hit) => hitCard(hit, result.target, nBits, act));
  const title = isText ? "Texts" : "Pictures";
  return el("section", { class: isText ? "group lines" : "group", "aria-label": title, "data-side": result.target },
    isOneOfTwo ? el("h2", {}, title) : null,
    el("ol", { class: isText ? "list" : "grid" }, cards));
}

/** Show an answer's hits; `act` has `addressOf`, `open`, `why` and `like`, each of (hit, side). */
export function showAnswer(place, answer, act) {
  const found = answer.results.filter((result) => result.hits.length);
  const groups = found.map((result) => group(result, answer.n_bits, act, answer.results.length > 1));
  place.replaceChildren(...groups);
  faces(place)[0]?.setAttribute("tabindex", "0");
  if (faces(place).length) reach(faces(place)[0], true);
}

/** Append the hits that an answer has beyond those that are shown; false if those are others. */
export function appendHits(place, before, answer, act) {
  const isLonger = before.results.length === answer.results.length && before.results.every((result, at) => {
    const now = answer.results[at];
    return now.target === result.target && result.hits.every((hit, rank) => String(now.hits[rank]?.id) === String(hit.id));
  });
  if (!isLonger) return false;
  for (const [at, result] of answer.results.entries()) {
    const shown = before.results[at].hits.length;
    const list = place.querySelector(`.group[data-side=${result.target}] > ol`);
    if (!list && result.hits.length) return false;
    list?.append(...result.hits.slice(shown).map((hit) => hitCard(hit, result.target, answer.n_bits, act)));
  }
  return true;
}

/** Say how much was found, and what the figures mean. */
export function summaryOf(answer, asked) {
  const counts = answer.results.map((result) =>
    counted(result.hits.length, result.target === "texts" ? "text" : "picture"));
  const isGraded = answer.results.some((result) => result.hits.some((hit) => hit.strength !== null));
  const isWeighed = answer.results.some((result) => result.scoring === "asymmetric");
  const nearness = `, nearest first. Codes have ${number(answer.n_bits)} bits: the fewer differ, the nearer` +
    `${isWeighed ? ", and those that the query is sure of count more" : ""}. `;
  const chance = isGraded ? "Strong, fair and weak say how much that speaks for a hit; “Why” has the numbers. " : "";
  const order = answer.results[0].reranked_by ? `The nearest were put in order by ${answer.results[0].reranked_by}. ` : "";
  const time = `Found in ${Math.max(1, Math.round(answer.timings.total))} ms.`;
  return [`${counts.join(" and ")} for ${asked}`, nearness + chance + order + time];
}

/** The links that stand for the hits, in order. */
export const faces = (place) => [...place.querySelectorAll(".face")];

function reach(face, can) {
  const reachable = face.closest(".hit").querySelectorAll("a, button, input");
  for (const one of reachable) one.tabIndex = can ? 0 : -1;
}

/** Move the one place in the answers that the tab key reaches. */
export function moveTo(place, face, { focus = true } = {}) {
  for (const other of faces(place)) if (other.tabIndex === 0) reach(other, false);
  reach(face, true);
  if (!focus) return;
  face.focus({ preventScroll: true });
  face.scrollIntoView({ block: "nearest" });
}

/** Return the hit that an arrow key leads to; null beyond the first row. */
export function neighbour(place, face, key) {
  const all = faces(place);
  const at = all.indexOf(face);
  if (key === "Home") return all[0];
  if (key === "End") return all.at(-1);
  if (key === "ArrowRight") return all[Math.min(at + 1, all.length - 1)];
  if (key === "ArrowLeft") return all[Math.max(at - 1, 0)];
  const here = face.closest(".hit").getBoundingClientRect();
  const rows = all.map((other) => [other, other.closest(".hit").getBoundingClientRect()]);
  const isDown = key === "ArrowDown";
  const beyond = rows.filter(([, box]) => (isDown ? box.top > here.top + 4 : box.top < here.top - 4));
  if (!beyond.length) return isDown ? face : null;
  const tops = beyond.map(([, box]) => box.top);
  const row = isDown ? Math.min(...tops) : Math.max(...tops);
  const away = (box) => Math.abs(box.left - here.left);
  return beyond.filter(([, box]) => Math.abs(box.top - row) < 4)
    .sort(([, one], [, other]) => away(one) - away(other))[0][0];
}
