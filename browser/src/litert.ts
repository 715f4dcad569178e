// LiteRT.js: .tflite files in WebAssembly, or on the GPU.

import type * as LiteRt from "@litertjs/core";
import { requireGpu } from "./gpu";
import { onGpu, threadsOf, type Backend, type Model, type Runtime } from "./runtime";
import type { Tensors, Values } from "./tensors";

const DTYPES = { float32: "F32", int32: "I32", uint8: "U8" };

export async function start(folder: string, threads: number, backend: Backend): Promise<Runtime> {
  const adapter = backend === "webgpu" ? await requireGpu() : "";
  const litert: typeof LiteRt = await import(/* @vite-ignore */ `${folder}index.js`);
  // In a worker its scripts would look for their files beside the worker.
  (self as any).Module = {
    locateFile: (name: string) => folder + name,
    mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js`,
  };
  // Only that build can wait for the GPU in the middle of a graph, so without it a graph is computed there whole or not.
  const jspi = backend === "webgpu" && "Suspending" in WebAssembly;
  const used = jspi ? 1 : threads; // that build has one
  await litert.loadLiteRt(folder, { threads: used > 1, jspi });
  const compile = (bytes: Uint8Array<ArrayBuffer>) =>
    litert.loadAndCompile(bytes, { accelerator: backend, cpuOptions: { numThreads: used } });
  return {
    async load(bytes, signature): Promise<Model> {
      const compiled = await compile(bytes);
      const runner = compiled.signatures[signature] ?? compiled;
      let given: Record<string, LiteRt.Tensor> = {};
      let last: Record<string, LiteRt.Tensor> = {};
      const forget = (tensors: Record<string, LiteRt.Tensor>) =>
        Object.values(tensors).forEach((tensor) => tensor.delete());
      return {
        bound(inputs: Tensors) {
          forget(given);
          given = {};
          for (const [name, { shape, values }] of Object.entries(inputs)) {
            given[name] = new litert.Tensor(values as Float32Array<ArrayBuffer>, shape);
          }
          return async () => {
            forget(last);
            last = await runner.run(given);
            // A run that only was handed to the GPU is not done: an app needs its answers here.
            if (backend === "webgpu") last = await broughtBack(last);
          };
        },
        async outputs() {
          const found: Tensors = {};
          for (const { name, dtype, shape } of runner.getOutputDetails()) {
            const values = (await last[name]!.data()).slice() as Values;
            found[name] = { dtype: DTYPES[dtype as keyof typeof DTYPES], shape: [...shape], values };
          }
          return found;
        },
        async release() {
          forget(last);
          forget(given);
          compiled.delete();
        },
      };
    },
    async obtained(bytes) {
      if (backend === "wasm") return threadsOf(used);
      const compiled = await compile(bytes);
      const { options, isFullyAccelerated: whole } = compiled;
      compiled.delete();
      // Where it can neither compute all of a graph on the GPU nor wait within it, it takes the processor, silently.
      if (options.accelerator !== "webgpu") return threadsOf(used);
      return onGpu(adapter, used, whole ? undefined : "in part");
    },
  };
}

async function broughtBack(tensors: Record<string, LiteRt.Tensor>): Promise<Record<string, LiteRt.Tensor>> {
  const moved: Record<string, LiteRt.Tensor> = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    moved[name] = tensor.accelerator === "wasm" ? tensor : await tensor.moveTo("wasm");
  }
  return moved;
}
