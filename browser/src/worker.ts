// One measurement in a worker of its own: a fresh heap and a fresh runtime, as a fresh process is elsewhere.

import { watchedHeap } from "./heap";
import { start as startLiteRt } from "./litert";
import { start as startOnnx } from "./onnx";
import type { Model, Runtime } from "./runtime";
import { read, write } from "./tensors";
import { clockStepMs, sample, timed, warmed, type Loads, type Run, type Sampled } from "./timing";
import { faultOf, type Message, type Surroundings, type Told, type Work } from "./wire";

const ALIVE_EVERY_MS = 2000;

interface Loaded {
  model: Model;
  backend: string;
  run: Run;
  loads: Loads;
}

self.onmessage = async ({ data: work }: MessageEvent<Work>) => {
  try {
    await measure(work);
  } catch (error) {
    tell(faultOf(error));
  }
};

async function measure(work: Work): Promise<void> {
  tell({ phase: "start" });
  const heapBytes = watchedHeap();
  const runtime = await (work.format === "onnx" ? startOnnx : startLiteRt)(
    new URL(`runtime/${work.format}/`, self.location.href).href,
    work.threads,
    work.backend,
  );
  // Not "load": the computer has run these files already, so one that does not load here is not damaged.
  tell({ phase: "inputs" });
  const reference = await load(runtime, "main", "reference", "reference-inputs");
  const files: Loaded[] = [];
  for (const [index, signature] of work.signatures.entries()) {
    files.push(await load(runtime, signature, `models/${index}`, `inputs/${index}`));
  }
  for (const [index, { model }] of files.entries()) {
    const bytes = write(await model.outputs());
    post({ kind: "outputs", index, bytes });
  }
  tell({ phase: "run" });
  const stepMs = clockStepMs();
  const warm = [];
  for (const { run } of [reference, ...files]) {
    warm.push(await warmed(run, stepMs, work.largest_clock_share));
    tell({ phase: "run" });
  }
  await takeTurns(warm, work);
  const [first, ...rest] = warm.map((one, index) => ({
    samples_ns: one.samplesNs,
    runs_per_sample: one.runsPerSample,
    ...[reference, ...files][index]!.loads,
  }));
  tell({
    result: {
      files: rest.map((one, index) => ({
        ...one,
        signature: work.signatures[index]!,
        backend: files[index]!.backend,
      })),
      reference: first!,
      page: {
        user_agent: navigator.userAgent.slice(0, 400),
        platform: navigator.platform.slice(0, 100),
        logical_cores: navigator.hardwareConcurrency,
        cross_origin_isolated: self.crossOriginIsolated,
        clock_step_ms: stepMs,
        memory_gb: (navigator as { deviceMemory?: number }).deviceMemory ?? null,
        heap_bytes: heapBytes(),
      },
    },
  });
}

/** Loads a model twice, and runs it once. */
async function load(runtime: Runtime, signature: string, model: string, inputs: string): Promise<Loaded> {
  const [bytes, given] = await Promise.all([fetched(model), fetched(inputs).then(read)]);
  const timesMs = [];
  let loaded: Model | undefined;
  for (let time = 0; time < 2; time++) {
    await loaded?.release();
    const started = performance.now();
    loaded = await runtime.load(new Uint8Array(bytes), signature);
    timesMs.push(performance.now() - started);
  }
  const run = loaded!.bound(given);
  const firstMs = await timed(run);
  return {
    model: loaded!,
    run,
    loads: { load_cold_ms: timesMs[0]!, load_warm_ms: timesMs[1]!, first_run_ms: firstMs },
    backend: await runtime.obtained(new Uint8Array(bytes)), // last, since it warms up what the others measure
  };
}

/** Blocks of each in turns, the order of the files turned round every time, each block behind the reference. */
async function takeTurns([reference, ...files]: Sampled[], work: Work): Promise<void> {
  let told = performance.now();
  for (let start = 0; start < work.samples; start += work.block) {
    const count = Math.min(work.block, work.samples - start);
    const alive = () => {
      if (performance.now() - told < ALIVE_EVERY_MS) return;
      told = performance.now();
      tell({ phase: "run", done: start, of: work.samples });
    };
    post({ kind: "samples", of: "reference", ms: await sample(reference!, count, alive) });
    for (const file of files) post({ kind: "samples", of: "file", ms: await sample(file, count, alive) });
    files.reverse();
  }
}

async function fetched(name: string): Promise<ArrayBuffer> {
  const answer = await fetch(new URL(name, self.location.href));
  if (!answer.ok) throw new Error(`the computer answered ${answer.status} to ${name}`);
  return answer.arrayBuffer();
}

function tell(message: Message<Surroundings>): void {
  post({ kind: "message", message });
}

function post(told: Told): void {
  self.postMessage(told);
}
