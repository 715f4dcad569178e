// The front ends of both tasks: sound as log-mel bands, as demo_apps/speech/_features.py and sentences/_features.py.

type Floats = Float32Array<ArrayBuffer>;

interface Spec {
  rate: number;
  window: number;
  hop: number;
  fft: number;
  bands: number;
  lowHz: number;
  highHz: number;
}

export const DIGITS: Spec = { rate: 8000, window: 200, hop: 80, fft: 256, bands: 40, lowHz: 60, highHz: 4000 };
export const DIGITS_FRAMES = 101;
export const SENTENCES: Spec = { rate: 16000, window: 400, hop: 160, fft: 512, bands: 64, lowHz: 40, highHz: 7600 };

const DIGITS_FLOOR = 1e-5;
const SENTENCES_FLOOR = 2e-4;

/** Power in triangular bands of equal width on the mel scale. */
class Bands {
  private readonly hann: Float64Array;
  private readonly filters: { first: number; weights: Floats }[] = [];
  private readonly real: Float64Array;
  private readonly imaginary: Float64Array;

  constructor(readonly spec: Spec) {
    const { window, fft, bands, rate, lowHz, highHz } = spec;
    this.hann = Float64Array.from({ length: window }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (window - 1)));
    this.real = new Float64Array(fft);
    this.imaginary = new Float64Array(fft);
    const [low, high] = [mel(lowHz), mel(highHz)];
    const corners = Array.from({ length: bands + 2 }, (_, n) => hertz(low + ((high - low) * n) / (bands + 1)));
    for (let band = 0; band < bands; band++) {
      const [below, middle, above] = corners.slice(band, band + 3) as [number, number, number];
      const weights = Array.from({ length: fft / 2 + 1 }, (_, bin) => {
        const frequency = (rate * bin) / fft;
        return Math.max(0, Math.min((frequency - below) / (middle - below), (above - frequency) / (above - middle)));
      });
      const heard = weights.map((_, bin) => bin).filter((bin) => weights[bin]! > 0);
      const [first, last] = [heard[0] ?? 0, heard.at(-1) ?? 0];
      this.filters.push({ first, weights: Float32Array.from(weights.slice(first, last + 1)) });
    }
  }

  /** Of the frame that begins at a sample. */
  of(samples: Floats, at: number, write: (band: number, power: number) => void): void {
    this.real.fill(0);
    this.imaginary.fill(0);
    for (let n = 0; n < this.spec.window; n++) this.real[n] = samples[at + n]! * this.hann[n]!;
    transform(this.real, this.imaginary);
    this.filters.forEach(({ first, weights }, band) => {
      let power = 0;
      for (let n = 0; n < weights.length; n++) {
        power += weights[n]! * (this.real[first + n]! ** 2 + this.imaginary[first + n]! ** 2);
      }
      write(band, power);
    });
  }
}

/** One word at 8 kHz, any length, as (40, 101): centred in a second, relative to its loudest band. */
export function digitsMap(clip: Floats): Floats {
  const { window, hop, bands } = DIGITS;
  const second = hop * (DIGITS_FRAMES - 1);
  const spare = clip.length - second;
  const kept = spare > 0 ? clip.subarray(spare >> 1, (spare >> 1) + second) : clip;
  const centred = new Float32Array(second + window);
  centred.set(kept, window / 2 + ((second - kept.length) >> 1));
  const map = new Float32Array(bands * DIGITS_FRAMES);
  const frame = new Bands(DIGITS);
  for (let place = 0; place < DIGITS_FRAMES; place++) {
    frame.of(centred, place * hop, (band, power) => (map[band * DIGITS_FRAMES + place] = power));
  }
  const loudest = map.reduce((most, power) => Math.max(most, power), 1e-10);
  return map.map((power) => Math.log(power / loudest + DIGITS_FLOOR));
}

/** A recording at 16 kHz as (64, frames). */
export function sentencesMap(recording: Floats): { map: Floats; frames: number } {
  const { window, hop, bands } = SENTENCES;
  const samples = recording.length < window ? new Float32Array(window) : recording;
  if (samples !== recording) samples.set(recording);
  const frames = Math.floor((samples.length - window) / hop) + 1;
  const map = new Float32Array(bands * frames);
  const frame = new Bands(SENTENCES);
  for (let place = 0; place < frames; place++) {
    frame.of(samples, place * hop, (band, power) => (map[band * frames + place] = Math.log(power + SENTENCES_FLOOR)));
  }
  return { map, frames };
}

const mel = (hz: number): number => 2595 * Math.log10(1 + hz / 700);
const hertz = (mels: number): number => 700 * (10 ** (mels / 2595) - 1);

/** The Fourier transform of as many numbers as a power of two, in place. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  const size = real.length;
  for (let place = 1, mirror = 0; place < size; place++) {
    let bit = size >> 1;
    for (; mirror & bit; bit >>= 1) mirror ^= bit;
    mirror ^= bit;
    if (place < mirror) {
      [real[place], real[mirror]] = [real[mirror]!, real[place]!];
      [imaginary[place], imaginary[mirror]] = [imaginary[mirror]!, imaginary[place]!];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    for (let turn = 0; turn < length / 2; turn++) {
      const angle = (-2 * Math.PI * turn) / length;
      const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
      for (let even = turn; even < size; even += length) {
        const odd = even + length / 2;
        const x = real[odd]! * cosine - imaginary[odd]! * sine;
        const y = real[odd]! * sine + imaginary[odd]! * cosine;
        [real[odd], imaginary[odd]] = [real[even]! - x, imaginary[even]! - y];
        [real[even], imaginary[even]] = [real[even]! + x, imaginary[even]! + y];
      }
    }
  }
}
