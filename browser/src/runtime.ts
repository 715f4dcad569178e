// What both runtimes answer to.

import type { Tensors } from "./tensors";

export type Backend = "wasm" | "webgpu";

export interface Model {
  /** Puts the inputs in place of those before; what it returns runs the model once on them. */
  bound(inputs: Tensors): () => Promise<void>;
  /** What the last run gave. */
  outputs(): Promise<Tensors>;
  release(): Promise<void>;
}

export interface Runtime {
  load(bytes: Uint8Array<ArrayBuffer>, signature: string): Promise<Model>;
  /** What computes a file, of those that could; it may take as long as loading. */
  obtained(bytes: Uint8Array<ArrayBuffer>): Promise<string>;
}

/** The browser does not have what was to compute. */
export class NoBackend extends Error {}

/** Where a graph went, in the same words for both runtimes. */
export function onGpu(adapter: string, threads: number, share?: string): string {
  const gpu = `webgpu (${adapter})`;
  return share === undefined ? gpu : `${gpu}, ${share}; the rest ${threadsOf(threads)}`;
}

export function threadsOf(count: number): string {
  return `wasm, ${count} thread${count === 1 ? "" : "s"}`;
}
