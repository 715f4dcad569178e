// What the computer asks for and what it is answered; mobiledistill/devices/_browser_wire.py is the other end.

export type Format = "onnx" | "tflite";

export interface Work {
  job: number;
  format: Format;
  signatures: string[];
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

export interface Result {
  files: (Timed & { signature: string; backend: string })[];
  reference: Timed;
  page: {
    user_agent: string;
    platform: string;
    logical_cores: number;
    cross_origin_isolated: boolean;
    clock_step_ms: number;
  };
}

/** How far a run came; `result` or `error` is the last. */
export type Message =
  | { phase: "start" | "load" | "inputs" | "run" | "hidden"; done?: number; of?: number }
  | { error: { kind: "failure"; message: string } }
  | { result: Result };

/** What the worker tells the page: messages for the computer, outputs, and samples for the plot. */
export type Told =
  | { kind: "message"; message: Message }
  | { kind: "outputs"; index: number; bytes: Uint8Array<ArrayBuffer> }
  | { kind: "samples"; of: "file" | "reference"; ms: number[] };

export function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return (text.trim().split("\n")[0] || "no reason was given").slice(0, 300);
}
