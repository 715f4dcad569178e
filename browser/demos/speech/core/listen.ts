// A recording through the network in chunks, its caches passed on: as sentences/_listen.py and _try.py.

import { floats, floatsOf, type Predict } from "../../shared/predict";
import { DictionaryBeam, greedy, type Logits } from "./ctc";
import { SENTENCES, sentencesMap } from "./mel";
import { Bigram, Tokens } from "./tokens";

export interface ListenerFacts {
  chunk_frames: number;
  delay_frames: number;
  subsampling: number;
  mean: number[];
  deviation: number[];
  caches: Record<string, number[]>;
  state: [string, string][];
}

export interface Heard {
  text: string;
  map: Float32Array<ArrayBuffer>;
}

export class Listener {
  private readonly beam: DictionaryBeam;
  private readonly tokens: Tokens;

  constructor(
    private readonly facts: ListenerFacts,
    names: string[],
    dictionary: string[],
    pairs: Record<string, Record<string, number>>,
  ) {
    this.tokens = new Tokens(names);
    this.beam = new DictionaryBeam(this.tokens, dictionary, new Bigram(pairs, dictionary.length));
  }

  async hear(predict: Predict, samples: Float32Array<ArrayBuffer>): Promise<Heard> {
    const { map, frames } = sentencesMap(samples);
    const logits = await this.logits(predict, map, frames);
    const plain = this.tokens.decode(greedy(logits)).join(" ");
    const likely = this.beam.words(logits).join(" ");
    return { text: `${likely || "(nothing understood)"}\ntoken by token: ${plain || "(nothing)"}`, map };
  }

  async logits(predict: Predict, map: Float32Array<ArrayBuffer>, frames: number): Promise<Logits> {
    const { chunk_frames: chunk, delay_frames: delay, subsampling, mean, deviation, state } = this.facts;
    const { bands } = SENTENCES;
    let caches = Object.fromEntries(Object.entries(this.facts.caches).map(([name, shape]) => [name, floats(shape)]));
    const heard: Float32Array<ArrayBuffer>[] = [];
    let tokens = 0;
    for (let start = 0; start < frames + delay; start += chunk) {
      const features = new Float32Array(bands * chunk); // silence behind the end, until all is answered
      for (let band = 0; band < bands; band++) {
        for (let frame = 0; frame < chunk && start + frame < frames; frame++) {
          const value = map[band * frames + start + frame]!;
          features[band * chunk + frame] = (value - mean[band]!) / deviation[band]!;
        }
      }
      const outputs = await predict({ features: floats([1, 1, bands, chunk], features), ...caches }, "main");
      caches = Object.fromEntries(state.map(([written, read]) => [read, outputs[written]!]));
      heard.push(floatsOf(outputs, "logits"));
      tokens = outputs["logits"]!.shape.at(-1)!;
    }
    const answered = Math.ceil((frames + delay) / subsampling);
    const values = new Float32Array(heard.reduce((sum, part) => sum + part.length, 0));
    heard.reduce((place, part) => (values.set(part, place), place + part.length), 0);
    return { values, frames: answered, tokens };
  }
}
