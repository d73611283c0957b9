// Searching codes: the arithmetic of modalhash.codes.asymmetric, to the same whole numbers.
const QUERY_UNITS = 2 ** 24;
const FINE_UNITS = 2 ** 40;
const ROUNDING = 2 ** 52; // adding and taking it away rounds to whole numbers, halves to even ones
const LEVELS_PER_BIT = 4;
const UNITS_PER_BIT = 8;

const round = (value) => value + ROUNDING - ROUNDING;

/** A query in whole units: its packed signs, the units of each bit, and their sum. */
export class Query {
  /** Make a query that keeps its numbers, or whose bits all count 1, of a code. */
  constructor(code, units, isBits) {
    Object.assign(this, { code, units, isBits, nBits: units.length });
    this.total = units.reduce((sum, one) => sum + one, 0);
  }

  static ofCode(code, nBits) {
    return new Query(code, new Int32Array(nBits).fill(1), true);
  }

  /** Round a relaxed code, a Float32Array, to units of which it has 2^24 at most. */
  static ofRelaxed(relaxed) {
    const nBits = relaxed.length;
    const code = packSigns(relaxed);
    const sizes = Float64Array.from(relaxed, Math.abs);
    const largest = sizes.reduce((most, one) => Math.max(most, one), 0) || 1;
    if (!Number.isFinite(largest)) throw new Error("The model's numbers aren't finite.");
    const fine = sizes.map((one) => round((one / largest) * FINE_UNITS));
    const sum = fine.reduce((total, one) => total + one, 0); // whole and below 2^53: exact
    const factor = (QUERY_UNITS - nBits) / Math.max(sum, 1);
    return new Query(code, Int32Array.from(fine, (one) => round(one * factor)), false);
  }

  /** For each byte of a code and each value it may have, the units of the bits that differ. */
  get tables() {
    const tables = new Int32Array(256 * this.code.length);
    for (let byte = 0; byte < this.code.length; byte += 1) {
      for (let value = 0; value < 256; value += 1) {
        let units = 0;
        for (let bit = 0; bit < 8 && 8 * byte + bit < this.nBits; bit += 1) {
          if (((value ^ this.code[byte]) >> bit) & 1) units += this.units[8 * byte + bit];
        }
        tables[256 * byte + value] = units;
      }
    }
    return tables;
  }

  /** The score of a weighted distance, in [-1, 1]. */
  scoreOf(distance) {
    return this.total ? Math.fround((this.total - 2 * distance) / this.total) : 0;
  }

  /** How probable it is that a random code scores at each level or better. */
  get chances() {
    const last = LEVELS_PER_BIT * this.nBits;
    if (!this.total) return Float64Array.from({ length: last + 1 }, (_, level) => Number(level >= last >> 1));
    const scale = (UNITS_PER_BIT * this.nBits) / this.total;
    const steps = Array.from(this.units, (one) => round(one * scale));
    const sum = steps.reduce((all, one) => all + one, 0);
    const probabilities = new Float64Array(sum + 1);
    probabilities[0] = 1;
    let reached = 0;
    for (const step of steps) {
      reached += step;
      for (let at = reached; at >= 0; at -= 1) {
        probabilities[at] = (probabilities[at] + (at >= step ? probabilities[at - step] : 0)) / 2;
      }
    }
    const chances = new Float64Array(last + 1);
    for (let at = 0; at <= sum; at += 1) chances[levelOf(1 - 2 * (at / Math.max(1, sum)), this.nBits)] += probabilities[at];
    for (let level = 1; level <= last; level += 1) chances[level] += chances[level - 1];
    return chances;
  }
}

/** The level of a score, from 0 (score 1) to four a bit (score -1). */
export function levelOf(score, nBits) {
  const last = LEVELS_PER_BIT * nBits;
  return Math.min(last, Math.max(0, Math.floor(((1 - score) / 2) * last + 0.5)));
}

/** Pack the signs of numbers; 0 counts as +1. */
export function packSigns(relaxed) {
  const code = new Uint8Array(Math.ceil(relaxed.length / 8));
  relaxed.forEach((value, bit) => {
    if (value >= 0) code[bit >> 3] |= 1 << (bit & 7);
  });
  return code;
}

/** Unpack a code to -1 and +1. */
export const unpackSigns = (code, nBits) =>
  Float32Array.from({ length: nBits }, (_, bit) => ((code[bit >> 3] >> (bit & 7)) & 1 ? 1 : -1));

/** Compute the distance of every code, in the query's units. */
export function distancesOf(codes, query) {
  const width = query.code.length;
  const { tables } = query;
  const count = codes.length / width;
  const distances = new Int32Array(count);
  for (let item = 0, place = 0; item < count; item += 1) {
    let units = 0;
    for (let table = 0; table < tables.length; table += 256) units += tables[table + codes[place++]];
    distances[item] = units;
  }
  return distances;
}

/** Return the `k` items of the smallest distances, nearest first; of equal ones the one added first. */
export function nearest(distances, k, isKept = null) {
  const size = Math.min(k, distances.length);
  const heap = new Float64Array(size); // distance and item as one number, the largest on top
  let filled = 0;
  for (let item = 0; item < distances.length; item += 1) {
    if (isKept && !isKept(item)) continue;
    const key = distances[item] * 2 ** 28 + item;
    if (filled < size) rise(heap, filled++, key);
    else if (size && key < heap[0]) sink(heap, filled, key);
  }
  return Array.from(heap.subarray(0, filled).sort(), (key) => key % 2 ** 28);
}

function rise(heap, place, key) {
  while (place) {
    const above = (place - 1) >> 1;
    if (heap[above] >= key) break;
    heap[place] = heap[above];
    place = above;
  }
  heap[place] = key;
}

function sink(heap, size, key) {
  let place = 0;
  for (let below = 1; below < size; below = 2 * place + 1) {
    if (below + 1 < size && heap[below + 1] > heap[below]) below += 1;
    if (heap[below] <= key) break;
    heap[place] = heap[below];
    place = below;
  }
  heap[place] = key;
}

/** Combine relaxed codes, each of length 1, with their weights; a single one stays as it is. */
export function combine(parts) {
  if (parts.length === 1 && parts[0].weight > 0) return parts[0].relaxed;
  const total = new Float32Array(parts[0].relaxed.length);
  for (const { relaxed, weight } of parts) {
    const length = Math.fround(Math.sqrt(relaxed.reduce((sum, one) => sum + one * one, 0)));
    if (!(length > 0)) continue;
    const factor = Math.fround(weight / length);
    relaxed.forEach((value, bit) => {
      total[bit] = Math.fround(total[bit] + Math.fround(factor * value));
    });
  }
  return total;
}
