// How far all items are from the query, and where one of them is among them.
import { number, svg } from "./dom.js";

const WIDEST = 560, HEIGHT = 190, LEFT = 8, RIGHT = 8, TOP = 30, BOTTOM = 34;

/** Draw the histogram; bars up to the hit's distance have the colour of "nearer". */
export function histogram(distances, distance, expected, room = WIDEST) {
  const width = Math.max(240, Math.min(WIDEST, room)); // drawn to size, so that words stay legible
  const nBits = distances.length - 1;
  const highest = Math.max(...distances, 1);
  const step = (width - LEFT - RIGHT) / distances.length;
  const x = (bits) => LEFT + (bits + 0.5) * step;
  const y = (count) => HEIGHT - BOTTOM - (count / highest) * (HEIGHT - TOP - BOTTOM);
  const floor = HEIGHT - BOTTOM;
  const bars = distances.map((count, bits) => {
    if (!count) return null;
    const top = Math.min(y(count), floor - 1);
    return svg("rect", {
      x: x(bits) - step * 0.42, y: top, width: step * 0.84, height: floor - top,
      class: bits <= distance ? "nearer" : null,
    });
  });
  const gap = Math.max(1, Math.round(nBits / (width < 400 ? 4 : 8)));
  const ticks = Array.from({ length: Math.floor(nBits / gap) + 1 }, (_, at) => at * gap);
  // Both names stand above the bars: beside each other where they are far apart, else outwards.
  const isLeft = distance <= expected;
  const side = (isLeft ? distance < nBits * 0.1 : distance < nBits * 0.9) ? "start" : "end";
  const total = distances.reduce((sum, count) => sum + count, 0);
  const nearer = distances.slice(0, distance).reduce((sum, count) => sum + count, 0);
  return svg("svg", {
    class: "histogram", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img",
    "aria-label": `Distances of ${number(total)} items to the query. This one is ${distance} of ` +
      `${nBits} bits away; ${number(nearer)} are nearer and ${number(distances[distance] - 1)} as far.`,
  },
  svg("g", { class: "bars" }, bars),
  svg("line", { class: "random", x1: x(expected), x2: x(expected), y1: TOP - 14, y2: floor }),
  svg("text", {
    x: x(expected) + (isLeft ? 5 : -5), y: TOP - 8, "text-anchor": isLeft ? "start" : "end",
  }, "random codes"),
  svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: floor + 0.5, y2: floor + 0.5 }),
  ticks.map((bits) => svg("text", { x: x(bits), y: floor + 15, "text-anchor": "middle" }, bits)),
  svg("text", { x: width - RIGHT, y: HEIGHT - 2, "text-anchor": "end" }, "differing bits"),
  svg("line", { class: "here", x1: x(distance), x2: x(distance), y1: TOP - 14, y2: floor }),
  svg("text", {
    class: "here-name", x: x(distance) + (side === "start" ? 5 : -5), y: TOP - 8, "text-anchor": side,
  }, "this one"));
}
