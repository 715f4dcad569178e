// The clock of a browser is coarse, so one sample times several runs together.

import type { Timed } from "./wire";

const WARM_WINDOW = 10;
const WARM_STABLE = 0.05;
const WARM_AT_LEAST_MS = 50;
const WARM_AT_MOST_MS = 2000;
const SWITCH_RUNS = 2; // not recorded: after another model ran, the first runs find cold caches
const MOST_RUNS = 10_000;
const CLOCK_STEPS = 15;

export type Run = () => Promise<void>;

export interface Sampled {
  run: Run;
  runsPerSample: number;
  samplesNs: number[];
}

/** The smallest step that the clock takes, in milliseconds: the median of some. */
export function clockStepMs(): number {
  const steps = [];
  for (let last = performance.now(); steps.length < CLOCK_STEPS; ) {
    const now = performance.now();
    if (now > last) steps.push(now - last);
    last = now;
  }
  return median(steps);
}

/** Milliseconds of one run, from several that are timed together. */
export async function timed(run: Run, runs = 1): Promise<number> {
  const started = performance.now();
  for (let count = 0; count < runs; count++) await run();
  return (performance.now() - started) / runs;
}

/** Runs until the pace no longer changes, and says how many runs one sample takes: by the fastest, so for all. */
export async function warmed(run: Run, stepMs: number, largestClockShare: number): Promise<Sampled> {
  const started = performance.now();
  let last = Infinity;
  let fastest = Infinity;
  for (;;) {
    const now = await timed(run, WARM_WINDOW);
    if (now > 0) fastest = Math.min(fastest, now);
    const spentMs = performance.now() - started;
    const stable = now > 0 && Math.abs(now / last - 1) < WARM_STABLE;
    if ((stable && spentMs > WARM_AT_LEAST_MS) || spentMs > WARM_AT_MOST_MS) {
      const wanted = Math.ceil(stepMs / largestClockShare / fastest);
      return { run, runsPerSample: Math.min(Math.max(wanted, 1), MOST_RUNS), samplesNs: [] };
    }
    last = now;
  }
}

/** A block of samples. */
export async function sample(one: Sampled, count: number, alive: () => void): Promise<number[]> {
  for (let run = 0; run < SWITCH_RUNS; run++) await one.run();
  const found = [];
  for (let number = 0; number < count; number++) {
    found.push(await timed(one.run, one.runsPerSample));
    alive();
  }
  one.samplesNs.push(...found.map((ms) => Math.round(ms * 1e6)));
  return found;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

export type Loads = Omit<Timed, "samples_ns" | "runs_per_sample">;
