// The calculator of the page on quantisers: memory and core seconds from measured curves.
(function () {
  "use strict";
  const MEASURES = {
    pair: "recall@10 by pair, text to image",
    map: "MAP@50 by shared labels, text to image",
    float: "recall@10 of the float top 10, text to image",
  };
  const GIB = 2 ** 30;

  function element(tag, properties, children) {
    const made = Object.assign(document.createElement(tag), properties || {});
    (children || []).forEach((child) => made.append(child));
    return made;
  }

  function choice(label, options) {
    const select = element("select", {}, options.map(
      ([value, text]) => element("option", { value: String(value), textContent: text })));
    return { select, field: element("label", {}, [label + " ", select, " "]) };
  }

  function number(label, value, step) {
    const input = element("input", { type: "number", min: "0", step, value: String(value) });
    return { input, field: element("label", {}, [label + " ", input, " "]) };
  }

  function rows(points, place, measure, count, memory) {
    return points
      .filter((point) => point.place === place && measure in point)
      .map((point) => ({
        name: point.name,
        ours: point.ours,
        total: point.total,
        gib: point.total * count / GIB,
        seconds: count / point.rate,
        value: point[measure],
      }))
      .filter((row) => !memory || row.gib <= memory)
      .sort((first, second) => second.value - first.value || first.gib - second.gib);
  }

  function show(body, list) {
    body.replaceChildren(...list.slice(0, 15).map((row) => element("tr", {}, [
      element("td", {}, [row.ours ? element("strong", { textContent: row.name }) : row.name]),
      ...[row.total, row.gib.toPrecision(3), row.seconds.toPrecision(2), row.value.toFixed(3)]
        .map((text) => element("td", { textContent: String(text) })),
    ])));
    if (!list.length) {
      body.replaceChildren(element("tr", {}, [
        element("td", { colSpan: 5, textContent: "Nothing fits: give more memory." })]));
    }
  }

  function start() {
    const target = document.getElementById("byte-calculator");
    const data = document.getElementById("byte-curves");
    if (!target || !data) return;
    const points = JSON.parse(data.textContent);
    const places = [...new Set(points.map((point) => point.place))];
    const place = choice("Collection", places.map((name) => [name, name]));
    const measure = choice("Best by", Object.entries(MEASURES));
    const count = choice("Items", [6, 7, 8, 9, 10].map((power) => [10 ** power, "10^" + power]));
    const memory = number("Memory in GiB (0: any)", 0, "any");
    const heads = ["row", "bytes an item, in all", "GiB", "core seconds a query", "measured"];
    const body = element("tbody");
    const table = element("table", {}, [
      element("thead", {}, [element("tr", {}, heads.map(
        (head) => element("th", { textContent: head, scope: "col" })))]),
      body,
    ]);
    const update = () => show(body, rows(
      points, place.select.value, measure.select.value, Number(count.select.value),
      Number(memory.input.value)));
    [place.select, measure.select, count.select, memory.input].forEach(
      (field) => field.addEventListener("input", update));
    target.append(
      element("p", {}, [place.field, measure.field, count.field, memory.field]), table);
    update();
  }

  if (typeof document === "undefined") {
    module.exports = { rows }; // for tests outside a browser
  } else if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", start);
  } else {
    start();
  }
})();
