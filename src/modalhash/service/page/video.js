// Videos: a hit's moment is played from its beginning on, and other moments stand below it.
import * as api from "./api.js";
import { el } from "./dom.js";

const MOST_MOMENTS = 50;

const two = (value) => String(value).padStart(2, "0");

/** Write seconds as minutes and seconds. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** Name a moment for people: its video, and when. */
export const momentName = ({ video, start, end }) => `${video} ${clock(start)}–${clock(end)}`;

/** Make a player that begins at a moment; what can't be played is replaced by `instead`. */
export function player(hit, instead) {
  const { start, address } = hit.moment;
  const video = el("video", { controls: true, preload: "metadata", playsinline: true, "data-start": start });
  const box = el("div", { class: "stage" }, video);
  const fail = () => box.isConnected && box.replaceWith(instead());
  const begin = (source) => {
    video.addEventListener("loadedmetadata", () => (video.currentTime = start), { once: true });
    video.addEventListener("error", fail, { once: true });
    video.src = source;
  };
  if (!api.hasKey()) begin(api.addressOf(address));
  else { // a player sends no key, so the file is fetched
    api.fetchBlob(address).then((blob) => {
      const local = URL.createObjectURL(blob);
      video.addEventListener("emptied", () => URL.revokeObjectURL(local), { once: true });
      begin(local);
    }, fail);
  }
  return box;
}

/** Return the request for the moments of a hit's video, nearest to the query first. */
export function momentsOf(hit, query) {
  const id = JSON.stringify(String(hit.moment.video));
  return { ...query, target: "images", filter: `video == ${id}`, k: MOST_MOMENTS };
}

/** Show the moments of a video, in their order; a click plays one. */
export function showMoments(sheet, hit, hits) {
  const moments = hits.filter((other) => other.moment).sort((one, other) => one.moment.start - other.moment.start);
  const place = sheet.querySelector(".captions");
  if (moments.length < 2 || !place) return;
  const seek = (moment, button) => {
    const video = sheet.querySelector(".stage video");
    for (const other of button.parentElement.children) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    if (!video) return;
    video.currentTime = moment.start;
    video.play().catch(() => {});
  };
  place.after(el("section", { class: "moments", "data-tab": "details", hidden: place.hidden },
    el("h3", {}, "Moments of this video"),
    el("div", {}, moments.map(({ id, moment, distance, caption }) => {
      const button = el("button", {
        type: "button", class: "quiet outlined", title: `${caption ? `${caption} · ` : ""}${distance} bits away`,
        "aria-current": id === hit.id ? "true" : null, onclick: () => seek(moment, button),
      }, clock(moment.start));
      return button;
    }))));
}
