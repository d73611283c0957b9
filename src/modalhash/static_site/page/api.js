// What the page asks, answered in the browser by worker.js: the same names as the server's page has.
const KINDS = ["file_protocol", "not_available", "unknown_item"];

/** What can't be answered. */
export class ApiError extends Error {
  constructor(code, message) {
    super(message);
    Object.assign(this, { code, status: 0, requestId: "", retryAfter: null });
  }
}

/** Resolve an address of the site against this page, which may lie below any path. */
export const addressOf = (path) => new URL(path, document.baseURI).href;

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let numbers = 0;

worker.addEventListener("message", ({ data: { number, answer, failure } }) => {
  const { resolve, reject } = waiting.get(number);
  waiting.delete(number);
  if (failure) reject(new ApiError(KINDS.includes(failure.code) ? failure.code : "failed", failure.message));
  else resolve(answer);
});
worker.addEventListener("error", (event) => {
  const error = new ApiError("failed", event.message || "This browser can't run the search: try a newer one.");
  for (const { reject } of waiting.values()) reject(error);
  waiting.clear();
});

const wholes = new Map(); // small picture to the link to the whole one

/** Remember where whole pictures are. */
function note(answer) {
  const hits = answer.results ? answer.results.flatMap((result) => result.hits) : [answer];
  for (const { picture } of hits) if (picture?.whole) wholes.set(picture.thumbnail, picture.whole);
  return answer;
}

function ask(act, asked, signal) {
  return new Promise((resolve, reject) => {
    const number = (numbers += 1);
    waiting.set(number, { resolve, reject });
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    worker.postMessage({ number, act, asked });
  });
}

let hasModel = false;

const opened = ask("open", { base: document.baseURI }).then((site) => {
  performance.mark("modalhash-codes");
  // Where visitors save data, the model is loaded when words are searched for.
  if (site.text && !navigator.connection?.saveData) warm().catch(() => {}); // a search tells what failed
  return site;
});
opened.catch(() => {}); // told by who waits for it

async function warm() {
  await ask("warm", {});
  if (!hasModel) performance.mark("modalhash-model");
  hasModel = true;
}

/** Wait for the model, and say so: a first visit loads it. */
async function waitForModel() {
  const { text } = await opened;
  if (hasModel || !text) return;
  const notice = document.getElementById("notice");
  notice.textContent = `Loading the model of texts: ${Math.ceil(text.bytes / 1e6)} MB, once …`;
  notice.hidden = false;
  try {
    await warm();
  } finally {
    notice.hidden = true;
  }
}

const never = () => Promise.reject(new ApiError("not_available", "This site holds what it was made with: it can't be changed."));

export const setKey = () => {};
export const hasKey = () => false;
export const isReady = () => opened.then(() => true, () => false);
export const remove = never;
export const add = never;

export const service = async () => ({ version: (await opened).modalhash, writable: false, auth: "none", limits: (await opened).limits });
export const indexes = async () => [(await opened).index];
export const models = async () => [(await opened).model];
export const item = (_, side, id, signal) => ask("item", { side, id: idOf(id) }, signal).then(note);
export const batch = (index, queries) => Promise.all(queries.map((query) => search(index, query)));
export const explain = (_, query, signal) => ask("explain", plain(query), signal);
export const facets = async () => ({ counted: 0, of: 0, facets: [] });

/** Search; a filter can only name the picture whose texts are wanted. */
export async function search(_, query, picture, signal) {
  const { filter, ...rest } = query;
  if (picture || query.min_relevance !== undefined || query.rerank !== undefined) {
    throw new ApiError("not_available", "This site searches by words and by its own items, nearest first.");
  }
  const asked = plain(rest);
  if (filter !== undefined) asked.item = itemOf(filter);
  if (asked.text || asked.minus_text) await waitForModel();
  return ask("search", asked, signal).then(note);
}

// Ids that JavaScript can't hold are sent as texts.
const plain = (query) => ({
  ...query,
  ...(query.id === undefined ? {} : { id: idOf(query.id) }),
  ...(query.ids === undefined ? {} : { ids: query.ids.map(idOf) }),
});
const idOf = (id) => (typeof id === "object" ? id.rawJSON : String(id));

function itemOf(filter) {
  const [, value] = /^item == (.+)$/s.exec(filter) ?? [];
  if (value === undefined) throw new ApiError("not_available", "This site has no filters: a server has them.");
  return value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/gs, "$1") : value;
}

/** Return the path of the whole picture that a thumbnail is of. */
export const wholePicture = (thumbnail) => wholes.get(thumbnail) ?? thumbnail;

export const fetchBlob = async (path) => (await fetch(addressOf(path))).blob();

/** Fetch a file, and open it or save it under a name. */
export async function openBlob(path, name) {
  saveBlob(await fetchBlob(path), name);
}

/** Save a blob under a name; open it if it has none. */
export function saveBlob(blob, name) {
  const local = URL.createObjectURL(blob);
  const link = document.createElement("a");
  Object.assign(link, { href: local, target: "_blank", rel: "noopener" });
  if (name) link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(local), 45_000);
}

/** Show a picture in an `<img>`. */
export async function showThumbnail(image, thumbnail) {
  image.src = addressOf(thumbnail);
}
