// A text into another language, the likeliest token each time: as demo_apps/translation/_decode.py and _try_out.py.

import type { Tensors } from "../../../src/tensors";
import { floats, floatsOf, integers, largest, type Predict } from "../../shared/predict";
import type { Vocabulary } from "./vocabulary";

/** limits.json, beside the files. */
export interface Limits {
  longest_source: number;
  longest_target: number;
  begin: number;
  end: number;
}

const WRITTEN = "next_";
const MEMORY = "memory_";

/** The translation of one text. */
export async function translate(
  predict: Predict,
  [source, target]: [Vocabulary, Vocabulary],
  limits: Limits,
  given: string,
): Promise<string> {
  const text = given.trim().split(/\s+/).join(" ");
  if (!text) throw new Error("The text is empty; write an English sentence, such as Where is my book?");
  const unknown = source.unknownIn(text);
  if (unknown.length) {
    throw new Error(`No training text had the characters ${unknown.join(" ")}; leave them out or spell them.`);
  }
  const tokens = source.encode(text);
  if (tokens.length > limits.longest_source) {
    throw new Error(
      `The text has ${tokens.length} tokens, but this file reads at most ${limits.longest_source} (about` +
        ` ${Math.floor((limits.longest_source * 3) / 4)} words); give it a sentence at a time.`,
    );
  }
  return target.decode(await greedy(predict, tokens, limits));
}

export async function greedy(predict: Predict, tokens: number[], limits: Limits): Promise<number[]> {
  const padded = [...tokens, ...new Array<number>(limits.longest_source - tokens.length).fill(0)];
  const source = integers([1, limits.longest_source], padded);
  const memory = await predict({ source }, "encode");
  let caches = emptyCaches(memory, limits.longest_target);
  const written: number[] = [];
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

/** As much room as the memory of the text has, but for a translation. */
function emptyCaches(memory: Tensors, longestTarget: number): Tensors {
  return Object.fromEntries(
    Object.entries(memory).map(([name, { shape }]) => [name.replace(MEMORY, ""), floats([1, longestTarget, shape.at(-1)!])]),
  );
}
