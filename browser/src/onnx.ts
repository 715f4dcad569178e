// onnxruntime-web: .onnx files in WebAssembly, or on the GPU.

import type * as Ort from "onnxruntime-web";
import { requireGpu } from "./gpu";
import { onGpu, threadsOf, type Backend, type Model, type Runtime } from "./runtime";
import type { Tensors, Values } from "./tensors";

const TYPES: Record<string, Ort.Tensor.Type> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  I64: "int64",
  U64: "uint64",
  I32: "int32",
  U32: "uint32",
  I16: "int16",
  U16: "uint16",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
};
const DTYPES = Object.fromEntries(Object.entries(TYPES).map(([dtype, type]) => [type, dtype]));

export async function start(folder: string, threads: number, backend: Backend): Promise<Runtime> {
  const adapter = backend === "webgpu" ? await requireGpu() : "";
  const listen = hearConsole();
  const ort: typeof Ort = await import(/* @vite-ignore */ `${folder}ort.${backend}.min.mjs`);
  ort.env.wasm.wasmPaths = folder;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return {
    async load(bytes): Promise<Model> {
      const session = await ort.InferenceSession.create(bytes, { executionProviders: [backend] });
      let last: Ort.InferenceSession.ReturnType = {};
      return {
        bound(inputs: Tensors) {
          const feeds: Record<string, Ort.Tensor> = {};
          for (const [name, { dtype, shape, values }] of Object.entries(inputs)) {
            feeds[name] = new ort.Tensor(TYPES[dtype]!, values as any, shape);
          }
          return async () => {
            last = await session.run(feeds);
          };
        },
        async outputs() {
          const found: Tensors = {};
          for (const [name, { type, dims, data }] of Object.entries(last)) {
            found[name] = { dtype: DTYPES[type]!, shape: [...dims], values: data as Values };
          }
          return found;
        },
        release: () => session.release(),
      };
    },
    async obtained(bytes) {
      if (backend === "wasm") return threadsOf(threads);
      // Only its most talkative log tells where it placed the nodes of a graph.
      const options = { executionProviders: [backend], logSeverityLevel: 0 as const };
      const said = await listen(async () => (await ort.InferenceSession.create(bytes, options)).release());
      return placement(said, adapter, threads);
    },
  };
}

const PLACED = /placed on \[(\w+)ExecutionProvider\]\. Number of nodes: (\d+)/;

/** What the log of a session says of its nodes. */
function placement(said: string[], adapter: string, threads: number): string {
  let [gpu, all] = [0, 0];
  for (const line of said) {
    const [, provider, count] = PLACED.exec(line) ?? [];
    all += Number(count ?? 0);
    if (provider === "WebGpu") gpu += Number(count);
  }
  if (!all) return `${onGpu(adapter, threads)}, in what part it does not tell`;
  if (!gpu) return threadsOf(threads);
  return onGpu(adapter, threads, gpu < all ? `${gpu} of ${all} nodes` : undefined);
}

/** Runs something and gives what the console was told meanwhile. It has to be there before the runtime is loaded. */
function hearConsole(): (run: () => Promise<void>) => Promise<string[]> {
  let heard: string[] | undefined;
  for (const way of ["log", "info", "warn", "error", "debug"] as const) {
    const plain = console[way].bind(console);
    console[way] = (...words: unknown[]) => (heard ? heard.push(words.join(" ")) : plain(...words));
  }
  return async (run) => {
    const lines: string[] = [];
    heard = lines;
    try {
      await run();
    } finally {
      heard = undefined;
    }
    return lines;
  };
}
