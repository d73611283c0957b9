// The search page: the address is the state, a change of it is a search, an answer is shown.
import * as api from "./api.js";
import { inShort, openAbout } from "./about.js";
import { byId, bytes, el, own } from "./dom.js";
import { markFilter, showFilters } from "./filters.js";
import * as pictures from "./pictures.js";
import { faces, moveTo, nameOf, neighbour, short, showAnswer, summaryOf } from "./results.js";
import { showStart } from "./start.js";
import * as asking from "./state.js";
import { openViewer, showCaptions, showTab } from "./viewer.js";
import { momentsOf, showMoments } from "./video.js";
import { fillExplanation } from "./why.js";

const TYPING = 160; // ms without a key before a search
const PATIENCE = 150; // ms before a search shows that it is under way
const AGAIN = 2000; // ms between looks whether the server is back
const ROUND = asking.USUAL_K;

const parts = Object.fromEntries(
  ["q", "ask", "chip", "answers", "summary", "legend", "warning", "problem", "filters", "why", "about"].map((id) => [id, byId(id)]),
);
let service, indexes;
let state = asking.parse(location.search);
let answer = null; // the last answer, and
let answered = null; // the address it is of
let running = null; // the search under way
let typing = false;
let typingTimer, patienceTimer, againTimer;
let focusOn = null; // where the focus goes once the answer is there

const current = () => indexes.find((index) => index.name === state.index) ?? indexes[0];
const searchOf = (one) => asking.format({ ...one, item: "", why: "" });
const shownItem = () => state.why || state.item; // "side:id" of the hit that is shown large

// State ------------------------------------------------------------------------------------------

function go(change, { replace = false, opened = false } = {}) {
  state = { ...state, ...change };
  const address = asking.format(state) || location.pathname;
  history[replace ? "replaceState" : "pushState"]({ opened }, "", address);
  follow();
}

/** Change what is searched for; its pages begin anew. */
function ask(change, options) {
  typing = typing && Boolean(options?.replace);
  go({ k: "", item: "", why: "", ...change }, options);
}

function follow() {
  showControls();
  if (searchOf(state) !== answered) run();
  else showItem();
}

function showControls() {
  const index = current();
  byId("index").value = index.name;
  if (parts.q.value.trim() !== state.text.trim()) parts.q.value = state.text;
  const target = asking.targetOf(state, index);
  for (const radio of document.querySelectorAll("input[name=target]")) {
    radio.checked = radio.value === target;
    const isThere = radio.value === "both" ? Object.keys(index.sides).length > 1 : own(index.sides, radio.value);
    radio.disabled = !isThere;
  }
  parts.q.disabled = !index.queries.text;
  byId("choose").hidden = !index.queries.picture;
  parts.q.placeholder = !index.queries.text ? "This index is searched from one of its items"
    : state.picture || state.like ? "Add words" : "Describe what you look for";
  const set = asking.limitsSet(state);
  byId("filters-count").textContent = set;
  byId("filters-count").hidden = !set;
  if (!parts.filters.hidden) drawFilters();
  byId("foot-facts").textContent = inShort(index);
  showChip();
}

function drawFilters() {
  showFilters(parts.filters, state, current(), (change) => ask(change), () =>
    ask({ fields: new Map(), where: "", minus: "", radius: "", relevance: "", rerank: "" }));
}

function openFilters(open) {
  parts.filters.hidden = !open;
  byId("filters-open").setAttribute("aria-expanded", String(open));
  if (open) drawFilters();
}

let chipOf = "";
let chipUrl = "";

async function showChip() {
  const wanted = state.picture || (state.like && `${state.index}/${state.side}/${state.like}`);
  if (wanted === chipOf) return;
  chipOf = wanted;
  parts.chip.hidden = !wanted;
  const image = byId("chip-picture");
  image.hidden = true;
  if (chipUrl) URL.revokeObjectURL(chipUrl);
  chipUrl = "";
  if (!wanted) return;
  byId("chip-name").textContent = state.picture ? "Your picture" : `Like ${state.like}`;
  if (state.picture) {
    const kept = await pictures.find(state.picture);
    if (!kept || chipOf !== wanted) return;
    chipUrl = URL.createObjectURL(kept.blob);
    image.src = chipUrl;
  } else {
    const like = await likeItem().catch(() => null);
    if (!like || chipOf !== wanted) return;
    byId("chip-name").textContent = `Like ${nameOf(like)}`;
    if (!like.picture) return;
    api.showThumbnail(image, like.picture.thumbnail, 64);
  }
  image.hidden = false;
}

const items = new Map();

function itemOf(side, id) {
  const name = `${current().name}/${side}/${id}`;
  if (!items.has(name)) {
    const found = api.item(current().name, side, id);
    found.catch(() => items.delete(name));
    items.set(name, found);
  }
  return items.get(name);
}

const likeItem = () => itemOf(state.side || "images", state.like);

// Searching --------------------------------------------------------------------------------------

async function run() {
  running?.abort();
  const mine = (running = new AbortController());
  const isCurrent = () => running === mine;
  const wanted = searchOf(state);
  answered = null; // going back to the last answer while this one is under way searches again
  clearTimeout(againTimer);
  clearTimeout(patienceTimer);
  patienceTimer = setTimeout(() => isCurrent() && setBusy(true), PATIENCE);
  try {
    if (asking.asks(state)) await find(mine.signal, isCurrent);
    else await start(isCurrent);
    if (!isCurrent()) return;
    answered = wanted;
    parts.problem.hidden = true;
    showItem();
  } catch (error) {
    if (isCurrent() && !mine.signal.aborted) fail(error);
  } finally {
    if (isCurrent()) {
      clearTimeout(patienceTimer);
      setBusy(false);
    }
  }
}

function setBusy(busy) {
  parts.answers.classList.toggle("is-stale", busy);
  parts.answers.setAttribute("aria-busy", String(busy));
  document.querySelector(".loading")?.remove();
  if (busy) document.body.append(el("div", { class: "loading", "aria-hidden": "true" }));
}

function clearSummary() {
  parts.summary.replaceChildren();
  parts.legend.replaceChildren();
  warn([], []);
}

/** Say that the encoder knows no word of a text, or that all answers are as far as by chance. */
function warn(unknown, results) {
  const isChance = results.some((result) => result.near_chance);
  parts.warning.hidden = !unknown.length && !isChance;
  const texts = unknown.map((text) => `“${short(text)}”`).join(" and ");
  parts.warning.textContent = unknown.length
    ? `This index's model knows no word of ${texts}, so these answers have little to do with it. Try other words.`
    : isChance ? "Even the nearest answers are no nearer than by chance: there may be nothing like it here, or this index's model doesn't know such words or pictures." : "";
}

async function start(isCurrent) {
  answer = null;
  clearSummary();
  document.title = `${current().name} · modalhash`;
  await showStart(parts.answers, current(), service.limits, {
    text: (text) => ask({ text }),
    like,
  }, isCurrent);
}

async function find(signal, isCurrent) {
  const index = current();
  let picture = null;
  if (state.picture) {
    picture = await pictures.find(state.picture);
    if (!picture) {
      throw new api.ApiError("picture_elsewhere",
        "The picture of this search is only in the browser that it was searched with. Choose it again.");
    }
    check(picture.blob);
  }
  const request = asking.requestOf(state, index, service.limits);
  const found = await api.search(index.name, request, picture?.blob, signal);
  const asked = await describe();
  if (!isCurrent()) return;
  answer = found;
  document.title = `${asked} · modalhash`;
  const [counts, legend] = summaryOf(found, asked);
  parts.summary.replaceChildren(counts);
  parts.legend.replaceChildren(legend);
  warn(found.unknown ?? [], found.results);
  if (!found.results.some((result) => result.hits.length)) return showNone();
  showAnswer(parts.answers, found, { addressOf, open: openItem, why: openWhy, like });
  offerMore(found, request.k, index);
  settleFocus();
}

function check(blob) {
  const most = service.limits.body_bytes;
  if (blob.size > most) {
    throw new api.ApiError("body_too_large",
      `It has ${bytes(blob.size)}; this server takes up to ${bytes(most)}. Make it smaller and try again.`);
  }
}

async function describe() {
  const said = [];
  if (state.text.trim()) said.push(`“${state.text.trim()}”`);
  if (state.picture) said.push("your picture");
  if (state.like) said.push(`what is like “${short(nameOf(await likeItem().catch(() => ({ id: state.like }))))}”`);
  const but = state.minus.trim() ? `, but not “${state.minus.trim()}”` : "";
  return said.join(" and ") + but;
}

function showNone() {
  const limited = asking.limitsSet(state) > 0;
  parts.answers.replaceChildren(el("div", { class: "none" },
    el("h2", {}, "Nothing passes"),
    el("p", {}, limited ? "No item passes the filters and limits that are set."
      : "There is nothing else on this side of the index."),
    limited ? el("button", {
      type: "button", class: "main-action",
      onclick: () => ask({ fields: new Map(), where: "", minus: "", radius: "", relevance: "", rerank: "" }),
    }, "Search without them") : null));
}

function offerMore(found, k, index) {
  const hasMore = found.results.some((result) =>
    result.hits.length >= k && k < index.sides[result.target].count);
  if (!hasMore || k >= service.limits.k) return;
  parts.answers.append(el("p", { class: "more" }, el("button", {
    type: "button", class: "outlined",
    onclick: () => {
      focusOn = found.results[0].hits.length;
      go({ k: String(k + ROUND), item: "", why: "" }, { replace: true });
    },
  }, "Show more")));
}

function settleFocus() {
  if (typeof focusOn === "number") moveTo(parts.answers, faces(parts.answers)[focusOn] ?? faces(parts.answers).at(-1));
  else if (focusOn) {
    byId("results").focus({ preventScroll: true });
    scrollTo({ top: 0 });
  }
  focusOn = null;
}

function like(hit, side) {
  focusOn = "results";
  ask({ text: "", picture: "", minus: "", like: String(hit.id), side: side === "images" ? "" : side });
}

async function searchPicture(file) {
  try {
    check(file);
  } catch (error) {
    return fail(error, { keepsAnswers: true });
  }
  const picture = await pictures.keep(file);
  ask({ picture, like: "", side: "", target: "" });
}

// A hit large ------------------------------------------------------------------------------------

let explaining = null;
let shown = "";

const keyOf = (hit, side) => `${side}:${hit.id}`;
const addressOf = (hit, side) => asking.format({ ...state, item: keyOf(hit, side), why: "" });

function openItem(hit, side) {
  go({ item: keyOf(hit, side), why: "" }, { opened: true });
}

function openWhy(hit, side) {
  go({ item: "", why: keyOf(hit, side) }, { opened: true });
}

function chooseTab(tab) {
  const key = shownItem();
  go(tab === "why" ? { item: "", why: key } : { item: key, why: "" }, { replace: true, opened: history.state?.opened });
}

async function showItem() {
  const key = shownItem();
  if (!key || !answer) {
    shown = "";
    explaining?.abort();
    if (parts.why.open) parts.why.close();
    return;
  }
  const tab = state.why ? "why" : "details";
  const wanted = `${answered} ${key}`;
  if (wanted === shown && parts.why.open) return showTab(parts.why, tab);
  shown = wanted;
  explaining?.abort();
  const mine = (explaining = new AbortController());
  const [side, id] = [key.split(":", 1)[0], key.slice(key.indexOf(":") + 1)];
  const hits = answer.results.find((result) => result.target === side)?.hits ?? [];
  const at = hits.findIndex((hit) => String(hit.id) === id);
  const index = current();
  let body = null;
  try {
    const hit = hits[at] ?? (await itemOf(side, id));
    if (mine.signal.aborted) return;
    const isStep = parts.why.open;
    const name = state.why ? "why" : "item";
    const step = (by) => go({ [name]: keyOf(hits[at + by], side) }, { replace: true, opened: history.state?.opened });
    body = openViewer(parts.why, hit, side, {
      at, count: at < 0 ? 1 : hits.length, tab, onStep: step, onLike: () => like(hit, side), onTab: chooseTab,
    });
    if (isStep) markFace(false);
    addCaptions(hit, side, index, mine.signal);
    const modality = asking.modalityOf(state);
    const code = { hex: answer.code, ...(modality ? { modality } : {}) };
    if (hit.moment) addMoments(hit, code, index, mine.signal);
    const ids = [asking.idOf(id, side, index)];
    fillExplanation(body, await api.explain(index.name, { code, target: side, ids }, mine.signal));
  } catch (error) {
    if (mine.signal.aborted) return;
    if (body) body.replaceChildren(el("p", { class: "problem", role: "alert" }, error.message));
    else fail(error, { keepsAnswers: true });
  }
}

/** A picture has several captions, a hit tells one: ask for the others. */
async function addCaptions(hit, side, index, signal) {
  if (side !== "images" || !index.sides.texts) return;
  const request = asking.captionsOf(hit, index);
  const found = await api.search(index.name, request, null, signal).catch(() => null);
  if (!found || signal.aborted) return;
  showCaptions(parts.why, [...new Set(found.results[0].hits.map((text) => text.caption).filter(Boolean))]);
}

/** A video has other moments: list them. */
async function addMoments(hit, code, index, signal) {
  const found = await api.search(index.name, momentsOf(hit, code), null, signal).catch(() => null);
  if (found && !signal.aborted) showMoments(parts.why, hit, found.results[0].hits);
}

function markFace(focus = true) {
  const key = shownItem();
  const [side, id] = [key.split(":", 1)[0], key.slice(key.indexOf(":") + 1)];
  const face = faces(parts.answers).find((one) => one.dataset.id === id && one.dataset.side === side);
  if (face) moveTo(parts.answers, face, { focus });
}

parts.why.addEventListener("close", () => {
  explaining?.abort();
  if (!shownItem()) return;
  markFace();
  if (history.state?.opened) history.back();
  else go({ item: "", why: "" }, { replace: true });
});

for (const sheet of [parts.why, parts.about]) {
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet && event.clientX < sheet.getBoundingClientRect().left) sheet.close();
  });
}

// What goes wrong --------------------------------------------------------------------------------

const TITLES = {
  unreachable: "The server doesn't answer",
  timed_out: "That took too long",
  body_too_large: "The picture is too big",
  picture_too_large: "The picture is too big",
  unreadable_picture: "The picture can't be read",
  unsupported_media_type: "This kind of file can't be searched with",
  picture_elsewhere: "The picture isn't here",
  unauthorized: "This server asks for a key",
  unknown_item: "That item isn't in the index",
  unknown_index: "There is no such index",
  overloaded: "The server is busy",
  rate_limited: "Too many searches at once",
  not_ready: "The server is still starting",
  shutting_down: "The server is stopping",
};

/** Say what went wrong. Answers to an older question don't stay under an error. */
function fail(error, { keepsAnswers = false } = {}) {
  focusOn = null;
  setBusy(false);
  if (!keepsAnswers) {
    answer = answered = null;
    parts.answers.replaceChildren();
    clearSummary();
  }
  if (!(error instanceof api.ApiError)) console.error(error);
  if (error.code === "invalid_filter" && state.where) {
    openFilters(true);
    markFilter(parts.filters, state, error.message, asking.filterOf(state, current().fields).offset);
    return showProblem("The filter can't be understood", "The place is marked in the filter line.");
  }
  const title = own(TITLES, error.code) ?? "That didn't work";
  const waits = error.code === "unreachable" || error.retryAfter !== null;
  const note = error.code === "unreachable" ? "This page goes on by itself when the server is back."
    : error.retryAfter ? "This page tries again by itself." : "";
  showProblem(title, error.message ?? String(error), {
    note, requestId: error.requestId, needsKey: error.code === "unauthorized",
    canRetry: !["body_too_large", "picture_too_large", "picture_elsewhere", "unauthorized"].includes(error.code),
  });
  if (waits) againTimer = setTimeout(tryAgain, error.retryAfter ? error.retryAfter * 1000 : AGAIN, error.code);
}

async function tryAgain(code) {
  if (code === "unreachable" && !(await api.isReady())) {
    againTimer = setTimeout(tryAgain, AGAIN, code);
    return;
  }
  if (indexes) run();
  else open();
}

function showProblem(title, says, { note = "", requestId = "", needsKey = false, canRetry = false } = {}) {
  const key = el("input", { type: "password", "aria-label": "API key", autocomplete: "off" });
  const useKey = () => {
    api.setKey(key.value.trim());
    open();
  };
  key.addEventListener("keydown", (event) => event.key === "Enter" && useKey());
  parts.problem.replaceChildren(
    el("h2", {}, title),
    el("p", {}, says.split("\n")[0]),
    note ? el("p", { class: "note" }, note) : "",
    needsKey ? el("div", { class: "acts" }, key, el("button", { type: "button", onclick: useKey }, "Use this key")) : "",
    canRetry ? el("div", { class: "acts" }, el("button", {
      type: "button", onclick: () => (indexes ? run() : open()),
    }, "Try again")) : "",
    requestId ? el("p", { class: "note" }, "Request ", el("code", {}, requestId)) : "");
  parts.problem.hidden = false;
  if (needsKey) key.focus();
}

// Listening --------------------------------------------------------------------------------------

parts.q.addEventListener("input", () => {
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => {
    const replace = typing;
    typing = true;
    ask({ text: parts.q.value }, { replace });
  }, TYPING);
});
parts.q.addEventListener("blur", () => {
  typing = false;
});
parts.ask.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typingTimer);
  if (parts.q.value.trim() !== state.text.trim()) ask({ text: parts.q.value }, { replace: typing });
  typing = false;
});
byId("choose").addEventListener("click", () => byId("file").click());
byId("chip-remove").addEventListener("click", () => {
  ask({ picture: "", like: "", side: "" });
  parts.q.focus();
});
byId("targets").addEventListener("change", (event) => ask({ target: event.target.value }));
byId("filters-open").addEventListener("click", () => openFilters(parts.filters.hidden));
byId("index").addEventListener("change", (event) =>
  ask({ ...asking.nothing(), index: event.target.value, text: state.text, picture: state.picture }));
byId("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || !indexes) return;
  event.preventDefault();
  ask({ ...asking.nothing(), index: state.index });
  parts.q.focus();
});
byId("about-open").addEventListener("click", () => indexes && openAbout(parts.about, current(), service));

pictures.listen({
  file: byId("file"),
  drop: byId("drop"),
  onPicture: (file) => {
    if (indexes && current().queries.picture) searchPicture(file);
  },
  onOther: (file) => fail(new api.ApiError("unsupported_media_type",
    `${file.name || "The file"} isn't a picture: drop a JPEG, PNG or WebP file.`), { keepsAnswers: true }),
});

addEventListener("popstate", () => {
  typing = false;
  state = asking.parse(location.search);
  if (indexes) follow();
});

const writes = (node) => node.matches("input:not([type=radio]), select, textarea");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (parts.about.open) return;
  if (parts.why.open) return stepWith(event);
  const hit = event.target.closest?.(".hit");
  if (event.key === "/" && !writes(event.target)) {
    event.preventDefault();
    parts.q.focus();
    parts.q.select();
  } else if (event.target === parts.q) {
    keysInBox(event);
  } else if (hit) {
    keysInAnswers(event, hit.querySelector(".face"));
  } else if (event.key === "Escape" && !parts.filters.hidden && parts.filters.contains(event.target)) {
    openFilters(false);
    byId("filters-open").focus();
  }
});

function stepWith(event) {
  const by = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
  if (by === undefined) return;
  const buttons = parts.why.querySelectorAll(".sheet-top button");
  if (buttons.length === 3) buttons[by].click();
}

function keysInBox(event) {
  if (event.key === "ArrowDown") {
    const first = faces(parts.answers).find((face) => face.tabIndex === 0);
    if (!first) return;
    event.preventDefault();
    moveTo(parts.answers, first);
  } else if (event.key === "Escape") {
    event.preventDefault();
    clearTimeout(typingTimer);
    parts.q.value = "";
    if (asking.asks(state)) ask({ text: "", picture: "", like: "", side: "" });
  }
}

function keysInAnswers(event, face) {
  if (event.key === "Escape") return parts.q.focus();
  if (event.key.toLowerCase() === "m") return face.closest(".hit").querySelector(".like-this").click();
  if (!/^(Arrow(Up|Down|Left|Right)|Home|End)$/.test(event.key)) return;
  event.preventDefault();
  const next = neighbour(parts.answers, face, event.key);
  if (next) moveTo(parts.answers, next);
  else parts.q.focus();
}

async function open() {
  try {
    [service, indexes] = await Promise.all([api.service(), api.indexes()]);
  } catch (error) {
    indexes = undefined;
    return fail(error);
  }
  if (state.index && !indexes.some((index) => index.name === state.index)) {
    fail(new api.ApiError("unknown_index", `This server has no index “${state.index}”.`));
    state = { ...asking.nothing(), text: state.text };
    return;
  }
  parts.problem.hidden = true;
  byId("which").hidden = indexes.length < 2;
  byId("index").replaceChildren(...indexes.map((index) => el("option", { value: index.name }, index.name)));
  follow();
}

open();
