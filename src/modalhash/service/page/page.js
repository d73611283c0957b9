// The search page: the address is the state, a change of it is a search, an answer is shown.
import * as api from "./api.js";
import { inShort, openAbout } from "./about.js";
import { addPictures, canAdd } from "./adding.js";
import { byId, bytes, counted, el, own, percent } from "./dom.js";
import { forget } from "./facets.js";
import { markFilter, showFilters } from "./filters.js";
import { makeGrowing, nextK } from "./growing.js";
import * as keys from "./keys.js";
import { makeLarge } from "./large.js";
import * as pictures from "./pictures.js";
import { showError, showProblem } from "./problems.js";
import { confirmRemoval } from "./removing.js";
import { appendHits, faces, moveTo, nameOf, short, showAnswer, summaryOf } from "./results.js";
import * as selection from "./selection.js";
import { showStart } from "./start.js";
import * as asking from "./state.js";

const TYPING = 160; // ms without a key before a search
const PATIENCE = 150; // ms before a search shows that it is under way
const AGAIN = 2000; // ms between looks whether the server is back
const NOTICE = 6000; // ms that a notice stays

const parts = Object.fromEntries(
  ["q", "ask", "chip", "answers", "summary", "legend", "warning", "problem", "filters", "why", "about", "selection",
    "removal", "adding", "notice"].map((id) => [id, byId(id)]),
);
let service, indexes;
let state = asking.parse(location.search);
let answer = null; // the last answer,
let answered = null; // the address it is of, and
let asked = null; // what was asked: the request, the picture and its words
let running = null; // the search under way
let typing = false;
let typingTimer, patienceTimer, againTimer, noticeTimer;
let focusOn = null; // where the focus goes once the answer is there

const current = () => indexes.find((index) => index.name === state.index) ?? indexes[0];
const searchOf = (one) => asking.format({ ...one, item: "", why: "" });

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
  else large.show();
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
  byId("add").hidden = !canAdd(index);
  byId("drop-add").hidden = !canAdd(index);
  const set = asking.limitsSet(state);
  byId("filters-count").textContent = set;
  byId("filters-count").hidden = !set;
  if (!parts.filters.hidden) drawFilters();
  byId("foot-facts").textContent = inShort(index);
  showChip();
}

function drawFilters() {
  showFilters(parts.filters, state, current(), (change) => ask(change), () =>
    ask(asking.noLimits()));
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
    large.show();
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
  growing.reset();
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
  refuseRelevance(index);
  const request = asking.requestOf(state, index, service.limits);
  const found = await api.search(index.name, request, picture?.blob, signal);
  const words = await describe();
  if (!isCurrent()) return;
  answer = found;
  asked = { request, words, picture: picture?.blob ?? null };
  growing.reset();
  document.title = `${words} · modalhash`;
  summarise();
  warn(found.unknown ?? [], found.results);
  if (!found.results.some((result) => result.hits.length)) return showNone();
  showAnswer(parts.answers, found, acts);
  selection.redraw();
  offerMore();
  settleFocus();
}

function summarise() {
  const [counts, legend] = summaryOf(answer, asked.words);
  parts.summary.replaceChildren(counts);
  parts.legend.replaceChildren(legend);
}

const shownHits = () => answer.results.reduce((sum, result) => sum + result.hits.length, 0);

/** Offer more hits, where a side may have some. */
function offerMore() {
  const { k } = asked.request;
  const hasMore = k < service.limits.k && answer.results.some((result) =>
    result.hits.length >= k && k < current().sides[result.target].count);
  growing.offer(shownHits(), hasMore);
}

/** Fetch more of the same answer and append them; asked for by the button, the focus goes on with them. */
async function grow(isAsked) {
  const [mine, before, address] = [running, answer, answered];
  if (growing.isBusy || !before || !address) return;
  const isCurrent = () => running === mine && answer === before && answered === address;
  const request = { ...asked.request, k: nextK(asked.request.k, service.limits.k) };
  const from = shownHits();
  growing.isBusy = true;
  growing.busy(true);
  try {
    const found = await api.search(current().name, request, asked.picture, mine.signal);
    if (!isCurrent()) return;
    const isAppended = appendHits(parts.answers, before, found, acts);
    if (!isAppended) showAnswer(parts.answers, found, acts); // the index has changed meanwhile
    answer = found;
    asked = { ...asked, request };
    state = { ...state, k: String(request.k) };
    answered = searchOf(state);
    history.replaceState(history.state, "", asking.format(state) || location.pathname);
    summarise();
    selection.redraw();
    offerMore();
    if (isAsked) moveTo(parts.answers, faces(parts.answers)[from] ?? faces(parts.answers).at(-1));
  } catch (error) {
    if (isCurrent() && !mine.signal.aborted) fail(error, { keepsAnswers: true });
  } finally {
    growing.isBusy = false;
    growing.busy(false);
  }
}

/** Refuse a probability that no answer of this search can have, before the server does. */
function refuseRelevance(index) {
  const reach = asking.reachOf(state, index);
  if (!state.relevance || !asking.canCutByRelevance(state, index) || Number(state.relevance) / 100 <= reach) return;
  throw new api.ApiError("relevance_out_of_reach",
    `You ask for answers that are at least ${state.relevance} % likely, and the nearest that this index can have are ${percent(reach)} likely.`);
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
      onclick: () => ask(asking.noLimits()),
    }, "Search without them") : null));
}

function settleFocus() {
  if (focusOn) {
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

// What stands beside the answers ----------------------------------------------------------------

const large = makeLarge(parts.why, parts.answers, {
  state: () => state, answer: () => answer, answered: () => answered, index: current, itemOf, go, like, fail,
});
const acts = { addressOf: large.addressOf, open: large.open, why: large.openWhy, like };
const growing = makeGrowing(parts.answers, grow);

selection.prepare({
  place: parts.answers, bar: parts.selection, mayChange: () => current().may_change,
  onDelete: () => confirmRemoval(parts.removal, current(), selection.ids(current()), service.limits.batch, (removed) => {
    selection.clear();
    notify(`${counted(removed, "code")} removed.`);
    followChange();
  }),
});

/** Say something for a while. */
function notify(says) {
  clearTimeout(noticeTimer);
  parts.notice.textContent = says;
  parts.notice.hidden = false;
  noticeTimer = setTimeout(() => (parts.notice.hidden = true), NOTICE);
}

/** Look at the index anew: this page has changed it. */
async function followChange() {
  forget();
  items.clear();
  try {
    indexes = await api.indexes();
    showControls();
    await run();
  } catch (error) {
    fail(error, { keepsAnswers: true });
  }
}

function addFiles(files) {
  addPictures(parts.adding, current(), files, service.limits, followChange);
}

for (const sheet of [parts.why, parts.about]) {
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet && event.clientX < sheet.getBoundingClientRect().left) sheet.close();
  });
}

// What goes wrong --------------------------------------------------------------------------------

/** Say what went wrong. Answers to an older question don't stay under an error. */
function fail(error, { keepsAnswers = false } = {}) {
  focusOn = null;
  setBusy(false);
  if (!keepsAnswers) {
    answer = answered = null;
    parts.answers.replaceChildren();
    clearSummary();
    growing.reset();
    selection.redraw();
  }
  if (!(error instanceof api.ApiError)) console.error(error);
  if (error.code === "invalid_filter" && state.where) {
    openFilters(true);
    markFilter(parts.filters, state, error.message, asking.filterOf(state, current().fields).offset);
    return showProblem(parts.problem, "The filter can't be understood", "The place is marked in the filter line.");
  }
  const retry = () => (indexes ? run() : open());
  const relax = error.code === "relevance_out_of_reach" ? () => ask({ relevance: "" }) : null;
  showError(parts.problem, error, { retry, open, relax });
  const waits = error.code === "unreachable" || error.retryAfter !== null;
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
byId("add").addEventListener("click", () => byId("add-files").click());
byId("add-files").addEventListener("change", (event) => {
  if (event.target.files.length) addFiles([...event.target.files]);
  event.target.value = "";
});
byId("index").addEventListener("change", (event) => {
  selection.clear();
  ask({ ...asking.nothing(), index: event.target.value, text: state.text, picture: state.picture });
});
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
  onAdd: (files) => indexes && canAdd(current()) && addFiles(files),
  onOther: (file) => fail(new api.ApiError("unsupported_media_type",
    `${file.name || "The file"} isn't a picture: drop a JPEG, PNG or WebP file.`), { keepsAnswers: true }),
});

addEventListener("popstate", () => {
  typing = false;
  state = asking.parse(location.search);
  if (indexes) follow();
});

keys.listen({
  box: parts.q, answers: parts.answers, large: parts.why, filters: parts.filters,
  sheets: [parts.about, parts.removal, parts.adding],
  clearBox: () => {
    clearTimeout(typingTimer);
    parts.q.value = "";
    if (asking.asks(state)) ask({ text: "", picture: "", like: "", side: "" });
  },
  closeFilters: () => {
    openFilters(false);
    byId("filters-open").focus();
  },
});

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
