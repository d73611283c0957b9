// Answers that grow while the reader scrolls, and by a button for all who don't.
import { el } from "./dom.js";

const AHEAD = 300; // px below the window where more are fetched already
const BY_ITSELF = 240; // hits after which the button must be pressed again: the foot stays reachable
const FIRST = 24;

/** How many hits to ask for after `k`. */
export const nextK = (k, most) => Math.min(most, Math.max(2 * FIRST, Math.min(2 * k, k + 4 * FIRST)));

/** Make what offers more below the answers; `onMore(isAsked)` fetches them, `isAsked` by the button. */
export function makeGrowing(place, onMore) {
  let allowed = BY_ITSELF;
  let before = 0;
  const button = el("button", { type: "button", class: "outlined", onclick: () => {
    allowed = Number.POSITIVE_INFINITY;
    onMore(true);
  } }, "Show more");
  const foot = el("p", { class: "more" }, button);
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && before < allowed) onMore(false);
  }, { rootMargin: `0px 0px ${AHEAD}px` });

  return {
    /** Offer more below so many hits, or nothing more. */
    offer(count, hasMore) {
      watch.disconnect();
      before = count;
      if (allowed === Number.POSITIVE_INFINITY) allowed = count + BY_ITSELF;
      foot.remove();
      if (!hasMore) return;
      place.append(foot);
      watch.observe(foot); // it says at once whether the foot is in view
    },
    /** Begin anew: another answer. */
    reset() {
      allowed = BY_ITSELF;
      watch.disconnect();
      foot.remove();
    },
    /** Show that more are on their way. */
    busy(isBusy) {
      button.disabled = isBusy;
      button.textContent = isBusy ? "Loading …" : "Show more";
    },
  };
}
