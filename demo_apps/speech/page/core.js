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
const BLANK = 0;
const EDGE = "";
const SPELL = "_";
const ENDINGS = ["TEEN", "TY", "TH"];
const SHORTEST_STEM = 3;
class Tokens {
  constructor(names) {
    this.names = names;
    this.numbers = new Map(names.map((name, number) => [name, number]));
  }
  numbers;
  /** The tokens of a word of capital letters. */
  ofWord(word) {
    const [stem, ...endings] = parts(word);
    const start = this.numbers.has(stem) ? [stem] : [SPELL, ...[...stem].map((letter) => `-${letter}`)];
    return [...start, ...endings.map((ending) => `-${ending}`)].map((name) => {
      const number = this.numbers.get(name);
      if (number === void 0) throw new Error(`No token spells ${name} of ${word}: run the demo again.`);
      return number;
    });
  }
  /** The words that tokens spell; an inner part without a beginning starts a word itself. */
  decode(tokens) {
    const words = [];
    for (const token of tokens) {
      const name = this.names[token];
      if (name.startsWith("-") && words.length) words[words.length - 1] += name.slice(1);
      else if (token !== BLANK) words.push(name === SPELL ? "" : name.replace(/^-/, ""));
    }
    return words.filter((word) => word);
  }
}
function parts(word) {
  const endings = [];
  for (; ; ) {
    const ending = ENDINGS.find((end) => word.endsWith(end) && word.length - end.length >= SHORTEST_STEM);
    if (ending === void 0) return [word, ...endings];
    word = word.slice(0, -ending.length);
    endings.unshift(ending);
  }
}
class Bigram {
  constructor(pairs, words) {
    this.pairs = pairs;
    this.words = words;
    for (const followers of Object.values(pairs)) {
      for (const [word, count] of Object.entries(followers)) this.singles.set(word, (this.singles.get(word) ?? 0) + count);
    }
    if (!this.singles.size) this.singles.set(EDGE, 0);
    this.heard = [...this.singles.values()].reduce((sum, count) => sum + count, 0);
  }
  singles = /* @__PURE__ */ new Map();
  heard;
  logProbability(first, second) {
    const followers = Object.hasOwn(this.pairs, first) ? this.pairs[first] : {};
    const counts = Object.values(followers);
    const heard = counts.reduce((sum, count2) => sum + count2, 0);
    const common = this.common(second);
    if (!heard) return Math.log(common);
    const count = Object.hasOwn(followers, second) ? followers[second] : 0;
    return Math.log((count + counts.length * common) / (heard + counts.length));
  }
  common(word) {
    const kinds = this.singles.size;
    return ((this.singles.get(word) ?? 0) + kinds / (this.words + 1)) / (this.heard + kinds);
  }
}
const UNHEARD = -9;
const LANGUAGE_WEIGHT = 0.1;
const WIDTH = 16;
const TOKENS_PER_FRAME = 12;
function greedy({ values, frames, tokens }) {
  const found = [];
  for (let frame = 0, before = BLANK; frame < frames; frame++) {
    const token = largest(values, frame * tokens, (frame + 1) * tokens) - frame * tokens;
    if (token !== before && token !== BLANK) found.push(token);
    before = token;
  }
  return found;
}
class DictionaryBeam {
  constructor(tokens, dictionary, bigram) {
    this.bigram = bigram;
    for (const word of dictionary) {
      let node = this.root;
      for (const token of tokens.ofWord(word)) {
        if (!node.next.has(token)) node.next.set(token, { next: /* @__PURE__ */ new Map() });
        node = node.next.get(token);
      }
      node.word = word;
    }
  }
  root = { next: /* @__PURE__ */ new Map() };
  words({ values, frames, tokens }) {
    let beam = [{ prefix: [], node: this.root, words: [], language: 0, blank: 0, token: -Infinity }];
    for (let frame = 0; frame < frames; frame++) {
      const logs = logSoftmax(values, frame * tokens, (frame + 1) * tokens);
      beam = this.best(this.after(beam, logs));
    }
    let best = { score: -Infinity, words: [] };
    for (const hypothesis of beam) {
      const done = this.finished(hypothesis);
      if (done && done.score > best.score) best = done;
    }
    return best.words;
  }
  after(beam, frame) {
    const heard = frame.map((_, token) => token).filter((token) => frame[token] > UNHEARD && token !== BLANK);
    const likely = heard.sort((one, other) => frame[other] - frame[one]).slice(0, TOKENS_PER_FRAME);
    const after = /* @__PURE__ */ new Map();
    const of = (prefix, node, words, language) => {
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
      same.blank = added(same.blank, sound$1(old) + frame[BLANK]);
      if (last !== void 0) same.token = added(same.token, old.token + frame[last]);
      for (const token of likely) {
        const heardSo = (token === last ? old.blank : sound$1(old)) + frame[token];
        const step = heardSo > -Infinity ? this.step(old, token) : void 0;
        if (!step) continue;
        const made = of([...old.prefix, token], step.node, step.words, step.language);
        made.token = added(made.token, heardSo);
      }
    }
    return [...after.values()];
  }
  /** Where a token leads: on within the word, or to the next word where one ends. */
  step(old, token) {
    const within = old.node.next.get(token);
    if (within) return { node: within, words: old.words, language: old.language };
    const start = this.root.next.get(token);
    if (old.node.word === void 0 || !start) return void 0;
    const language = old.language + this.wordScore(old.words, old.node.word);
    return { node: start, words: [...old.words, old.node.word], language };
  }
  best(after) {
    const scored = after.map((hypothesis) => ({ hypothesis, score: sound$1(hypothesis) + this.expected(hypothesis) }));
    scored.sort((one, other) => other.score > one.score ? 1 : other.score < one.score ? -1 : 0);
    return scored.slice(0, WIDTH).map(({ hypothesis }) => hypothesis);
  }
  /** What language says, the word that may just have ended included. */
  expected({ node, words, language }) {
    return language + (node.word === void 0 ? 0 : this.wordScore(words, node.word));
  }
  finished(hypothesis) {
    const { node } = hypothesis;
    if (node !== this.root && node.word === void 0) return void 0;
    const words = node === this.root ? hypothesis.words : [...hypothesis.words, node.word];
    const end = LANGUAGE_WEIGHT * this.bigram.logProbability(words.at(-1) ?? EDGE, EDGE);
    return { score: sound$1(hypothesis) + this.expected(hypothesis) + end, words };
  }
  wordScore(before, word) {
    return LANGUAGE_WEIGHT * this.bigram.logProbability(before.at(-1) ?? EDGE, word);
  }
}
const sound$1 = ({ blank, token }) => added(blank, token);
function added(one, other) {
  const [low, high] = one < other ? [one, other] : [other, one];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}
const DIGITS = { rate: 8e3, window: 200, hop: 80, fft: 256, bands: 40, lowHz: 60, highHz: 4e3 };
const DIGITS_FRAMES = 101;
const SENTENCES = { rate: 16e3, window: 400, hop: 160, fft: 512, bands: 64, lowHz: 40, highHz: 7600 };
const DIGITS_FLOOR = 1e-5;
const SENTENCES_FLOOR = 2e-4;
class Bands {
  constructor(spec) {
    this.spec = spec;
    const { window, fft, bands, rate, lowHz, highHz } = spec;
    this.hann = Float64Array.from({ length: window }, (_, n) => 0.5 - 0.5 * Math.cos(2 * Math.PI * n / (window - 1)));
    this.real = new Float64Array(fft);
    this.imaginary = new Float64Array(fft);
    const [low, high] = [mel(lowHz), mel(highHz)];
    const corners = Array.from({ length: bands + 2 }, (_, n) => hertz(low + (high - low) * n / (bands + 1)));
    for (let band = 0; band < bands; band++) {
      const [below, middle, above] = corners.slice(band, band + 3);
      const weights = Array.from({ length: fft / 2 + 1 }, (_, bin) => {
        const frequency = rate * bin / fft;
        return Math.max(0, Math.min((frequency - below) / (middle - below), (above - frequency) / (above - middle)));
      });
      const heard = weights.map((_, bin) => bin).filter((bin) => weights[bin] > 0);
      const [first, last] = [heard[0] ?? 0, heard.at(-1) ?? 0];
      this.filters.push({ first, weights: Float32Array.from(weights.slice(first, last + 1)) });
    }
  }
  hann;
  filters = [];
  real;
  imaginary;
  /** Of the frame that begins at a sample. */
  of(samples, at2, write) {
    this.real.fill(0);
    this.imaginary.fill(0);
    for (let n = 0; n < this.spec.window; n++) this.real[n] = samples[at2 + n] * this.hann[n];
    transform(this.real, this.imaginary);
    this.filters.forEach(({ first, weights }, band) => {
      let power = 0;
      for (let n = 0; n < weights.length; n++) {
        power += weights[n] * (this.real[first + n] ** 2 + this.imaginary[first + n] ** 2);
      }
      write(band, power);
    });
  }
}
function digitsMap(clip) {
  const { window, hop, bands } = DIGITS;
  const second = hop * (DIGITS_FRAMES - 1);
  const spare = clip.length - second;
  const kept = spare > 0 ? clip.subarray(spare >> 1, (spare >> 1) + second) : clip;
  const centred = new Float32Array(second + window);
  centred.set(kept, window / 2 + (second - kept.length >> 1));
  const map = new Float32Array(bands * DIGITS_FRAMES);
  const frame = new Bands(DIGITS);
  for (let place = 0; place < DIGITS_FRAMES; place++) {
    frame.of(centred, place * hop, (band, power) => map[band * DIGITS_FRAMES + place] = power);
  }
  const loudest = map.reduce((most, power) => Math.max(most, power), 1e-10);
  return map.map((power) => Math.log(power / loudest + DIGITS_FLOOR));
}
function sentencesMap(recording) {
  const { window, hop, bands } = SENTENCES;
  const samples = recording.length < window ? new Float32Array(window) : recording;
  if (samples !== recording) samples.set(recording);
  const frames = Math.floor((samples.length - window) / hop) + 1;
  const map = new Float32Array(bands * frames);
  const frame = new Bands(SENTENCES);
  for (let place = 0; place < frames; place++) {
    frame.of(samples, place * hop, (band, power) => map[band * frames + place] = Math.log(power + SENTENCES_FLOOR));
  }
  return { map, frames };
}
const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
const hertz = (mels) => 700 * (10 ** (mels / 2595) - 1);
function transform(real, imaginary) {
  const size = real.length;
  for (let place = 1, mirror = 0; place < size; place++) {
    let bit = size >> 1;
    for (; mirror & bit; bit >>= 1) mirror ^= bit;
    mirror ^= bit;
    if (place < mirror) {
      [real[place], real[mirror]] = [real[mirror], real[place]];
      [imaginary[place], imaginary[mirror]] = [imaginary[mirror], imaginary[place]];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    for (let turn = 0; turn < length / 2; turn++) {
      const angle = -2 * Math.PI * turn / length;
      const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
      for (let even = turn; even < size; even += length) {
        const odd = even + length / 2;
        const x = real[odd] * cosine - imaginary[odd] * sine;
        const y = real[odd] * sine + imaginary[odd] * cosine;
        [real[odd], imaginary[odd]] = [real[even] - x, imaginary[even] - y];
        [real[even], imaginary[even]] = [real[even] + x, imaginary[even] + y];
      }
    }
  }
}
async function nameDigit(predict, normal, samples) {
  const map = digitsMap(samples);
  const features = map.map((value) => (value - normal.mean) / normal.deviation);
  const outputs = await predict({ features: floats([1, 1, DIGITS.bands, DIGITS_FRAMES], features) }, "main");
  const sure = logSoftmax(floatsOf(outputs, "logits")).map(Math.exp);
  const best = largest(sure);
  return { text: `${best} (${(100 * sure[best]).toFixed(0)} % sure)`, sure, map };
}
function loudestSecond(samples, rate) {
  if (samples.length <= rate) return samples;
  let energy = 0;
  let [most, start] = [0, 0];
  for (let place = 0; place < samples.length; place++) {
    energy += samples[place] ** 2 - (place >= rate ? samples[place - rate] ** 2 : 0);
    if (place >= rate - 1 && energy > most) [most, start] = [energy, place - rate + 1];
  }
  return samples.slice(start, start + rate);
}
class Listener {
  constructor(facts, names, dictionary, pairs) {
    this.facts = facts;
    this.tokens = new Tokens(names);
    this.beam = new DictionaryBeam(this.tokens, dictionary, new Bigram(pairs, dictionary.length));
  }
  beam;
  tokens;
  async hear(predict, samples) {
    const { map, frames } = sentencesMap(samples);
    const logits = await this.logits(predict, map, frames);
    const plain = this.tokens.decode(greedy(logits)).join(" ");
    const likely = this.beam.words(logits).join(" ");
    return { text: `${likely || "(nothing understood)"}
token by token: ${plain || "(nothing)"}`, map };
  }
  async logits(predict, map, frames) {
    const { chunk_frames: chunk, delay_frames: delay, subsampling, mean, deviation, state } = this.facts;
    const { bands } = SENTENCES;
    let caches = Object.fromEntries(Object.entries(this.facts.caches).map(([name, shape]) => [name, floats(shape)]));
    const heard = [];
    let tokens = 0;
    for (let start = 0; start < frames + delay; start += chunk) {
      const features = new Float32Array(bands * chunk);
      for (let band = 0; band < bands; band++) {
        for (let frame = 0; frame < chunk && start + frame < frames; frame++) {
          const value = map[band * frames + start + frame];
          features[band * chunk + frame] = (value - mean[band]) / deviation[band];
        }
      }
      const outputs = await predict({ features: floats([1, 1, bands, chunk], features), ...caches }, "main");
      caches = Object.fromEntries(state.map(([written, read]) => [read, outputs[written]]));
      heard.push(floatsOf(outputs, "logits"));
      tokens = outputs["logits"].shape.at(-1);
    }
    const answered = Math.ceil((frames + delay) / subsampling);
    const values = new Float32Array(heard.reduce((sum, part) => sum + part.length, 0));
    heard.reduce((place, part) => (values.set(part, place), place + part.length), 0);
    return { values, frames: answered, tokens };
  }
}
const KAISER_BETA = 5;
function resampled(samples, oldRate, rate) {
  const common = divisor(rate, oldRate);
  const [up, down] = [rate / common, oldRate / common];
  const reach = 10 * Math.max(up, down);
  const filter = lowpass(reach, 1 / Math.max(up, down));
  const found = new Float32Array(Math.ceil(samples.length * up / down));
  for (let place = 0; place < found.length; place++) {
    const middle = place * down;
    const first = Math.max(0, Math.ceil((middle - reach) / up));
    const last = Math.min(samples.length - 1, Math.floor((middle + reach) / up));
    let sum = 0;
    for (let from = first; from <= last; from++) sum += samples[from] * filter[middle + reach - from * up];
    found[place] = up * sum;
  }
  return found;
}
function lowpass(reach, cutoff) {
  const taps = Float64Array.from({ length: 2 * reach + 1 }, (_, n) => {
    const x = cutoff * (n - reach);
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return sinc * bessel(KAISER_BETA * Math.sqrt(1 - ((n - reach) / reach) ** 2));
  });
  const sum = taps.reduce((total, tap) => total + tap, 0);
  return Float32Array.from(taps, (tap) => tap / sum);
}
function bessel(x) {
  let [term, sum] = [1, 1];
  for (let n = 1; term > 1e-17 * sum; n++) sum += term *= (x / (2 * n)) ** 2;
  return sum;
}
function divisor(one, other) {
  return other === 0 ? one : divisor(other, one % other);
}
const LONGEST_SECONDS = 30;
const RATES = [4e3, 192e3];
const MOST_CHANNELS = 8;
const PCM = 1;
function readWav(bytes, rate) {
  const view = new DataView(bytes);
  const word = (at2) => String.fromCharCode(...new Uint8Array(bytes, at2, 4));
  if (bytes.byteLength < 12 || word(0) !== "RIFF" || word(8) !== "WAVE") return void 0;
  let format;
  for (let at2 = 12; at2 + 8 <= bytes.byteLength; ) {
    const [kind, size] = [word(at2), view.getUint32(at2 + 4, true)];
    const content = at2 + 8;
    if (kind === "fmt ") {
      if (content + 16 > bytes.byteLength) break;
      if (view.getUint16(content, true) !== PCM) return void 0;
      const channels = view.getUint16(content + 2, true);
      format = { channels, found: view.getUint32(content + 4, true), width: view.getUint16(content + 14, true) + 7 >> 3 };
    }
    if (kind === "data" && format) return sound(view, content, size, format, rate);
    at2 = content + size + (size & 1);
  }
  throw new Error("The file ends within its header, so it was cut off: save it anew.");
}
function sound(view, from, size, { channels, found, width }, rate) {
  const good = channels >= 1 && channels <= MOST_CHANNELS && width >= 1 && width <= 4 && found >= RATES[0] && found <= RATES[1];
  if (!good) {
    throw new Error(
      `The file has ${channels} channel(s) of ${8 * width} bits at ${found} Hz, but may have 1 to ${MOST_CHANNELS} of 8 to 32 bits at ${RATES[0]} to ${RATES[1]} Hz: convert it.`
    );
  }
  const frames = Math.floor(size / (channels * width));
  refuseLong(frames / found);
  if (frames === 0) throw new Error("The file holds no samples: give a recording of speech.");
  if (from + frames * channels * width > view.byteLength) {
    throw new Error("The file holds fewer samples than its header promises, so it was cut off: save it anew.");
  }
  const mixed = new Float32Array(frames);
  for (let frame = 0; frame < frames; frame++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) {
      sum += Math.fround(sample(view, from + (frame * channels + channel) * width, width));
    }
    mixed[frame] = sum / channels;
  }
  return at(mixed, found, rate, channels);
}
function at(mixed, found, rate, channels) {
  const done = channels > 1 ? [`${channels} channels mixed down`] : [];
  if (found === rate) return { samples: mixed, done: done.join(", ") };
  done.push(`resampled from ${found} Hz`);
  return { samples: resampled(mixed, found, rate), done: done.join(", ") };
}
function refuseLong(seconds) {
  if (seconds > LONGEST_SECONDS) {
    throw new Error(`The recording is ${seconds.toFixed(0)} s long, but may last ${LONGEST_SECONDS} s: cut it.`);
  }
}
function sample(view, place, width) {
  if (width === 1) return (view.getUint8(place) - 128) / 128;
  if (width === 2) return view.getInt16(place, true) / 2 ** 15;
  if (width === 3) return ((view.getUint8(place) | view.getInt16(place + 1, true) << 8) << 0) / 2 ** 23;
  return view.getInt32(place, true) / 2 ** 31;
}
export {
  BLANK,
  Bigram,
  DIGITS,
  DIGITS_FRAMES,
  DictionaryBeam,
  EDGE,
  Listener,
  SENTENCES,
  Tokens,
  at,
  digitsMap,
  floats,
  floatsOf,
  greedy,
  integers,
  largest,
  logSoftmax,
  loudestSecond,
  nameDigit,
  readWav,
  refuseLong,
  resampled,
  sentencesMap,
  sizeOf
};
