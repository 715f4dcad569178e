// What the computer asks for and what it is answered; mobiledistill/devices/_browser_wire.py is the other end.

import { NoBackend, type Backend } from "./runtime";

export type Format = "onnx" | "tflite";

export interface Work {
  job: number;
  format: Format;
  signatures: string[];
  backend: Backend;
  threads: number;
  samples: number;
  block: number;
  largest_clock_share: number;
}

export interface Timed {
  samples_ns: number[];
  runs_per_sample: number;
  load_cold_ms: number;
  load_warm_ms: number;
  first_run_ms: number;
}

/** What the worker knows of the browser. */
export interface Surroundings {
  user_agent: string;
  platform: string;
  logical_cores: number;
  cross_origin_isolated: boolean;
  clock_step_ms: number;
  memory_gb: number | null;
  heap_bytes: number;
}

/** What only the page knows: how often it was hidden, and how full the battery was before and after. */
export interface Watched {
  hidden_runs: number;
  battery_percent: [number | null, number | null];
}

export interface Result<Page = Surroundings & Watched> {
  files: (Timed & { signature: string; backend: string })[];
  reference: Timed;
  page: Page;
}

/** How far a run came; `result` or `error` is the last. */
export type Message<Page = Surroundings & Watched> =
  | { phase: "start" | "load" | "inputs" | "run" | "hidden"; done?: number; of?: number }
  | { error: { kind: "failure" | "backend"; message: string } }
  | { result: Result<Page> };

/** What the worker tells the page: messages for the computer, outputs, and samples for the plot. */
export type Told =
  | { kind: "message"; message: Message<Surroundings> }
  | { kind: "outputs"; index: number; bytes: Uint8Array<ArrayBuffer> }
  | { kind: "samples"; of: "file" | "reference"; ms: number[] };

/** What went wrong; `backend`: another one may work. */
export function faultOf(error: unknown): Message<never> {
  return { error: { kind: error instanceof NoBackend ? "backend" : "failure", message: textOf(error) } };
}

export function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return (text.trim().split("\n")[0] || "no reason was given").slice(0, 300);
}
