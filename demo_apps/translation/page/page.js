import { Vocabulary, translate } from "./core.js";
async function fetched(name) {
  const answer = await fetch(name).catch(() => void 0);
  if (!answer) throw new Error("The computer no longer answers: start the command again and open its new address.");
  if (!answer.ok) throw new Error(`The computer answered ${answer.status} to ${name}: run the demo again.`);
  return answer;
}
const facts = async () => (await fetched("facts.json")).json();
const asset = (name) => fetched(`assets/${name}`);
class WorkerModel {
  constructor(facts2) {
    this.facts = facts2;
    this.worker = new Worker(new URL(
      /* @vite-ignore */
      "" + new URL("worker.js", import.meta.url).href,
      import.meta.url
    ), { type: "classic" });
    this.worker.onmessage = ({ data }) => {
      const who = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ("error" in data) who?.reject(new Error(`${facts2.runtime}: ${data.error}`));
      else who?.resolve(data);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const who of this.waiting.values()) who.reject(new Error(event.message || "The model's worker did not start."));
      this.waiting.clear();
    };
  }
  /** Milliseconds in the file since it was set to 0. */
  spentMs = 0;
  worker;
  waiting = /* @__PURE__ */ new Map();
  asked = 0;
  async open() {
    await this.ask((id) => ({ id, open: this.facts }));
  }
  predict = async (inputs, signature) => {
    const { outputs, ms } = await this.ask((id) => ({ id, signature, inputs }));
    this.spentMs += ms;
    return outputs;
  };
  close() {
    this.worker.terminate();
  }
  ask(made) {
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage(made(id));
    });
  }
}
class Frame {
  constructor(facts2) {
    this.facts = facts2;
  }
  model;
  busy = false;
  again;
  /** Shows the title and loads the first file. */
  static async open(titles) {
    try {
      const frame = new Frame(await facts());
      element("h1").textContent = titles[frame.facts.task] ?? frame.facts.task;
      frame.offerFiles();
      await frame.load(0);
      return frame;
    } catch (error) {
      fail(error);
      return void 0;
    }
  }
  predict = (inputs, signature) => this.model.predict(inputs, signature);
  /** Answers once at a time; the same again where another file is chosen. */
  async answer(made) {
    if (this.busy) return;
    this.busy = true;
    this.again = made;
    document.body.classList.add("busy");
    document.body.dataset["state"] = "computing";
    say("Computing…");
    try {
      this.model.spentMs = 0;
      const { text, secondsOfInput } = await made();
      const { name, runtime } = this.model.facts;
      const ms = this.model.spentMs;
      const factor = secondsOfInput ? `, ${(ms / 1e3 / secondsOfInput).toFixed(3)} of the input's own time` : "";
      element("#answer").textContent = text;
      say(`${ms.toFixed(1)} ms in ${name} on ${runtime}, one thread of WebAssembly in this browser${factor}.`);
      document.body.dataset["state"] = "answered";
    } catch (error) {
      fail(error);
    } finally {
      this.busy = false;
      document.body.classList.remove("busy");
    }
  }
  async load(index) {
    const chosen = this.facts.models[index];
    document.body.dataset["state"] = "loading";
    say(`Loading ${chosen.name} and ${chosen.runtime}…`);
    this.model?.close();
    this.model = new WorkerModel(chosen);
    await this.model.open();
    say(`${chosen.name} (${kilobytes(chosen.bytes)}) is ready.`);
    document.body.dataset["state"] = "ready";
  }
  offerFiles() {
    const group = element("#files");
    for (const [index, { format, name }] of this.facts.models.entries()) {
      const button = document.createElement("button");
      button.textContent = `.${format}`;
      button.title = name;
      button.setAttribute("aria-pressed", String(index === 0));
      button.onclick = () => {
        if (this.busy) return;
        for (const other of Array.from(group.children)) other.setAttribute("aria-pressed", String(other === button));
        this.load(index).then(() => this.again && this.answer(this.again)).catch(fail);
      };
      group.append(button);
    }
    group.hidden = this.facts.models.length < 2;
  }
}
function element(selector) {
  return document.querySelector(selector);
}
function say(words) {
  element("#status").textContent = words;
  element("#status").classList.remove("fault");
}
function fail(error) {
  element("#answer").textContent = "";
  element("#status").textContent = error instanceof Error ? error.message : String(error);
  element("#status").classList.add("fault");
  document.body.dataset["state"] = "failed";
}
function kilobytes(bytes) {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}
const TITLES = { "en-de": "English into German" };
async function main() {
  const frame = await Frame.open(TITLES);
  if (!frame) return;
  const [limits, source, target] = await Promise.all([
    asset("limits.json").then((found) => found.json()),
    vocabulary("source.model"),
    vocabulary("target.model")
  ]);
  const text = element("#text");
  const button = element("#translate");
  const ask = () => {
    const given = text.value;
    return frame.answer(async () => ({ text: await translate(frame.predict, [source, target], limits, given) }));
  };
  button.disabled = false;
  button.onclick = ask;
  text.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    void ask();
  };
}
async function vocabulary(name) {
  return new Vocabulary(await (await asset(name)).arrayBuffer());
}
main().catch(fail);
