// What the network writes, and which word follows which: as sentences/_tokens.py and _language.py.

export const BLANK = 0;
export const EDGE = ""; // what comes before the first word and after the last

const SPELL = "_";
const ENDINGS = ["TEEN", "TY", "TH"];
const SHORTEST_STEM = 3;

export class Tokens {
  private readonly numbers: Map<string, number>;

  constructor(readonly names: string[]) {
    this.numbers = new Map(names.map((name, number) => [name, number]));
  }

  /** The tokens of a word of capital letters. */
  ofWord(word: string): number[] {
    const [stem, ...endings] = parts(word);
    const start = this.numbers.has(stem!) ? [stem!] : [SPELL, ...[...stem!].map((letter) => `-${letter}`)];
    return [...start, ...endings.map((ending) => `-${ending}`)].map((name) => {
      const number = this.numbers.get(name);
      if (number === undefined) throw new Error(`No token spells ${name} of ${word}: run the demo again.`);
      return number;
    });
  }

  /** The words that tokens spell; an inner part without a beginning starts a word itself. */
  decode(tokens: number[]): string[] {
    const words: string[] = [];
    for (const token of tokens) {
      const name = this.names[token]!;
      if (name.startsWith("-") && words.length) words[words.length - 1] += name.slice(1);
      else if (token !== BLANK) words.push(name === SPELL ? "" : name.replace(/^-/, ""));
    }
    return words.filter((word) => word);
  }
}

/** A word's stem and endings. */
function parts(word: string): string[] {
  const endings: string[] = [];
  for (;;) {
    const ending = ENDINGS.find((end) => word.endsWith(end) && word.length - end.length >= SHORTEST_STEM);
    if (ending === undefined) return [word, ...endings];
    word = word.slice(0, -ending.length);
    endings.unshift(ending);
  }
}

/** The probability of a word after another, from counts, by the method of Witten and Bell. */
export class Bigram {
  private readonly singles = new Map<string, number>();
  private readonly heard: number;

  constructor(
    private readonly pairs: Record<string, Record<string, number>>,
    private readonly words: number,
  ) {
    for (const followers of Object.values(pairs)) {
      for (const [word, count] of Object.entries(followers)) this.singles.set(word, (this.singles.get(word) ?? 0) + count);
    }
    if (!this.singles.size) this.singles.set(EDGE, 0);
    this.heard = [...this.singles.values()].reduce((sum, count) => sum + count, 0);
  }

  logProbability(first: string, second: string): number {
    const followers = Object.hasOwn(this.pairs, first) ? this.pairs[first]! : {};
    const counts = Object.values(followers);
    const heard = counts.reduce((sum, count) => sum + count, 0);
    const common = this.common(second);
    if (!heard) return Math.log(common);
    const count = Object.hasOwn(followers, second) ? followers[second]! : 0;
    return Math.log((count + counts.length * common) / (heard + counts.length));
  }

  private common(word: string): number {
    const kinds = this.singles.size;
    return ((this.singles.get(word) ?? 0) + kinds / (this.words + 1)) / (this.heard + kinds);
  }
}
