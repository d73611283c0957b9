// From a text to the numbers of its word pieces, as the tokenizer that the model was trained with.
//
// BERT's normaliser and WordPiece, as the package "tokenizers" has them: control characters go, white
// space becomes blanks, Chinese characters stand alone, accents go, letters become small; punctuation
// stands alone; then the longest piece that fits is taken, again and again.
const CHINESE = /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/u;
const SPACE = /\p{White_Space}/u;
const REMOVED = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u0000\uFFFD]/u;
const MARK = /\p{Mn}/gu;
const PUNCTUATION = /[\p{P}\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007E]/u;
const LATIN = /[A-Za-z0-9]/;

/** Remove control characters and make white space blanks. */
function clean(character) {
  if (character === "\t" || character === "\n" || character === "\r") return " ";
  if (REMOVED.test(character)) return "";
  return SPACE.test(character) ? " " : character;
}

/** Makes word pieces of texts; `rules` are the entry "tokenizer" of site.json with its words. */
export class WordPieces {
  constructor(rules) {
    this.rules = rules;
    this.numbers = new Map(rules.words.map((word, number) => [word, number]));
    const marks = Object.keys(rules.marks).sort((one, other) => other.length - one.length);
    const escaped = marks.map((mark) => mark.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    this.marks = marks.length ? new RegExp(`(${escaped.join("|")})`, "u") : null;
  }

  /** Return the numbers of a text's word pieces, and whether the model knows any of its words. */
  encode(text) {
    const { rules } = this;
    const inside = [];
    for (const part of this.marks ? text.split(this.marks) : [text]) {
      if (Object.hasOwn(rules.marks, part)) inside.push(rules.marks[part]);
      else for (const word of this.split(part)) inside.push(...this.pieces(word));
    }
    const room = rules.longest - rules.start.length - rules.end.length;
    const kept = inside.slice(0, Math.max(0, room));
    return { numbers: [...rules.start, ...kept, ...rules.end], isKnown: this.knows(kept) };
  }

  /** Split a text into words and single punctuation characters, normalised. */
  split(text) {
    const { rules } = this;
    let characters = [...text];
    if (rules.cleans) characters = characters.map(clean);
    if (rules.parts_chinese) characters = characters.map((one) => (CHINESE.test(one) ? ` ${one} ` : one));
    let normal = characters.join("");
    if (rules.strips_accents) normal = normal.normalize("NFD").replace(MARK, "");
    // Letter by letter: a text's last sigma has a form of its own, which the tokenizer doesn't know.
    if (rules.lowers) normal = [...normal].map((one) => one.toLowerCase()).join("");
    const words = [];
    let word = "";
    const end = () => {
      if (word) words.push(word);
      word = "";
    };
    for (const character of normal) {
      if (SPACE.test(character)) end();
      else if (PUNCTUATION.test(character)) {
        end();
        words.push(character);
      } else word += character;
    }
    end();
    return words;
  }

  /** Return the numbers of the pieces of a word; of one that no pieces make up, that of unknown. */
  pieces(word) {
    const { rules } = this;
    const characters = [...word];
    if (characters.length > rules.longest_word) return [rules.unknown];
    const numbers = [];
    for (let start = 0; start < characters.length;) {
      let end = characters.length;
      let number;
      for (; end > start; end -= 1) {
        const piece = (start ? rules.prefix : "") + characters.slice(start, end).join("");
        number = this.numbers.get(piece);
        if (number !== undefined) break;
      }
      if (number === undefined) return [rules.unknown];
      numbers.push(number);
      start = end;
    }
    return numbers;
  }

  /** Whether the model knows any of some pieces: has a Latin letter or digit, or is no mark. */
  knows(numbers) {
    const { known, words, unknown } = this.rules;
    if (known.rule === "latin") return numbers.some((one) => one !== unknown && LATIN.test(words[one]));
    return numbers.some((one) => !known.marks.includes(one));
  }
}
