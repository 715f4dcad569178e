// What the pages share: which file answers, what is going on, and where the answer stands.

import { facts, type Facts } from "./facts";
import { WorkerModel } from "./model";
import type { Predict } from "./predict";

export interface Answer {
  text: string;
  secondsOfInput?: number;
}

export class Frame {
  private model: WorkerModel | undefined;
  private busy = false;
  private again: (() => Promise<Answer>) | undefined;

  private constructor(readonly facts: Facts) {}

  /** Shows the title and loads the first file. */
  static async open(titles: Record<string, string>): Promise<Frame | undefined> {
    try {
      const frame = new Frame(await facts());
      element("h1").textContent = titles[frame.facts.task] ?? frame.facts.task;
      frame.offerFiles();
      await frame.load(0);
      return frame;
    } catch (error) {
      fail(error);
      return undefined;
    }
  }

  readonly predict: Predict = (inputs, signature) => this.model!.predict(inputs, signature);

  /** Answers once at a time; the same again where another file is chosen. */
  async answer(made: () => Promise<Answer>): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    this.again = made;
    document.body.classList.add("busy");
    document.body.dataset["state"] = "computing";
    say("Computing…");
    try {
      this.model!.spentMs = 0;
      const { text, secondsOfInput } = await made();
      const { name, runtime } = this.model!.facts;
      const ms = this.model!.spentMs;
      const factor = secondsOfInput ? `, ${(ms / 1000 / secondsOfInput).toFixed(3)} of the input's own time` : "";
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

  private async load(index: number): Promise<void> {
    const chosen = this.facts.models[index]!;
    document.body.dataset["state"] = "loading";
    say(`Loading ${chosen.name} and ${chosen.runtime}…`);
    this.model?.close();
    this.model = new WorkerModel(chosen);
    await this.model.open();
    say(`${chosen.name} (${kilobytes(chosen.bytes)}) is ready.`);
    document.body.dataset["state"] = "ready";
  }

  private offerFiles(): void {
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

export function element<Kind extends Element = HTMLElement>(selector: string): Kind {
  return document.querySelector<Kind>(selector)!;
}

export function say(words: string): void {
  element("#status").textContent = words;
  element("#status").classList.remove("fault");
}

export function fail(error: unknown): void {
  element("#answer").textContent = "";
  element("#status").textContent = error instanceof Error ? error.message : String(error);
  element("#status").classList.add("fault");
  document.body.dataset["state"] = "failed";
}

function kilobytes(bytes: number): string {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}
