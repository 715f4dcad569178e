// Which digit is said, as demo_apps/speech/_try.py answers it.

import { floats, floatsOf, largest, logSoftmax, type Predict } from "../../shared/predict";
import { DIGITS, DIGITS_FRAMES, digitsMap } from "./mel";

export interface DigitsAnswer {
  text: string;
  /** Of each digit, 0 to 1. */
  sure: number[];
  map: Float32Array<ArrayBuffer>;
}

export async function nameDigit(
  predict: Predict,
  normal: { mean: number; deviation: number },
  samples: Float32Array<ArrayBuffer>,
): Promise<DigitsAnswer> {
  const map = digitsMap(samples);
  const features = map.map((value) => (value - normal.mean) / normal.deviation);
  const outputs = await predict({ features: floats([1, 1, DIGITS.bands, DIGITS_FRAMES], features) }, "main");
  const sure = logSoftmax(floatsOf(outputs, "logits")).map(Math.exp);
  const best = largest(sure);
  return { text: `${best} (${(100 * sure[best]!).toFixed(0)} % sure)`, sure, map };
}

/** The loudest second of a recording: where the word is that somebody said after pressing a button. */
export function loudestSecond(samples: Float32Array<ArrayBuffer>, rate: number): Float32Array<ArrayBuffer> {
  if (samples.length <= rate) return samples;
  let energy = 0;
  let [most, start] = [0, 0];
  for (let place = 0; place < samples.length; place++) {
    energy += samples[place]! ** 2 - (place >= rate ? samples[place - rate]! ** 2 : 0);
    if (place >= rate - 1 && energy > most) [most, start] = [energy, place - rate + 1];
  }
  return samples.slice(start, start + rate);
}
