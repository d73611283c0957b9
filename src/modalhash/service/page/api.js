// The HTTP API (docs/service.md), and what can go wrong on the way to it.
const KEY = "modalhash-key";
const TIMEOUT = 45_000;

let key = readKey();

function readKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** Use an API key until the tab is closed. */
export function setKey(value) {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // it holds for this page then
  }
}

/** What the server refused, or that it can't be reached (`code` is "unreachable" then). */
export class ApiError extends Error {
  constructor(code, message, { status = 0, requestId = "", retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { code, status, requestId, retryAfter });
  }
}

/** Resolve an address of the API against this page, which may lie below a proxy's prefix. */
export const addressOf = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

async function failure(response) {
  const seconds = Number(response.headers.get("Retry-After"));
  const more = {
    status: response.status,
    requestId: response.headers.get("X-Request-ID") ?? "",
    retryAfter: seconds > 0 ? seconds : null,
  };
  try {
    const { error } = await response.json();
    return new ApiError(error.code, error.message, { ...more, requestId: error.request_id });
  } catch {
    const code = response.status === 413 ? "body_too_large" : "no_answer";
    return new ApiError(code, `The server answered with status ${response.status}.`, more);
  }
}

async function call(path, { method = "GET", body, signal } = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const limits = [AbortSignal.timeout(TIMEOUT), ...(signal ? [signal] : [])];
  let response;
  try {
    response = await fetch(addressOf(path), { method, headers, body, signal: AbortSignal.any(limits) });
    if (response.ok) return response;
  } catch (error) {
    if (signal?.aborted) throw error;
    const late = error.name === "TimeoutError";
    throw new ApiError(
      late ? "timed_out" : "unreachable",
      late ? "The server took too long to answer." : "The server can't be reached.",
    );
  }
  throw await failure(response);
}

// Ids may be integers beyond what a JavaScript number holds: those stay as they are written.
const exact = (_, value, written) =>
  typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)
    ? (written?.source ?? value)
    : value;
const json = async (path, options) => JSON.parse(await (await call(path, options)).text(), exact);
const of = (index) => `v1/indexes/${encodeURIComponent(index)}`;

export const service = () => json("v1");
export const indexes = async () => (await json("v1/indexes")).indexes;
export const models = async () => (await json("v1/models")).models;
export const item = (index, side, id, signal) =>
  json(`${of(index)}/items?${new URLSearchParams({ side, id })}`, { signal });
export const batch = async (index, queries) =>
  (await json(`${of(index)}/search/batch`, { method: "POST", body: { queries } })).answers;
export const explain = (index, query, signal) =>
  json(`${of(index)}/explain`, { method: "POST", body: query, signal });
export const facets = (index, side, filter) =>
  json(`${of(index)}/facets?${new URLSearchParams({ side, ...(filter ? { filter } : {}) })}`);
export const remove = async (index, ids) =>
  (await json(`${of(index)}/items/delete`, { method: "POST", body: { ids, missing: "ignore" } })).removed;
export const add = (index, items, { replace = false } = {}) =>
  json(`${of(index)}/items`, { method: replace ? "PUT" : "POST", body: { items } });
export const isReady = () => call("readyz").then(() => true, () => false);

/** Search; with a picture (a Blob) as an upload. */
export function search(index, query, picture, signal) {
  if (!picture) return json(`${of(index)}/search`, { method: "POST", body: query, signal });
  const form = new FormData();
  form.append("image", picture, "picture");
  form.append("query", JSON.stringify(query));
  return json(`${of(index)}/search/picture`, { method: "POST", body: form, signal });
}

/** Whether an API key is used: then links and images can't be followed by themselves. */
export const hasKey = () => Boolean(key);

/** Return the path of the whole picture that a thumbnail is of. */
export const wholePicture = (thumbnail) => thumbnail.replace("/thumbnail?", "/picture?");

/** Fetch a file. */
export const fetchBlob = async (path) => (await call(path)).blob();

/** Fetch a file, and open it or save it under a name. */
export async function openBlob(path, name) {
  saveBlob(await (await call(path)).blob(), name);
}

/** Save a blob under a name; open it if it has none. */
export function saveBlob(blob, name) {
  const local = URL.createObjectURL(blob);
  const link = document.createElement("a");
  Object.assign(link, { href: local, target: "_blank", rel: "noopener" });
  if (name) link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(local), TIMEOUT);
}

/** Show a thumbnail in an `<img>`; with a key it has to be fetched, as an `<img>` sends none. */
export async function showThumbnail(image, thumbnail, size) {
  const address = `${addressOf(thumbnail)}&size=${size}`;
  if (!key) {
    image.src = address;
    return;
  }
  try {
    const blob = await (await call(`${thumbnail}&size=${size}`)).blob();
    const local = URL.createObjectURL(blob);
    image.addEventListener("load", () => URL.revokeObjectURL(local), { once: true });
    image.src = local;
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}
