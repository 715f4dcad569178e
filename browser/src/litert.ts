// LiteRT.js: .tflite files in WebAssembly.

import type * as LiteRt from "@litertjs/core";
import type { Model, Runtime } from "./runtime";
import type { Tensors, Values } from "./tensors";

const DTYPES = { float32: "F32", int32: "I32", uint8: "U8" };

export async function start(folder: string, threads: number): Promise<Runtime> {
  const litert: typeof LiteRt = await import(/* @vite-ignore */ `${folder}index.js`);
  // In a worker its scripts would look for their files beside the worker.
  (self as any).Module = {
    locateFile: (name: string) => folder + name,
    mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`,
  };
  await litert.loadLiteRt(folder, { threads: threads > 1 });
  return {
    async load(bytes, signature): Promise<Model> {
      const compiled = await litert.loadAndCompile(bytes, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
      const runner = compiled.signatures[signature] ?? compiled;
      let last: Record<string, LiteRt.Tensor> = {};
      const forget = () => Object.values(last).forEach((tensor) => tensor.delete());
      return {
        backend: `wasm, ${threads} thread${threads === 1 ? "" : "s"}`,
        bound(inputs: Tensors) {
          const given: Record<string, LiteRt.Tensor> = {};
          for (const [name, { shape, values }] of Object.entries(inputs)) {
            given[name] = new litert.Tensor(values as Float32Array<ArrayBuffer>, shape);
          }
          return async () => {
            forget();
            last = await runner.run(given);
          };
        },
        async outputs() {
          const found: Tensors = {};
          for (const { name, dtype, shape } of runner.getOutputDetails()) {
            const values = last[name]!.toTypedArray().slice() as Values;
            found[name] = { dtype: DTYPES[dtype as keyof typeof DTYPES], shape: [...shape], values };
          }
          return found;
        },
        async release() {
          forget();
          compiled.delete();
        },
      };
    },
  };
}
