// From logits to words: the likeliest token in each frame, or the likeliest sentence of known words. As
// sentences/_decode.py, whose comments say why.

import { largest, logSoftmax } from "../../shared/predict";
import { BLANK, EDGE, type Bigram, type Tokens } from "./tokens";

export interface Logits {
  values: Float32Array<ArrayBuffer>;
  frames: number;
  tokens: number;
}

const UNHEARD = -9;
const LANGUAGE_WEIGHT = 0.1;
const WIDTH = 16;
const TOKENS_PER_FRAME = 12;

/** The tokens of the likeliest path: repetitions and blanks taken out. */
export function greedy({ values, frames, tokens }: Logits): number[] {
  const found: number[] = [];
  for (let frame = 0, before = BLANK; frame < frames; frame++) {
    const token = largest(values, frame * tokens, (frame + 1) * tokens) - frame * tokens;
    if (token !== before && token !== BLANK) found.push(token);
    before = token;
  }
  return found;
}

/** A place in the dictionary: what has been spelled since the word began. */
interface Node {
  word?: string;
  next: Map<number, Node>;
}

interface Hypothesis {
  prefix: number[];
  node: Node;
  words: string[];
  language: number;
  /** Logarithm of the probability of all its paths that end in a blank, and in its last token. */
  blank: number;
  token: number;
}

/** CTC prefix beam search over the words of a dictionary only, weighed with a bigram. */
export class DictionaryBeam {
  private readonly root: Node = { next: new Map() };

  constructor(
    tokens: Tokens,
    dictionary: string[],
    private readonly bigram: Bigram,
  ) {
    for (const word of dictionary) {
      let node = this.root;
      for (const token of tokens.ofWord(word)) {
        if (!node.next.has(token)) node.next.set(token, { next: new Map() });
        node = node.next.get(token)!;
      }
      node.word = word;
    }
  }

  words({ values, frames, tokens }: Logits): string[] {
    let beam: Hypothesis[] = [{ prefix: [], node: this.root, words: [], language: 0, blank: 0, token: -Infinity }];
    for (let frame = 0; frame < frames; frame++) {
      const logs = logSoftmax(values, frame * tokens, (frame + 1) * tokens);
      beam = this.best(this.after(beam, logs));
    }
    let best: { score: number; words: string[] } = { score: -Infinity, words: [] };
    for (const hypothesis of beam) {
      const done = this.finished(hypothesis);
      if (done && done.score > best.score) best = done;
    }
    return best.words;
  }

  private after(beam: Hypothesis[], frame: number[]): Hypothesis[] {
    const heard = frame.map((_, token) => token).filter((token) => frame[token]! > UNHEARD && token !== BLANK);
    const likely = heard.sort((one, other) => frame[other]! - frame[one]!).slice(0, TOKENS_PER_FRAME);
    const after = new Map<string, Hypothesis>();
    const of = (prefix: number[], node: Node, words: string[], language: number): Hypothesis => {
      const key = prefix.join();
      const known = after.get(key);
      if (known) return known;
      const made = { prefix, node, words, language, blank: -Infinity, token: -Infinity };
      after.set(key, made);
      return made;
    };
    for (const old of beam) {
      const last = old.prefix.at(-1);
      const same = of(old.prefix, old.node, old.words, old.language);
      same.blank = added(same.blank, sound(old) + frame[BLANK]!);
      if (last !== undefined) same.token = added(same.token, old.token + frame[last]!);
      for (const token of likely) {
        const heardSo = (token === last ? old.blank : sound(old)) + frame[token]!;
        const step = heardSo > -Infinity ? this.step(old, token) : undefined;
        if (!step) continue;
        const made = of([...old.prefix, token], step.node, step.words, step.language);
        made.token = added(made.token, heardSo);
      }
    }
    return [...after.values()];
  }

  /** Where a token leads: on within the word, or to the next word where one ends. */
  private step(old: Hypothesis, token: number): Pick<Hypothesis, "node" | "words" | "language"> | undefined {
    const within = old.node.next.get(token);
    if (within) return { node: within, words: old.words, language: old.language };
    const start = this.root.next.get(token);
    if (old.node.word === undefined || !start) return undefined;
    const language = old.language + this.wordScore(old.words, old.node.word);
    return { node: start, words: [...old.words, old.node.word], language };
  }

  private best(after: Hypothesis[]): Hypothesis[] {
    const scored = after.map((hypothesis) => ({ hypothesis, score: sound(hypothesis) + this.expected(hypothesis) }));
    scored.sort((one, other) => (other.score > one.score ? 1 : other.score < one.score ? -1 : 0));
    return scored.slice(0, WIDTH).map(({ hypothesis }) => hypothesis);
  }

  /** What language says, the word that may just have ended included. */
  private expected({ node, words, language }: Hypothesis): number {
    return language + (node.word === undefined ? 0 : this.wordScore(words, node.word));
  }

  private finished(hypothesis: Hypothesis): { score: number; words: string[] } | undefined {
    const { node } = hypothesis;
    if (node !== this.root && node.word === undefined) return undefined;
    const words = node === this.root ? hypothesis.words : [...hypothesis.words, node.word!];
    const end = LANGUAGE_WEIGHT * this.bigram.logProbability(words.at(-1) ?? EDGE, EDGE);
    return { score: sound(hypothesis) + this.expected(hypothesis) + end, words };
  }

  private wordScore(before: string[], word: string): number {
    return LANGUAGE_WEIGHT * this.bigram.logProbability(before.at(-1) ?? EDGE, word);
  }
}

const sound = ({ blank, token }: Hypothesis): number => added(blank, token);

/** The logarithm of the sum of two numbers given by their logarithms. */
function added(one: number, other: number): number {
  const [low, high] = one < other ? [one, other] : [other, one];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}
