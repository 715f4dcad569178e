// A model as the demos see it: arrays in, arrays out, by the name of a signature.

import type { Tensor, Tensors } from "../../src/tensors";

export type Predict = (inputs: Tensors, signature: string) => Promise<Tensors>;

export function floats(shape: number[], values: Float32Array<ArrayBuffer> = new Float32Array(sizeOf(shape))): Tensor {
  return { dtype: "F32", shape, values };
}

export function integers(shape: number[], values: ArrayLike<number>): Tensor {
  return { dtype: "I32", shape, values: Int32Array.from(values) };
}

/** The values of an output, which has to be one of floats. */
export function floatsOf(outputs: Tensors, name: string): Float32Array<ArrayBuffer> {
  const found = outputs[name]?.values;
  if (!(found instanceof Float32Array)) throw new Error(`The file gives no ${name} in float32: run the demo again.`);
  return found;
}

export function sizeOf(shape: number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

export function largest(values: ArrayLike<number>, from = 0, to = values.length): number {
  let best = from;
  for (let place = from + 1; place < to; place++) if (values[place]! > values[best]!) best = place;
  return best;
}

/** Logarithms of probabilities. */
export function logSoftmax(logits: ArrayLike<number>, from = 0, to = logits.length): number[] {
  const wide = Array.from({ length: to - from }, (_, place) => logits[from + place]!);
  const most = Math.max(...wide);
  const total = most + Math.log(wide.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return wide.map((value) => value - total);
}
