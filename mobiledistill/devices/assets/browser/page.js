async function batteryPercent() {
  const asked = navigator.getBattery;
  const battery = await asked?.call(navigator).catch(() => void 0);
  if (!battery || battery.charging && battery.level === 1 && battery.chargingTime === 0) return null;
  return Math.round(100 * battery.level);
}
const WIDTH = 600;
const HEIGHT = 340;
const LEFT = 120;
const SVG = "http://www.w3.org/2000/svg";
class Plot {
  constructor(svg) {
    this.svg = svg;
  }
  samplesMs = { reference: [], file: [] };
  clear() {
    this.samplesMs.reference = [];
    this.samplesMs.file = [];
    this.svg.replaceChildren();
  }
  add(of, ms) {
    this.samplesMs[of].push(...ms);
    const most = 1.1 * Math.max(...this.samplesMs.file, ...this.samplesMs.reference);
    this.svg.replaceChildren();
    for (const share of [0, 0.5, 1]) this.text(`${(share * most).toPrecision(2)} ms`, HEIGHT - 10 - share * (HEIGHT - 30));
    for (const kind of ["reference", "file"]) {
      const values = this.samplesMs[kind];
      const path = document.createElementNS(SVG, "path");
      const points = values.map((ms2, index) => {
        const x = LEFT + index / Math.max(values.length - 1, 1) * (WIDTH - LEFT - 10);
        return `M${x.toFixed(1)} ${(HEIGHT - 15 - ms2 / most * (HEIGHT - 30)).toFixed(1)}m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0`;
      });
      path.setAttribute("class", kind);
      path.setAttribute("d", points.join(""));
      this.svg.append(path);
    }
  }
  text(words, y) {
    const text = document.createElementNS(SVG, "text");
    text.setAttribute("y", String(y));
    text.textContent = words;
    this.svg.append(text);
  }
}
class NoBackend extends Error {
}
function faultOf(error) {
  return { error: { kind: error instanceof NoBackend ? "backend" : "failure", message: textOf(error) } };
}
function textOf(error) {
  const text = error instanceof Error ? error.message : String(error);
  return (text.trim().split("\n")[0] || "no reason was given").slice(0, 300);
}
const ASK_AGAIN_MS = 1e3;
const STILL_HERE_MS = 5e3;
const PATIENCE = 5;
const page = crypto.getRandomValues(new Uint32Array(4)).join("-");
const plot = new Plot(document.querySelector("#samples"));
const bar = document.querySelector("#done");
class Over extends Error {
}
async function main() {
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
async function doWork(work) {
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
      const battery_percent = [batteryBefore, await batteryPercent()];
      if (!("result" in last)) await send(work, last);
      else {
        const page2 = { ...last.result.page, hidden_runs: hiddenRuns, battery_percent };
        await send(work, { result: { ...last.result, page: page2 } });
      }
      say("Waiting for the computer…");
      return;
    } finally {
      watch.end();
      awake?.release();
    }
  }
}
function ran(work) {
  const worker = new Worker(new URL(
    /* @vite-ignore */
    "" + new URL("worker.js", import.meta.url).href,
    import.meta.url
  ), { type: "classic" });
  let sent = Promise.resolve();
  return new Promise((resolve, reject) => {
    const queue = (next) => {
      sent = sent.then(next);
      sent.catch(reject);
    };
    worker.onmessage = ({ data }) => {
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
const send = (work, message) => put(work, "messages", JSON.stringify(message));
async function put(work, path, body) {
  const headers = { "X-Page": page, "X-Job": String(work.job) };
  const answer = await fetch(path, { method: "POST", headers, body });
  if (answer.status === 410) throw new Over();
  if (!answer.ok) throw new Error(`the computer answered ${answer.status} to ${path}`);
}
class Watch {
  wasHidden = document.visibilityState === "hidden";
  note = () => this.wasHidden ||= document.visibilityState === "hidden";
  constructor() {
    document.addEventListener("visibilitychange", this.note);
  }
  end() {
    document.removeEventListener("visibilitychange", this.note);
  }
  async shown(meanwhile) {
    while (document.visibilityState === "hidden") {
      await meanwhile();
      await pause(STILL_HERE_MS);
    }
  }
}
async function screenLock() {
  return navigator.wakeLock?.request("screen").catch(() => void 0);
}
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
function say(words) {
  document.querySelector("#status").textContent = words;
}
function about(words) {
  document.querySelector("#about").textContent = words;
}
void main();
