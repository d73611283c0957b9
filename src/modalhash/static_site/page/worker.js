// What searches, apart from the page so that this stays quick: codes, items, and the model.
import { QueryEncoder } from "./encoder.js";
import { Query, combine, distancesOf, levelOf, nearest, unpackSigns } from "./scan.js";

const COMPARED = 10; // nearest hits that tell whether an answer is by chance
const SHARE = 0.5;
const FEWEST_TELLING_BITS = 32;
const STRONG = 1e-4;
const FAIR = 0.1;
const SMALL = "pictures/"; // folder of the site's own small pictures

let site; // site.json
const sides = new Map(); // name to the codes and items of a side
let encoder = null;

async function load(path) {
  const address = new URL(path, load.base);
  const response = await fetch(address);
  if (!response.ok) throw new Error(`The web server has no ${path} (status ${response.status}).`);
  return response.arrayBuffer();
}

async function unzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The items of a side: lines of JSON, read one by one when they are shown. */
class Items {
  constructor(bytes, count) {
    this.bytes = bytes;
    this.starts = new Uint32Array(count + 1);
    for (let place = 0, line = 1; line <= count; line += 1) {
      place = bytes.indexOf(10, place) + 1;
      this.starts[line] = place || bytes.length + 1;
    }
    this.decoder = new TextDecoder();
    this.rows = null;
    this.shown = new Map();
  }

  get count() {
    return this.starts.length - 1;
  }

  at(row) {
    const line = this.bytes.subarray(this.starts[row], this.starts[row + 1] - 1);
    return JSON.parse(this.decoder.decode(line), exact);
  }

  /** Remember the row of an item that was shown: it is likely to be asked for. */
  remember(id, row) {
    this.shown.set(String(id), row);
  }

  /** Return the row of an id, a text; -1 if there is none. */
  rowOf(id) {
    if (this.shown.has(id)) return this.shown.get(id);
    this.rows ??= new Map(Array.from({ length: this.count }, (_, row) => [String(this.at(row).id), row]));
    return this.rows.get(id) ?? -1;
  }
}

// Ids may be integers beyond what a JavaScript number holds: those stay as they are written, as texts.
const exact = (_, value, written) =>
  typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? (written?.source ?? value) : value;

/** Read site.json and the codes; the model is read when a text is searched for, or by `warm`. */
async function open({ base }) {
  load.base = base;
  site = JSON.parse(new TextDecoder().decode(await load("site.json")));
  await Promise.all(Object.entries(site.sides).map(async ([name, side]) => {
    const [codes, items, owners] = await Promise.all(
      [load(side.codes), load(side.items).then(unzip), side.owners && load(side.owners)]);
    sides.set(name, {
      codes: new Uint8Array(codes), items: new Items(items, side.count), owners: owners && new Uint32Array(owners),
    });
  }));
  if (site.text) encoder = new QueryEncoder(site.text, load);
  return site;
}

const warm = async () => {
  await encoder?.prepare();
};

class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const bytesOfHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const hexOf = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function sideOf(name) {
  if (!sides.has(name)) throw new Refusal("not_available", `This site holds no ${name}.`);
  return sides.get(name);
}

function codeOf(name, row) {
  const width = Math.ceil(site.n_bits / 8);
  return sideOf(name).codes.subarray(row * width, (row + 1) * width);
}

function rowOf(name, id) {
  const row = sideOf(name).items.rowOf(String(id));
  if (row < 0) throw new Refusal("unknown_item", `There is no item “${id}” among the ${name}.`);
  return row;
}

const modalityOf = (side) => (side === "texts" ? "text" : "image");

/** Encode what is asked: its query in units, what asks, the item that asks, texts without a known word. */
async function encode(asked) {
  const parts = [];
  const unknown = [];
  let own = null;
  if (asked.id !== undefined) {
    own = { side: asked.id_side ?? Object.keys(site.sides)[0] };
    own.row = rowOf(own.side, asked.id);
    parts.push({ code: codeOf(own.side, own.row), weight: 1, modality: modalityOf(own.side) });
  }
  if (asked.code) parts.push({ code: bytesOfHex(asked.code.hex), weight: 1, modality: asked.code.modality ?? null });
  for (const [name, weight] of [["text", 1], ["minus_text", -1]]) {
    const text = asked[name];
    if (!text) continue;
    if (!encoder) throw new Refusal("not_available", "This site was made without a model of texts.");
    const { relaxed, isKnown } = await encoder.encode(text);
    if (!isKnown) unknown.push(text);
    parts.push({ relaxed, weight, modality: name === "text" ? "text" : null });
  }
  const [only] = parts;
  if (parts.length === 1 && only.weight > 0) {
    const query = only.code ? Query.ofCode(only.code, site.n_bits) : Query.ofRelaxed(only.relaxed);
    return { query, modality: only.modality, own, unknown };
  }
  for (const part of parts) part.relaxed ??= unpackSigns(part.code, site.n_bits);
  return { query: Query.ofRelaxed(combine(parts)), modality: null, own, unknown };
}

/** What places of a search are worth: a word and a probability for each; `places` are distances or levels. */
function gradesOf({ query, modality }, side) {
  const scoring = query.isBits ? "hamming" : "asymmetric";
  const known = site.grades[`${modality}_to_${modalityOf(side)}`]?.[scoring] ?? null;
  const isTelling = site.n_bits >= FEWEST_TELLING_BITS;
  const chances = !isTelling ? null : query.isBits ? Float64Array.from(site.chances) : query.chances;
  const count = site.sides[side].count;
  const wordOf = (place) => {
    const expected = chances ? count * chances[place] : NaN;
    return expected <= STRONG ? "strong" : expected <= FAIR ? "fair" : "weak";
  };
  return {
    chances,
    rule: known?.rule ?? null,
    relevanceOf: (place) => known?.relevance[place] ?? null,
    strengthOf: (place) => (known ? known.words[place] : isTelling ? wordOf(place) : null),
  };
}

function isNearChance(places, chances, count) {
  if (!places.length || !chances) return false;
  const sorted = [...places].sort((one, other) => one - other).slice(0, COMPARED);
  return count * chances[sorted[0]] >= SHARE && count * chances[sorted.at(-1)] >= SHARE * sorted.length;
}

function countDiffering(one, other) {
  let count = 0;
  for (let byte = 0; byte < one.length; byte += 1) {
    for (let left = one[byte] ^ other[byte]; left; left &= left - 1) count += 1;
  }
  return count;
}

function hitOf(name, row) {
  const { items } = sideOf(name);
  const { id, item = null, caption = "", picture = null, whole = null, metadata = {} } = items.at(row);
  items.remember(id, row);
  return {
    id, item, caption, metadata, moment: null,
    picture: picture && {
      file_name: picture.split("/").at(-1), path: String(id), thumbnail: picture, whole, is_small: picture.startsWith(SMALL) && !whole,
    },
  };
}

function searchSide(encoded, name, asked) {
  const { query, own } = encoded;
  const { codes } = sideOf(name);
  const distances = distancesOf(codes, query);
  const bitsOf = (row) => countDiffering(query.code, codeOf(name, row));
  const isAsking = (row) => own?.side === name && own.row === row;
  const { radius } = asked;
  const { owners } = sideOf(name);
  const owner = asked.item === undefined ? null : owners ? rowOf("images", asked.item) : rowOf(name, asked.item);
  const isKept = (row) => !isAsking(row) && (radius === undefined || bitsOf(row) <= radius) &&
    (owner === null || (owners ? owners[row] : row) === owner);
  const hasLimits = own?.side === name || radius !== undefined || owner !== null;
  const rows = nearest(distances, asked.k, hasLimits ? isKept : null);
  const grades = gradesOf(encoded, name);
  const placeOf = (row) => (query.isBits ? distances[row] : levelOf(query.scoreOf(distances[row]), site.n_bits));
  const places = rows.map(placeOf);
  const isChance = owner === null && isNearChance(places, grades.chances, site.sides[name].count);
  const hits = rows.map((row, rank) => {
    const strength = grades.strengthOf(places[rank]);
    return {
      ...hitOf(name, row),
      distance: bitsOf(row),
      score: query.scoreOf(distances[row]),
      relevance: grades.relevanceOf(places[rank]),
      strength: strength && isChance ? "weak" : strength,
    };
  });
  return {
    target: name, scoring: asked.scoring ?? "asymmetric", relevance_rule: grades.rule,
    reranked_by: null, near_chance: isChance, hits,
  };
}

const targetsOf = (asked) => (asked.target === "both" ? [...sides.keys()] : [asked.target ?? [...sides.keys()][0]]);

async function search(asked) {
  const begun = performance.now();
  const encoded = await encode(asked);
  if (asked.scoring === "hamming") encoded.query = Query.ofCode(encoded.query.code, site.n_bits);
  const between = performance.now();
  const results = targetsOf(asked).map((name) => searchSide(encoded, name, asked));
  const ended = performance.now();
  return {
    index: site.name, code: hexOf(encoded.query.code), n_bits: site.n_bits, unknown: encoded.unknown, results,
    timings: { encode: between - begun, search: ended - between, total: ended - begun },
  };
}

/** Say why items are where they are. */
async function explain(asked) {
  const encoded = await encode(asked);
  const { query } = encoded;
  const [name] = targetsOf(asked);
  const { codes } = sideOf(name);
  const bits = distancesOf(codes, Query.ofCode(query.code, site.n_bits));
  const units = query.isBits ? bits : distancesOf(codes, query);
  const distances = new Array(site.n_bits + 1).fill(0);
  for (const distance of bits) distances[distance] += 1;
  const count = site.sides[name].count;
  const mean = distances.reduce((sum, items, distance) => sum + items * distance, 0) / Math.max(1, count);
  const grades = gradesOf(encoded, name);
  const levels = query.isBits ? null : query.chances;
  return {
    n_bits: site.n_bits, code: hexOf(query.code), relevance_rule: grades.rule,
    explanation: { distances, n_items: count, mean_distance: mean, expected_distance: site.n_bits / 2 },
    items: asked.ids.map((id) => {
      const row = rowOf(name, id);
      const code = codeOf(name, row);
      const score = query.scoreOf(units[row]);
      const [first, last] = ranksOf(units, units[row]);
      const place = query.isBits ? bits[row] : levelOf(score, site.n_bits);
      const agrees = Array.from({ length: site.n_bits }, (_, bit) => !(((code[bit >> 3] ^ query.code[bit >> 3]) >> (bit & 7)) & 1));
      const numbers = [...agrees.keys()];
      return {
        id, code: hexOf(code), distance: bits[row], score, local_score: null,
        agreeing_bits: numbers.filter((bit) => agrees[bit]),
        differing_bits: numbers.filter((bit) => !agrees[bit]),
        rank: { first, last, of: count },
        percentile: (100 * (count - last + (last - first + 1) / 2)) / count,
        chance_of_random: query.isBits ? site.chances[bits[row]] : levels[place],
        contributions: numbers.map((bit) => ((agrees[bit] ? 1 : -1) * query.units[bit]) / Math.max(1, query.total)),
        relevance: grades.relevanceOf(place), strength: grades.strengthOf(place),
      };
    }),
  };
}

function ranksOf(units, own) {
  let better = 0;
  let equal = 0;
  for (const one of units) {
    if (one < own) better += 1;
    else if (one === own) equal += 1;
  }
  return [better + 1, Math.max(better + equal, better + 1)];
}

function item({ side, id }) {
  return { ...hitOf(side, rowOf(side, id)), side };
}

const ACTS = { open, warm, search, explain, item };

onmessage = async ({ data: { number, act, asked } }) => {
  try {
    postMessage({ number, answer: await ACTS[act](asked) });
  } catch (error) {
    postMessage({ number, failure: { code: error.code ?? "failed", message: String(error.message ?? error) } });
  }
};
