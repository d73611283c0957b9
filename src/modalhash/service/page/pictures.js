// Pictures that were searched with: kept in this browser, so that "back" and "reload" find them.
const KEPT = 20;

const opened = new Promise((resolve) => {
  try {
    const request = indexedDB.open("modalhash", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("pictures");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
  } catch {
    resolve(null); // switched off: pictures live as long as this page
  }
});
const here = new Map();

/** Keep a picture and return its name, which goes into the address. */
export async function keep(blob) {
  const name = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
  const picture = { blob, name: blob.name || "" };
  here.set(name, picture);
  const database = await opened;
  if (database) {
    const store = database.transaction("pictures", "readwrite").objectStore("pictures");
    store.put(picture, name);
    const all = store.getAllKeys(); // names begin with the time, so the oldest come first
    all.onsuccess = () => all.result.slice(0, -KEPT).forEach((old) => store.delete(old));
  }
  return name;
}

/** Return a kept picture, or null: an address from another browser names one that isn't here. */
export async function find(name) {
  if (here.has(name)) return here.get(name);
  const database = await opened;
  if (!database) return null;
  return new Promise((resolve) => {
    const request = database.transaction("pictures").objectStore("pictures").get(name);
    request.onsuccess = () => resolve(request.result ?? null);
    request.onerror = () => resolve(null);
  });
}

/** Take in pictures that are chosen, dropped or pasted anywhere; those dropped on "add" are added. */
export function listen({ file, drop, onPicture, onAdd, onOther }) {
  const take = (files) => {
    const found = [...files].find((one) => one.type.startsWith("image/"));
    if (found) onPicture(found);
    else if (files.length) onOther(files[0]);
  };
  file.addEventListener("change", () => {
    take(file.files);
    file.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
  let depth = 0;
  const brings = (event) => event.dataTransfer?.types.includes("Files");
  const show = (change) => {
    depth = Math.max(0, depth + change);
    drop.classList.toggle("is-on", depth > 0);
  };
  document.addEventListener("dragenter", (event) => brings(event) && show(1));
  document.addEventListener("dragleave", (event) => brings(event) && show(-1));
  const zoneOf = (event) => event.target.closest?.("[data-drop]");
  document.addEventListener("dragover", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    for (const zone of drop.children) zone.classList.toggle("is-over", zone === zoneOf(event));
  });
  document.addEventListener("drop", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    show(-depth);
    const files = [...event.dataTransfer.files];
    if (zoneOf(event)?.dataset.drop !== "add") return take(files);
    const pictures = files.filter((one) => one.type.startsWith("image/"));
    if (pictures.length) onAdd(pictures);
    else if (files.length) onOther(files[0]);
  });
}
