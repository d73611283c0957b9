// A hit large: its picture, what the collection says of it, and, as a second tab, why it is there.
import * as api from "./api.js";
import { el, icon } from "./dom.js";
import { nameOf } from "./results.js";
import { copyText, pathOf } from "./selection.js";
import { player } from "./video.js";

const FAR = 50; // px that a finger must move to step to another hit
export const TABS = { details: "Details", why: "Why" };

function written(value) {
  if (Array.isArray(value)) return value.map(written).join(", ");
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

/** Make the stage: the picture as large as fits; a swipe steps to another hit. */
function stage(hit, onStep) {
  if (!hit.picture) return el("div", { class: "stage is-empty" }, el("p", {}, "This one has no picture."));
  const image = el("img", { alt: hit.caption ? "" : `Picture ${hit.id}`, decoding: "async" });
  const box = el("div", { class: "stage" }, image);
  image.addEventListener("error", () => {
    box.classList.add("is-empty");
    box.replaceChildren(el("p", {}, "The picture can't be shown."));
  }, { once: true });
  api.showThumbnail(image, hit.picture.thumbnail, 1024);
  let start = null;
  box.addEventListener("touchstart", (event) => {
    start = event.touches.length === 1 ? [event.touches[0].clientX, event.touches[0].clientY] : null;
  }, { passive: true });
  box.addEventListener("touchend", (event) => {
    if (!start) return;
    const [right, down] = [event.changedTouches[0].clientX - start[0], event.changedTouches[0].clientY - start[1]];
    start = null;
    if (Math.abs(right) > FAR && Math.abs(right) > 1.5 * Math.abs(down)) onStep(right < 0 ? 1 : -1);
  }, { passive: true });
  return box;
}

/** Make the links to the whole picture; with a key it has to be fetched, as a link sends none. */
function pictureLinks(hit) {
  if (!hit.picture) return [];
  const path = api.wholePicture(hit.picture.thumbnail);
  const link = (name, attributes) => el("a", {
    class: "quiet outlined action", href: api.addressOf(path), ...attributes,
    onclick: (event) => {
      if (!api.hasKey()) return;
      event.preventDefault();
      api.openBlob(path, attributes.download).catch((error) => {
        event.target.closest("a").textContent = error.message;
      });
    },
  }, name);
  return [
    link(hit.picture.is_small ? "Picture" : "Original", { target: "_blank", rel: "noopener" }),
    link("Download", { download: hit.picture.file_name }),
  ];
}

function details(hit, side) {
  const rows = Object.entries(hit.metadata ?? {});
  return [
    el("section", { class: "captions" },
      hit.caption ? el("p", { class: "says" }, hit.caption) : null,
      el("p", { class: "note" }, side === "texts" ? "text " : "picture ", el("code", {}, hit.id)),
      hit.picture && pathOf(hit) !== String(hit.id)
        ? el("p", { class: "note path" }, "file ", el("code", {}, pathOf(hit))) : null),
    rows.length ? el("section", {}, el("h3", {}, "What the collection says of it"),
      el("dl", { class: "facts" },
        rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, written(value))]))) : null,
  ].filter(Boolean);
}

/** Show all captions of a picture in the place of the one that the hit has. */
export function showCaptions(sheet, captions) {
  if (captions.length < 2) return;
  const place = sheet.querySelector(".captions");
  place?.querySelector(".says")?.replaceWith(
    el("ul", { class: "all-captions" }, captions.map((caption) => el("li", {}, caption))));
}

/** Show one of the tabs. */
export function showTab(sheet, tab) {
  for (const button of sheet.querySelectorAll("[role=tab]")) {
    const isChosen = button.dataset.tab === tab;
    button.setAttribute("aria-selected", String(isChosen));
    button.tabIndex = isChosen ? 0 : -1;
  }
  for (const part of sheet.querySelectorAll(".sheet-body > [data-tab]")) part.hidden = part.dataset.tab !== tab;
}

function tabs(onTab) {
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": "What to show of it" },
    Object.entries(TABS).map(([tab, name]) => el("button", {
      type: "button", role: "tab", id: `tab-${tab}`, "data-tab": tab, "aria-controls": tab === "why" ? "panel-why" : null,
      onclick: () => onTab(tab),
    }, name)));
  list.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const other = [...list.children].find((button) => button.getAttribute("aria-selected") === "false");
    other.focus();
    other.click();
  });
  return list;
}

/** Open a hit large, before its explanation has come; returns the place for that. */
export function openViewer(sheet, hit, side, { at, count, tab, onStep, onLike, onTab }) {
  const body = el("div", { class: "explained", "data-tab": "why", id: "panel-why", role: "tabpanel", "aria-labelledby": "tab-why" },
    el("p", { class: "busy", role: "status" }, "Comparing bits …"));
  const title = el("h2", { id: "why-title", tabindex: "-1" }, nameOf(hit));
  const canStep = (by) => at + by >= 0 && at + by < count;
  const step = (by, name, key) => el("button", {
    type: "button", class: "quiet", disabled: !canStep(by), title: `${name} (${key})`, onclick: () => onStep(by),
  }, icon(by < 0 ? "left" : "right"), el("span", { class: "unseen" }, name));
  const copy = (id, text, content, otherwise) => el("button", {
    type: "button", class: "quiet outlined", id, onclick: (event) => copyText(event.currentTarget, content(), otherwise),
  }, text);
  sheet.replaceChildren(el("div", { class: "viewer" },
    hit.moment ? player(hit, () => stage(hit, (by) => canStep(by) && onStep(by))) : stage(hit, (by) => canStep(by) && onStep(by)),
    el("div", { class: "panel" },
      el("div", { class: "sheet-top" }, title,
        count > 1 ? [step(-1, "The hit before", "←"), step(1, "The next hit", "→")] : null,
        el("button", { type: "button", class: "quiet", onclick: () => sheet.close() },
          icon("close"), el("span", { class: "unseen" }, "Close"))),
      el("div", { class: "acts" },
        el("button", { type: "button", class: "main-action", id: "why-like", onclick: onLike },
          icon("similar"), "More like this"),
        pictureLinks(hit),
        copy("copy-link", "Copy link", () => location.href, "Copy it from the address bar"),
        hit.picture ? copy("copy-path", "Copy path", () => pathOf(hit), "Not allowed: copy it below") : null),
      tabs(onTab),
      el("div", { class: "sheet-body" },
        details(hit, side).map((part) => {
          part.dataset.tab = "details";
          return part;
        }),
        body))));
  showTab(sheet, tab);
  if (!sheet.open) sheet.showModal();
  sheet.scrollTop = 0;
  title.focus();
  return body;
}
