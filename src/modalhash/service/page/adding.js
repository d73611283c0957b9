// Adding pictures to an index that may be changed: each file is an item under its name.
import * as api from "./api.js";
import { bytes, counted, el, icon } from "./dom.js";

const HEAD_BYTES = 1000; // of a request beside the picture

/** Whether this client may add pictures to an index under the names of their files. */
export const canAdd = (index) => Boolean(index?.may_change && index.queries.picture &&
  index.sides.images && index.sides.images.id_kind !== "integer");

async function encoded(file) {
  const content = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < content.length; at += 0x8000) text += String.fromCharCode(...content.subarray(at, at + 0x8000));
  return btoa(text);
}

async function put(index, file, limits, { replace }) {
  const most = Math.floor((limits.body_bytes - HEAD_BYTES) * 3 / 4);
  if (file.size > most) {
    throw new api.ApiError("body_too_large", `it has ${bytes(file.size)}, this server takes up to ${bytes(most)}`);
  }
  await api.add(index.name, [{ id: file.name, image: await encoded(file) }], { replace });
}

/** Add files one after another, and show how each of them went; `onDone` is called if any was added. */
export async function addPictures(dialog, index, files, limits, onDone) {
  const title = el("h2", { id: "adding-title", tabindex: "-1" }, `Adding ${counted(files.length, "picture")} to “${index.name}”`);
  const list = el("ul", { class: "added" });
  const acts = el("div", { class: "acts" });
  const close = el("button", { type: "button", class: "quiet outlined", id: "adding-close", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(el("div", { class: "ask-first" }, title,
    el("p", { class: "note" }, "Each is found by its file's name. The index keeps a copy of it."), list, acts));
  acts.append(close);
  dialog.showModal();
  title.focus();
  let added = 0;
  const run = async (some, replace) => {
    const there = [];
    for (const { file, line } of some) {
      line.querySelector(".state").replaceChildren("…");
      try {
        await put(index, file, limits, { replace });
        added += 1;
        line.querySelector(".state").replaceChildren(icon("check"), replace ? "replaced" : "added");
      } catch (error) {
        const isThere = error.code === "already_there";
        if (isThere) there.push({ file, line });
        line.querySelector(".state").replaceChildren(el("span", { class: "bad" }, isThere ? "there is one of this name" : error.message));
      }
    }
    title.textContent = `${counted(added, "picture")} of ${files.length} added`;
    if (there.length) {
      const again = el("button", {
        type: "button", class: "danger", id: "adding-replace",
        onclick: async () => {
          again.remove();
          await run(there, true);
        },
      }, there.length === 1 ? "Replace it" : `Replace these ${there.length}`);
      acts.append(again);
    }
    if (added) onDone();
  };
  const lines = files.map((file) => ({
    file, line: el("li", {}, el("span", { class: "name" }, file.name), el("span", { class: "state", role: "status" }, "waits")),
  }));
  list.append(...lines.map(({ line }) => line));
  await run(lines, false);
}
