// Why a hit is where it is: its bits beside the query's, and its place among all items.
import { counted, el, number, percent } from "./dom.js";
import { histogram } from "./histogram.js";
import { ruleSays } from "./results.js";

const PADDING = 48; // px beside what the panel holds
const FAINTEST = 0.25; // how much is seen of a bit that counts nothing

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

/** The grid of bits, filled where both codes agree. */
export function bitGrid(differing, nBits, contributions = null) {
  const differs = new Set(differing);
  const most = Math.max(...(contributions ?? [1]).map(Math.abs)) || 1;
  const weights = Array.from({ length: nBits }, (_, bit) =>
    contributions ? (FAINTEST + (1 - FAINTEST) * Math.abs(contributions[bit]) / most).toFixed(2) : "1");
  const across = nBits >= 64 ? (nBits > 128 ? 32 : 16) : 8;
  const cells = Array.from({ length: nBits }, (_, bit) =>
    el("i", {
      class: differs.has(bit) ? "differs" : null, "--weight": weights[bit],
      title: `bit ${bit} ${differs.has(bit) ? "differs" : "agrees"}${contributions ? `, ${signed(contributions[bit])}` : ""}`,
    }));
  const says = `${nBits - differs.size} of ${nBits} bits agree. ` +
    (differs.size ? `Bits that differ: ${differing.join(", ")}.` : "None differs.");
  return el("div", { class: "bits", role: "img", "aria-label": says, "--across": across }, cells);
}

/** Write a small probability as one in so many. */
export function odds(chance) {
  if (chance >= 0.1) return percent(chance);
  const times = 1 / chance;
  if (times < 1e6) return `1 in ${number(Math.round(times))}`;
  if (times < 1e9) return `1 in ${number(Math.round(times / 1e6))} million`;
  return "less than 1 in a billion";
}

function place(one, profile, answer, { strength, relevance }) {
  const { first, last, of } = one.rank;
  const rank = first === last ? `It is number ${number(first)}` :
    `It shares the ranks ${number(first)} to ${number(last)}`;
  return [
    el("p", { class: "says" }, `${counted(one.distance, "bit")} of ${answer.n_bits} differ. ` +
      `${rank} of ${number(of)}, nearer than ${(Math.floor(one.percentile * 10) / 10).toFixed(1)} % of them.`),
    strength === null ? null : el("p", { class: "says" }, "That is a ",
      el("strong", { class: `strength is-${strength}` }, strength), " match",
      relevance === null ? ", by how few random codes would be as near." : "."),
    relevance === null ? null : el("p", { class: "says" },
      `One that is as near ${ruleSays(answer.relevance_rule)} with a probability of ${percent(relevance)}.`),
    el("p", { class: "note" }, `${one.contributions ? "A random code scores as much" : "Two codes made by chance are as near"} in ${odds(one.chance_of_random)}; ` +
      `all items differ from the query in ${profile.mean_distance.toFixed(1)} bits on average.`),
  ];
}

/** Fill in the explanation; what a hit of the answer says of itself comes first, as that knows what ranked it. */
export function fillExplanation(body, answer, hit) {
  const one = answer.items[0];
  const profile = answer.explanation;
  body.replaceChildren(
    el("section", {}, el("h3", {}, "How near it is"), place(one, profile, answer, hit && "strength" in hit ? hit : one)),
    el("section", {}, el("h3", {}, "How far everything is from this query"),
      histogram(profile.distances, one.distance, profile.expected_distance, body.parentElement.clientWidth - PADDING)),
    el("section", {}, el("h3", {}, `Its ${answer.n_bits} bits beside the query's`),
      bitGrid(one.differing_bits, answer.n_bits, one.contributions),
      one.contributions ? el("p", { class: "note" }, `The fainter a bit, the less the query's number for it counts. ` +
        `All together they score ${signed(one.score)}, of +1 at most.`) : "",
      el("p", { class: "key" },
        el("span", {}, el("i"), `${one.agreeing_bits.length} agree`),
        el("span", {}, el("i", { class: "differs" }), `${one.differing_bits.length} differ`))),
    one.local_score === null ? "" : el("section", {}, el("h3", {}, "Finer codes"),
      el("p", {}, `They score it ${one.local_score.toFixed(3)}; larger is nearer.`)),
    el("section", {}, el("h3", {}, "Codes"), el("dl", { class: "facts" },
      el("dt", {}, "query"), el("dd", {}, el("code", {}, answer.code)),
      el("dt", {}, "this one"), el("dd", {}, el("code", {}, one.code)))));
}
