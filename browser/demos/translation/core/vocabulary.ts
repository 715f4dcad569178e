// Text to token numbers and back, from the very model that sentencepiece keeps: byte-pair pieces of normalized text.

const SPACE = "\u2581"; // how a space is written in a piece
const UNKNOWN_PIECE = 2;
const CONTROL_PIECE = 3;
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 };

interface Piece {
  text: string;
  score: number;
  kind: number;
}

interface Symbol {
  text: string;
  before: number;
  after: number;
}

interface Merge {
  left: number;
  right: number;
  score: number;
  size: number;
}

export class Vocabulary {
  private readonly pieces: Piece[] = [];
  private readonly numbers = new Map<string, number>();
  private readonly unknown: number;
  private readonly charsmap: CharsMap;

  /** `model` is a ModelProto of sentencepiece. */
  constructor(model: ArrayBuffer) {
    let charsmap = new Uint8Array();
    for (const { field, bytes } of fields(new Uint8Array(model))) {
      if (field === 1) this.pieces.push(pieceOf(bytes));
      if (field === 3) for (const part of fields(bytes)) if (part.field === 2) charsmap = part.bytes;
    }
    this.unknown = this.pieces.findIndex(({ kind }) => kind === UNKNOWN_PIECE);
    if (this.unknown < 0) throw new Error("A vocabulary is damaged: run the demo again.");
    this.pieces.forEach(({ text, kind }, number) => {
      if (kind !== UNKNOWN_PIECE && kind !== CONTROL_PIECE) this.numbers.set(text, number);
    });
    this.charsmap = new CharsMap(charsmap);
  }

  /** The text's tokens, without a beginning or an end. */
  encode(text: string): number[] {
    const found: number[] = [];
    for (const symbol of this.merged(this.normalized(text))) {
      const number = this.numbers.get(symbol) ?? this.unknown;
      if (number !== this.unknown || found.at(-1) !== this.unknown) found.push(number); // unknown ones count together
    }
    return found;
  }

  /** The text of tokens; those that stand for no piece of a word are left out. */
  decode(tokens: number[]): string {
    let text = "";
    for (const token of tokens) {
      const piece = this.pieces[token];
      if (!piece || piece.kind === UNKNOWN_PIECE || piece.kind === CONTROL_PIECE) continue;
      const written = text === "" && piece.text.startsWith(SPACE) ? piece.text.slice(1) : piece.text;
      text += written.replaceAll(SPACE, " ");
    }
    return text;
  }

  /** The characters of a text that have no token. */
  unknownIn(text: string): string[] {
    return [...new Set(text)].filter((character) => /\S/.test(character) && this.encode(character).includes(this.unknown));
  }

  /** One space before the text and between words, none behind; characters as the training text's were. */
  private normalized(text: string): string {
    let found = "";
    let spaced = true; // what begins the text is dropped
    for (const part of this.charsmap.parts(text)) {
      for (const character of part) {
        if (character === " " && spaced) continue;
        found += character === " " ? SPACE : character;
        spaced = character === " ";
      }
    }
    while (found.endsWith(SPACE)) found = found.slice(0, -1);
    return found ? SPACE + found : "";
  }

  /** Characters joined pair by pair, the best pair first, equal ones from the left. */
  private merged(text: string): string[] {
    const symbols: Symbol[] = [...text].map((one, place) => ({ text: one, before: place - 1, after: place + 1 }));
    if (!symbols.length) return [];
    symbols.at(-1)!.after = -1;
    const merges: Merge[] = [];
    const offer = (left: number, right: number) => {
      if (left < 0 || right < 0) return;
      const joined = symbols[left]!.text + symbols[right]!.text;
      const number = this.numbers.get(joined);
      if (number !== undefined) merges.push({ left, right, score: this.pieces[number]!.score, size: joined.length });
    };
    for (let place = 1; place < symbols.length; place++) offer(place - 1, place);
    while (merges.length) {
      const { left, right, size } = merges.splice(bestOf(merges), 1)[0]!;
      const [one, other] = [symbols[left]!, symbols[right]!];
      // What was joined meanwhile is no pair any more.
      if (!one.text || !other.text || one.text.length + other.text.length !== size) continue;
      one.text += other.text;
      one.after = other.after;
      if (other.after >= 0) symbols[other.after]!.before = left;
      other.text = "";
      offer(one.before, left);
      offer(left, one.after);
    }
    return symbols.map((symbol) => symbol.text).filter((symbol) => symbol);
  }
}

function bestOf(merges: Merge[]): number {
  return merges.reduce((best, { score, left }, place) => {
    const held = merges[best]!;
    return score > held.score || (score === held.score && left < held.left) ? place : best;
  }, 0);
}

/** Replacements of characters, in the tree that sentencepiece keeps them in (a double array of 32 bits a place). */
class CharsMap {
  private readonly tree: Uint32Array;
  private readonly written: Uint8Array;

  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = bytes.length >= 4 ? view.getUint32(0, true) : 0;
    this.tree = Uint32Array.from({ length: size / 4 }, (_, place) => view.getUint32(4 + 4 * place, true));
    this.written = bytes.subarray(4 + size);
  }

  /** The text in parts, each replaced: always the longest that has a replacement, else one character. */
  *parts(text: string): Generator<string> {
    const bytes = new TextEncoder().encode(text);
    const decoder = new TextDecoder();
    for (let at = 0; at < bytes.length; ) {
      const found = this.longest(bytes, at);
      const size = found?.size ?? lengthOf(bytes[at]!);
      yield found ? this.replacement(found.place) : decoder.decode(bytes.subarray(at, at + size));
      at += size;
    }
  }

  private longest(bytes: Uint8Array, at: number): { size: number; place: number } | undefined {
    if (!this.tree.length) return undefined;
    let found: { size: number; place: number } | undefined;
    let node = offset(this.tree[0]!);
    for (let place = at; place < bytes.length; place++) {
      node ^= bytes[place]!;
      const unit = this.tree[node] ?? 0;
      if ((unit & 0x800000ff) !== bytes[place]) break;
      node ^= offset(unit);
      if ((unit >>> 8) & 1) found = { size: place + 1 - at, place: this.tree[node]! & 0x7fffffff };
    }
    return found;
  }

  private replacement(place: number): string {
    return new TextDecoder().decode(this.written.subarray(place, this.written.indexOf(0, place)));
  }
}

const offset = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);

/** Bytes of a UTF-8 character, by its first. */
function lengthOf(first: number): number {
  return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

function pieceOf(bytes: Uint8Array): Piece {
  const piece = { text: "", score: 0, kind: 1 };
  for (const { field, bytes: value, number } of fields(bytes)) {
    if (field === 1) piece.text = new TextDecoder().decode(value);
    if (field === 2) piece.score = new DataView(value.buffer, value.byteOffset).getFloat32(0, true);
    if (field === 3) piece.kind = number;
  }
  return piece;
}

/** The fields of a protocol buffer, in their order. */
function* fields(bytes: Uint8Array): Generator<{ field: number; bytes: Uint8Array<ArrayBuffer>; number: number }> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("A vocabulary is damaged: run the demo again.");
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key & 7;
    const number = wire === WIRE.varint ? varint() : 0;
    const size = wire === WIRE.bytes ? varint() : wire === WIRE.fixed64 ? 8 : wire === WIRE.fixed32 ? 4 : 0;
    yield { field: key >>> 3, bytes: bytes.slice(at, at + size), number };
    at += size;
  }
}
