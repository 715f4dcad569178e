// Asks the computer for work, has a worker do it, and sends back what comes out.

import { batteryPercent } from "./battery";
import { Plot } from "./plot";
import { faultOf, type Message, type Surroundings, type Told, type Work } from "./wire";

const ASK_AGAIN_MS = 1000;
const STILL_HERE_MS = 5000;
const PATIENCE = 5;

const page = crypto.getRandomValues(new Uint32Array(4)).join("-");
const plot = new Plot(document.querySelector<SVGSVGElement>("#samples")!);
const bar = document.querySelector<HTMLProgressElement>("#done")!;

/** The computer no longer waits for this work. */
class Over extends Error {}

async function main(): Promise<void> {
  say("Waiting for the computer…");
  about(`${self.crossOriginIsolated ? "Threads and a fine clock" : "One thread and a coarse clock"}; ${navigator.userAgent}`);
  addEventListener("pagehide", () => navigator.sendBeacon("gone", page));
  for (let failures = 0; failures < PATIENCE; ) {
    try {
      const answer = await fetch("work", { headers: { "X-Page": page } });
      failures = 0;
      if (answer.status === 200) await doWork(await answer.json());
      else if (answer.status === 409) {
        say("Another page measures already; close that one, or this.");
        await pause(ASK_AGAIN_MS);
      } else if (answer.status !== 204) throw new Error(`status ${answer.status}`);
    } catch (error) {
      failures += 1;
      if (error instanceof Over) failures = 0;
      await pause(ASK_AGAIN_MS);
    }
  }
  say("The computer is done. To measure again, open the address that its next run prints.");
}

async function doWork(work: Work): Promise<void> {
  const where = work.backend === "webgpu" ? "the GPU" : `${work.threads} thread${work.threads === 1 ? "" : "s"}`;
  for (let hiddenRuns = 0; ; hiddenRuns++) {
    plot.clear();
    say(`Measuring a .${work.format} file on ${where}…`);
    const batteryBefore = await batteryPercent();
    const awake = await screenLock();
    const watch = new Watch();
    try {
      const last = await ran(work);
      if (watch.wasHidden && "result" in last) {
        say("The page was hidden; it measures again when it is in front.");
        await watch.shown(() => send(work, { phase: "hidden" }));
        continue;
      }
      const battery_percent: [number | null, number | null] = [batteryBefore, await batteryPercent()];
      if (!("result" in last)) await send(work, last);
      else {
        const page = { ...last.result.page, hidden_runs: hiddenRuns, battery_percent };
        await send(work, { result: { ...last.result, page } });
      }
      say("Waiting for the computer…");
      return;
    } finally {
      watch.end();
      awake?.release();
    }
  }
}

/** Has a worker measure; gives its last message, all others are sent on in their order. */
function ran(work: Work): Promise<Message<Surroundings>> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "classic" });
  let sent = Promise.resolve();
  return new Promise<Message<Surroundings>>((resolve, reject) => {
    const queue = (next: () => Promise<void>) => {
      sent = sent.then(next);
      sent.catch(reject);
    };
    worker.onmessage = ({ data }: MessageEvent<Told>) => {
      if (data.kind === "samples") return plot.add(data.of, data.ms);
      if (data.kind === "outputs") return queue(() => put(work, `outputs/${data.index}`, data.bytes));
      const { message } = data;
      if ("phase" in message) {
        bar.value = (message.done ?? 0) / (message.of ?? 1);
        return queue(() => send(work, message));
      }
      bar.value = 1;
      sent.then(() => resolve(message));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      resolve(faultOf(event.message ?? "its worker did not start"));
    };
    worker.postMessage(work);
  }).finally(() => worker.terminate());
}

const send = (work: Work, message: Message) => put(work, "messages", JSON.stringify(message));

async function put(work: Work, path: string, body: BodyInit): Promise<void> {
  const headers = { "X-Page": page, "X-Job": String(work.job) };
  const answer = await fetch(path, { method: "POST", headers, body });
  if (answer.status === 410) throw new Over();
  if (!answer.ok) throw new Error(`the computer answered ${answer.status} to ${path}`);
}

/** Whether the page stayed in front. */
class Watch {
  wasHidden = document.visibilityState === "hidden";
  private readonly note = () => (this.wasHidden ||= document.visibilityState === "hidden");

  constructor() {
    document.addEventListener("visibilitychange", this.note);
  }

  end(): void {
    document.removeEventListener("visibilitychange", this.note);
  }

  async shown(meanwhile: () => Promise<void>): Promise<void> {
    while (document.visibilityState === "hidden") {
      await meanwhile();
      await pause(STILL_HERE_MS);
    }
  }
}

async function screenLock(): Promise<WakeLockSentinel | undefined> {
  return navigator.wakeLock?.request("screen").catch(() => undefined);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function say(words: string): void {
  document.querySelector("#status")!.textContent = words;
}

function about(words: string): void {
  document.querySelector("#about")!.textContent = words;
}

void main();
