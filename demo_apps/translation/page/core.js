function floats(shape, values = new Float32Array(sizeOf(shape))) {
  return { dtype: "F32", shape, values };
}
function integers(shape, values) {
  return { dtype: "I32", shape, values: Int32Array.from(values) };
}
function floatsOf(outputs, name) {
  const found = outputs[name]?.values;
  if (!(found instanceof Float32Array)) throw new Error(`The file gives no ${name} in float32: run the demo again.`);
  return found;
}
function sizeOf(shape) {
  return shape.reduce((product, length) => product * length, 1);
}
function largest(values, from = 0, to = values.length) {
  let best = from;
  for (let place = from + 1; place < to; place++) if (values[place] > values[best]) best = place;
  return best;
}
function logSoftmax(logits, from = 0, to = logits.length) {
  const wide = Array.from({ length: to - from }, (_, place) => logits[from + place]);
  const most = Math.max(...wide);
  const total = most + Math.log(wide.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return wide.map((value) => value - total);
}
const WRITTEN = "next_";
const MEMORY = "memory_";
async function translate(predict, [source, target], limits, given) {
  const text = given.trim().split(/\s+/).join(" ");
  if (!text) throw new Error("The text is empty; write an English sentence, such as Where is my book?");
  const unknown = source.unknownIn(text);
  if (unknown.length) {
    throw new Error(`No training text had the characters ${unknown.join(" ")}; leave them out or spell them.`);
  }
  const tokens = source.encode(text);
  if (tokens.length > limits.longest_source) {
    throw new Error(
      `The text has ${tokens.length} tokens, but this file reads at most ${limits.longest_source} (about ${Math.floor(limits.longest_source * 3 / 4)} words); give it a sentence at a time.`
    );
  }
  return target.decode(await greedy(predict, tokens, limits));
}
async function greedy(predict, tokens, limits) {
  const padded = [...tokens, ...new Array(limits.longest_source - tokens.length).fill(0)];
  const source = integers([1, limits.longest_source], padded);
  const memory = await predict({ source }, "encode");
  let caches = emptyCaches(memory, limits.longest_target);
  const written = [];
  for (let token = limits.begin; written.length < limits.longest_target; ) {
    const position = integers([1, 1], [written.length]);
    const outputs = await predict({ token: integers([1, 1], [token]), position, source, ...memory, ...caches }, "step");
    caches = {};
    for (const [name, value] of Object.entries(outputs)) {
      if (name.startsWith(WRITTEN)) caches[name.slice(WRITTEN.length)] = value;
    }
    token = largest(floatsOf(outputs, "logits"));
    if (token === limits.end) break;
    written.push(token);
  }
  return written;
}
function emptyCaches(memory, longestTarget) {
  return Object.fromEntries(
    Object.entries(memory).map(([name, { shape }]) => [name.replace(MEMORY, ""), floats([1, longestTarget, shape.at(-1)])])
  );
}
const SPACE = "▁";
const UNKNOWN_PIECE = 2;
const CONTROL_PIECE = 3;
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 };
class Vocabulary {
  pieces = [];
  numbers = /* @__PURE__ */ new Map();
  unknown;
  charsmap;
  /** `model` is a ModelProto of sentencepiece. */
  constructor(model) {
    let charsmap = new Uint8Array();
    for (const { field, bytes } of fields(new Uint8Array(model))) {
      if (field === 1) this.pieces.push(pieceOf(bytes));
      if (field === 3) {
        for (const part of fields(bytes)) if (part.field === 2) charsmap = part.bytes;
      }
    }
    this.unknown = this.pieces.findIndex(({ kind }) => kind === UNKNOWN_PIECE);
    if (this.unknown < 0) throw new Error("A vocabulary is damaged: run the demo again.");
    this.pieces.forEach(({ text, kind }, number) => {
      if (kind !== UNKNOWN_PIECE && kind !== CONTROL_PIECE) this.numbers.set(text, number);
    });
    this.charsmap = new CharsMap(charsmap);
  }
  /** The text's tokens, without a beginning or an end. */
  encode(text) {
    const found = [];
    for (const symbol of this.merged(this.normalized(text))) {
      const number = this.numbers.get(symbol) ?? this.unknown;
      if (number !== this.unknown || found.at(-1) !== this.unknown) found.push(number);
    }
    return found;
  }
  /** The text of tokens; those that stand for no piece of a word are left out. */
  decode(tokens) {
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
  unknownIn(text) {
    return [...new Set(text)].filter((character) => /\S/.test(character) && this.encode(character).includes(this.unknown));
  }
  /** One space before the text and between words, none behind; characters as the training text's were. */
  normalized(text) {
    let found = "";
    let spaced = true;
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
  merged(text) {
    const symbols = [...text].map((one, place) => ({ text: one, before: place - 1, after: place + 1 }));
    if (!symbols.length) return [];
    symbols.at(-1).after = -1;
    const merges = [];
    const offer = (left, right) => {
      if (left < 0 || right < 0) return;
      const joined = symbols[left].text + symbols[right].text;
      const number = this.numbers.get(joined);
      if (number !== void 0) merges.push({ left, right, score: this.pieces[number].score, size: joined.length });
    };
    for (let place = 1; place < symbols.length; place++) offer(place - 1, place);
    while (merges.length) {
      const { left, right, size } = merges.splice(bestOf(merges), 1)[0];
      const [one, other] = [symbols[left], symbols[right]];
      if (!one.text || !other.text || one.text.length + other.text.length !== size) continue;
      one.text += other.text;
      one.after = other.after;
      if (other.after >= 0) symbols[other.after].before = left;
      other.text = "";
      offer(one.before, left);
      offer(left, one.after);
    }
    return symbols.map((symbol) => symbol.text).filter((symbol) => symbol);
  }
}
function bestOf(merges) {
  return merges.reduce((best, { score, left }, place) => {
    const held = merges[best];
    return score > held.score || score === held.score && left < held.left ? place : best;
  }, 0);
}
class CharsMap {
  tree;
  written;
  constructor(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = bytes.length >= 4 ? view.getUint32(0, true) : 0;
    this.tree = Uint32Array.from({ length: size / 4 }, (_, place) => view.getUint32(4 + 4 * place, true));
    this.written = bytes.subarray(4 + size);
  }
  /** The text in parts, each replaced: always the longest that has a replacement, else one character. */
  *parts(text) {
    const bytes = new TextEncoder().encode(text);
    const decoder = new TextDecoder();
    for (let at = 0; at < bytes.length; ) {
      const found = this.longest(bytes, at);
      const size = found?.size ?? lengthOf(bytes[at]);
      yield found ? this.replacement(found.place) : decoder.decode(bytes.subarray(at, at + size));
      at += size;
    }
  }
  longest(bytes, at) {
    if (!this.tree.length) return void 0;
    let found;
    let node = offset(this.tree[0]);
    for (let place = at; place < bytes.length; place++) {
      node ^= bytes[place];
      const unit = this.tree[node] ?? 0;
      if ((unit & 2147483903) !== bytes[place]) break;
      node ^= offset(unit);
      if (unit >>> 8 & 1) found = { size: place + 1 - at, place: this.tree[node] & 2147483647 };
    }
    return found;
  }
  replacement(place) {
    return new TextDecoder().decode(this.written.subarray(place, this.written.indexOf(0, place)));
  }
}
const offset = (unit) => unit >>> 10 << ((unit & 512) >>> 6);
function lengthOf(first) {
  return first < 128 ? 1 : first < 224 ? 2 : first < 240 ? 3 : 4;
}
function pieceOf(bytes) {
  const piece = { text: "", score: 0, kind: 1 };
  for (const { field, bytes: value, number } of fields(bytes)) {
    if (field === 1) piece.text = new TextDecoder().decode(value);
    if (field === 2) piece.score = new DataView(value.buffer, value.byteOffset).getFloat32(0, true);
    if (field === 3) piece.kind = number;
  }
  return piece;
}
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++];
      if (byte === void 0) throw new Error("A vocabulary is damaged: run the demo again.");
      value += (byte & 127) * shift;
      if (byte < 128) return value;
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
export {
  Vocabulary,
  floats,
  floatsOf,
  greedy,
  integers,
  largest,
  logSoftmax,
  sizeOf,
  translate
};
