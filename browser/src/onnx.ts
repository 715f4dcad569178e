// onnxruntime-web: .onnx files in WebAssembly.

import type * as Ort from "onnxruntime-web";
import type { Model, Runtime } from "./runtime";
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

export async function start(folder: string, threads: number): Promise<Runtime> {
  const ort: typeof Ort = await import(/* @vite-ignore */ `${folder}ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = folder;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return {
    async load(bytes): Promise<Model> {
      const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
      let last: Ort.InferenceSession.ReturnType = {};
      return {
        backend: `wasm, ${threads} thread${threads === 1 ? "" : "s"}`,
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
  };
}
