// Asking before items are removed from an index.
import * as api from "./api.js";
import { counted, el } from "./dom.js";

/** Ask whether items are to be removed, and remove them; `onDone` is told how many codes went. */
export function confirmRemoval(dialog, index, ids, most, onDone) {
  const says = el("p", { class: "problem", role: "alert", hidden: true });
  const go = el("button", { type: "button", class: "danger", id: "removal-go" }, `Remove ${counted(ids.length, "item")}`);
  const keep = el("button", { type: "button", class: "quiet outlined", id: "removal-cancel", onclick: () => dialog.close() }, "Cancel");
  go.addEventListener("click", async () => {
    go.disabled = true;
    let removed = 0;
    try {
      for (let at = 0; at < ids.length; at += most) {
        removed += await api.remove(index.name, ids.slice(at, at + most));
        go.textContent = `Removed ${at + ids.slice(at, at + most).length} of ${ids.length} …`;
      }
      dialog.close();
      onDone(removed);
    } catch (error) {
      says.textContent = removed ? `${error.message} (${counted(removed, "code")} were removed before.)` : error.message;
      says.hidden = false;
      go.disabled = false;
      go.textContent = "Try again";
    }
  });
  dialog.replaceChildren(el("div", { class: "ask-first" },
    el("h2", { id: "removal-title" }, `Remove ${counted(ids.length, "item")} from “${index.name}”?`),
    el("p", {}, "They and their texts are found no more. Files on the disk stay where they are: a later sync of their folder adds them again."),
    says, el("div", { class: "acts" }, keep, go)));
  dialog.showModal();
  keep.focus();
}
