// What goes wrong, in words, with a way out.
import * as api from "./api.js";
import { el, own } from "./dom.js";

const TITLES = {
  unreachable: "The server doesn't answer",
  timed_out: "That took too long",
  body_too_large: "The picture is too big",
  picture_too_large: "The picture is too big",
  unreadable_picture: "The picture can't be read",
  unsupported_media_type: "This kind of file can't be searched with",
  picture_elsewhere: "The picture isn't here",
  unauthorized: "This server asks for a key",
  forbidden: "This key allows too little",
  relevance_out_of_reach: "Nothing can be so likely here",
  not_available: "This index can't do that",
  unknown_item: "That item isn't in the index",
  unknown_index: "There is no such index",
  overloaded: "The server is busy",
  rate_limited: "Too many searches at once",
  not_ready: "The server is still starting",
  shutting_down: "The server is stopping",
};
const FINAL = ["body_too_large", "picture_too_large", "picture_elsewhere", "unauthorized", "not_available", "relevance_out_of_reach"];

/** Show an error; `retry` searches again, `open` opens the page with another key, `relax` lifts a limit. */
export function showError(place, error, { retry, open, relax = null }) {
  const note = error.code === "unreachable" ? "This page goes on by itself when the server is back."
    : error.retryAfter ? "This page tries again by itself." : "";
  showProblem(place, own(TITLES, error.code) ?? "That didn't work", error.message ?? String(error), {
    note, relax, requestId: error.requestId, open: error.code === "unauthorized" ? open : null,
    retry: FINAL.includes(error.code) ? null : retry,
  });
}

/** Show a problem: a title, a sentence, and what can be done. */
export function showProblem(place, title, says, { note = "", requestId = "", open = null, retry = null, relax = null } = {}) {
  const key = el("input", { type: "password", "aria-label": "API key", autocomplete: "off" });
  const useKey = () => {
    api.setKey(key.value.trim());
    open();
  };
  key.addEventListener("keydown", (event) => event.key === "Enter" && useKey());
  place.replaceChildren(
    el("h2", {}, title),
    el("p", {}, says.split("\n")[0]),
    note ? el("p", { class: "note" }, note) : "",
    open ? el("div", { class: "acts" }, key, el("button", { type: "button", onclick: useKey }, "Use this key")) : "",
    retry ? el("div", { class: "acts" }, el("button", { type: "button", onclick: retry }, "Try again")) : "",
    relax ? el("div", { class: "acts" }, el("button", { type: "button", onclick: relax }, "Search without this limit")) : "",
    requestId ? el("p", { class: "note" }, "Request ", el("code", {}, requestId)) : "");
  place.hidden = false;
  if (open) key.focus();
}
