// What both runtimes answer to.

import type { Tensors } from "./tensors";

export interface Model {
  backend: string;
  /** Puts the inputs in place; what it returns runs the model once on them. */
  bound(inputs: Tensors): () => Promise<void>;
  /** What the last run gave. */
  outputs(): Promise<Tensors>;
  release(): Promise<void>;
}

export interface Runtime {
  load(bytes: Uint8Array<ArrayBuffer>, signature: string): Promise<Model>;
}
