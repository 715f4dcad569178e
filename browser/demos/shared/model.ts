// A model in a worker of its own.

import type { Tensors } from "../../src/tensors";
import type { ModelFacts } from "./facts";
import type { Answered, Asked } from "./worker";

type Waiting = { resolve: (answer: { outputs: Tensors; ms: number }) => void; reject: (error: Error) => void };

export class WorkerModel {
  /** Milliseconds in the file since it was set to 0. */
  spentMs = 0;
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;

  constructor(readonly facts: ModelFacts) {
    this.worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "classic" });
    this.worker.onmessage = ({ data }: MessageEvent<Answered>) => {
      const who = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ("error" in data) who?.reject(new Error(`${facts.runtime}: ${data.error}`));
      else who?.resolve(data);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const who of this.waiting.values()) who.reject(new Error(event.message || "The model's worker did not start."));
      this.waiting.clear();
    };
  }

  async open(): Promise<void> {
    await this.ask((id) => ({ id, open: this.facts }));
  }

  readonly predict = async (inputs: Tensors, signature: string): Promise<Tensors> => {
    const { outputs, ms } = await this.ask((id) => ({ id, signature, inputs }));
    this.spentMs += ms;
    return outputs;
  };

  close(): void {
    this.worker.terminate();
  }

  private ask(made: (id: number) => Asked): Promise<{ outputs: Tensors; ms: number }> {
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage(made(id));
    });
  }
}
