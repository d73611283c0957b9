// A hit that is shown large, as the address says: opened, stepped through, explained, closed.
import * as api from "./api.js";
import { el } from "./dom.js";
import { faces, moveTo } from "./results.js";
import * as asking from "./state.js";
import { openViewer, showCaptions, showTab } from "./viewer.js";
import { momentsOf, showMoments } from "./video.js";
import { fillExplanation } from "./why.js";

/** Name a hit as the address does. */
export const keyOf = (hit, side) => `${side}:${hit.id}`;

const partsOf = (key) => [key.split(":", 1)[0], key.slice(key.indexOf(":") + 1)];

/**
 * Make what shows hits large in a dialog. `page` has `state()`, `answer()` and `answered()`,
 * `index()`, `itemOf(side, id)`, `go(change, options)`, `like(hit, side)`, `fail(error, options)`.
 */
export function makeLarge(sheet, answers, page) {
  let explaining = null;
  let shown = "";
  const shownKey = () => page.state().why || page.state().item; // "side:id"
  const replaced = () => ({ replace: true, opened: history.state?.opened });

  function chooseTab(tab) {
    const key = shownKey();
    page.go(tab === "why" ? { item: "", why: key } : { item: key, why: "" }, replaced());
  }

  async function show() {
    const key = shownKey();
    if (!key || !page.answer()) {
      shown = "";
      explaining?.abort();
      if (sheet.open) sheet.close();
      return;
    }
    const tab = page.state().why ? "why" : "details";
    const wanted = `${page.answered()} ${key}`;
    if (wanted === shown && sheet.open) return showTab(sheet, tab);
    shown = wanted;
    explaining?.abort();
    const mine = (explaining = new AbortController());
    const [side, id] = partsOf(key);
    const answer = page.answer();
    const hits = answer.results.find((result) => result.target === side)?.hits ?? [];
    const at = hits.findIndex((hit) => String(hit.id) === id);
    let body = null;
    try {
      const hit = hits[at] ?? (await page.itemOf(side, id));
      if (mine.signal.aborted) return;
      const isStep = sheet.open;
      const name = page.state().why ? "why" : "item";
      const step = (by) => page.go({ [name]: keyOf(hits[at + by], side) }, replaced());
      body = openViewer(sheet, hit, side, {
        at, count: at < 0 ? 1 : hits.length, tab, onStep: step, onLike: () => page.like(hit, side), onTab: chooseTab,
      });
      if (isStep) markFace(false);
      addCaptions(hit, side, mine.signal);
      const query = asking.queryOf(page.state(), page.index(), answer);
      const ids = [asking.idOf(id, side, page.index())];
      if (hit.moment) addMoments(hit, query, mine.signal);
      fillExplanation(body, await api.explain(page.index().name, { ...query, target: side, ids }, mine.signal), hits[at]);
    } catch (error) {
      if (mine.signal.aborted) return;
      if (body) body.replaceChildren(el("p", { class: "problem", role: "alert" }, error.message));
      else page.fail(error, { keepsAnswers: true });
    }
  }

  /** A picture has several captions, a hit tells one: ask for the others. */
  async function addCaptions(hit, side, signal) {
    const index = page.index();
    if (side !== "images" || !index.sides.texts) return;
    const found = await api.search(index.name, asking.captionsOf(hit, index), null, signal).catch(() => null);
    if (!found || signal.aborted) return;
    showCaptions(sheet, [...new Set(found.results[0].hits.map((text) => text.caption).filter(Boolean))]);
  }

  /** A video has other moments: list them. */
  async function addMoments(hit, query, signal) {
    const found = await api.search(page.index().name, momentsOf(hit, query), null, signal).catch(() => null);
    if (found && !signal.aborted) showMoments(sheet, hit, found.results[0].hits);
  }

  function markFace(focus = true) {
    const [side, id] = partsOf(shownKey());
    const face = faces(answers).find((one) => one.dataset.id === id && one.dataset.side === side);
    if (face) moveTo(answers, face, { focus });
  }

  sheet.addEventListener("close", () => {
    explaining?.abort();
    if (!shownKey()) return;
    markFace();
    if (history.state?.opened) history.back();
    else page.go({ item: "", why: "" }, { replace: true });
  });

  return {
    show,
    open: (hit, side) => page.go({ item: keyOf(hit, side), why: "" }, { opened: true }),
    openWhy: (hit, side) => page.go({ item: "", why: keyOf(hit, side) }, { opened: true }),
    addressOf: (hit, side) => asking.format({ ...page.state(), item: keyOf(hit, side), why: "" }),
  };
}
