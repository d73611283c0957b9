// From words to the numbers of a query: word pieces, their vectors, the text network, the hash function.
//
// The networks are ONNX files, which onnxruntime-web computes. The table of word vectors, more than half
// of the text network, comes in pieces: only those of the words that are searched for.
import { WordPieces } from "./word_pieces.js";

const OPTIONS = { executionProviders: ["wasm"], logSeverityLevel: 3 }; // errors alone
export const DECODERS = {
  float32: (bytes) => new Float32Array(bytes),
  float16: (bytes) => Float32Array.from(new Uint16Array(bytes), half),
  int8: scaled,
};

/** Convert a half-precision number. */
function half(bits) {
  const fraction = bits & 1023;
  const exponent = (bits >> 10) & 31;
  const size = exponent === 31 ? (fraction ? NaN : Infinity)
    : exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}

/** Convert rows of one float32 and whole numbers, which it scales. */
function scaled(bytes, width) {
  const count = bytes.byteLength / (width + 4);
  const scales = new Float32Array(bytes, 0, count);
  const whole = new Int8Array(bytes, 4 * count);
  return Float32Array.from(whole, (value, place) => Math.fround(value * scales[Math.floor(place / width)]));
}

/** Encodes texts; `facts` are the entry "text" of site.json, `load` fetches a file of the site. */
export class QueryEncoder {
  constructor(facts, load) {
    Object.assign(this, { facts, load, vectors: new Map() });
    this.ready = null;
  }

  /** Load what every query needs; done once, again after a failure. */
  prepare() {
    this.ready ??= this.open().catch((error) => {
      this.ready = null;
      throw error;
    });
    return this.ready;
  }

  async open() {
    const { facts, load } = this;
    const files = [load(facts.tokenizer), load(facts.encoder), load(facts.head)];
    const runtime = await import(new URL(facts.runtime.module, load.base).href);
    runtime.env.wasm.numThreads = 1; // more need headers that a plain web server doesn't send
    runtime.env.wasm.wasmPaths = { wasm: new URL(facts.runtime.wasm, load.base).href };
    runtime.env.logLevel = "error";
    const [rules, encoder, head] = await Promise.all(files);
    const open = (bytes) => runtime.InferenceSession.create(new Uint8Array(bytes), OPTIONS);
    this.words = new WordPieces(JSON.parse(new TextDecoder().decode(rules)));
    this.runtime = runtime;
    this.encoder = await open(encoder);
    this.head = await open(head);
    await this.run([this.words.rules.unknown]); // the first run is slow
  }

  /** Return a text's relaxed code, a Float32Array, and whether the model knows any word of it. */
  async encode(text) {
    await this.prepare();
    const { numbers, isKnown } = this.words.encode(text);
    return { relaxed: await this.run(numbers), isKnown };
  }

  async run(numbers) {
    const { Tensor } = this.runtime;
    const { facts } = this;
    const length = Math.max(numbers.length, facts.pad_to);
    const padded = [...numbers, ...new Array(length - numbers.length).fill(facts.fill)];
    const whole = (values) => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, length]);
    const feeds = {};
    for (const name of this.encoder.inputNames) {
      if (name === "input_ids") feeds[name] = whole(padded);
      if (name === "attention_mask") feeds[name] = whole(padded.map((_, place) => Number(place < numbers.length)));
      if (name === "word_vectors") {
        feeds[name] = new Tensor("float32", await this.vectorsOf(padded), [1, length, facts.vectors.width]);
      }
    }
    const { features } = await this.encoder.run(feeds);
    const { relaxed } = await this.head.run({ features });
    return relaxed.data;
  }

  async vectorsOf(numbers) {
    const { width, rows } = this.facts.vectors;
    const pieces = await Promise.all(numbers.map((number) => this.piece(Math.floor(number / rows))));
    const vectors = new Float32Array(numbers.length * width);
    numbers.forEach((number, place) => {
      const row = number % rows;
      vectors.set(pieces[place].subarray(row * width, (row + 1) * width), place * width);
    });
    return vectors;
  }

  /** Return the vectors of one piece of the table. */
  piece(number) {
    const { vectors, facts } = this;
    if (!vectors.has(number)) {
      const name = `${facts.vectors.files}${String(number).padStart(5, "0")}.bin`;
      const loaded = this.load(name).then((bytes) => DECODERS[facts.vectors.kind](bytes, facts.vectors.width));
      loaded.catch(() => vectors.delete(number));
      vectors.set(number, loaded);
    }
    return vectors.get(number);
  }
}
