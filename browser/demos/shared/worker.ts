// Runs a model away from the page, so that the page stays alive meanwhile.

import { start as startLiteRt } from "../../src/litert";
import { start as startOnnx } from "../../src/onnx";
import type { Model, Runtime } from "../../src/runtime";
import type { Tensors } from "../../src/tensors";
import { textOf } from "../../src/wire";
import type { ModelFacts } from "./facts";

export type Asked = { id: number } & ({ open: ModelFacts } | { signature: string; inputs: Tensors });
export type Answered = { id: number } & ({ outputs: Tensors; ms: number } | { error: string });

let runtime: Runtime | undefined;
let facts: ModelFacts | undefined;
const models = new Map<string, Model>();

self.onmessage = async ({ data }: MessageEvent<Asked>) => {
  try {
    if ("open" in data) {
      facts = data.open;
      const folder = new URL(`runtime/${facts.format}/`, self.location.href).href;
      runtime = await (facts.format === "onnx" ? startOnnx : startLiteRt)(folder, 1, "wasm");
      // A signature of "" is all of them: which there are, the first call tells.
      for (const signature of Object.keys(facts.files)) if (signature) await model(signature);
      return tell({ id: data.id, outputs: {}, ms: 0 });
    }
    const run = (await model(data.signature)).bound(data.inputs);
    const started = performance.now();
    await run();
    const ms = performance.now() - started;
    tell({ id: data.id, outputs: await (await model(data.signature)).outputs(), ms });
  } catch (error) {
    tell({ id: data.id, error: textOf(error) });
  }
};

async function model(signature: string): Promise<Model> {
  const known = models.get(signature);
  if (known) return known;
  const place = facts!.files[signature] ?? facts!.files[""];
  if (place === undefined) throw new Error(`The file has no signature ${signature}: run the demo again.`);
  const answer = await fetch(new URL(place, self.location.href));
  if (!answer.ok) throw new Error(`The computer answered ${answer.status} to ${place}: run the demo again.`);
  const loaded = await runtime!.load(new Uint8Array(await answer.arrayBuffer()), signature);
  models.set(signature, loaded);
  return loaded;
}

function tell(answer: Answered): void {
  self.postMessage(answer);
}
