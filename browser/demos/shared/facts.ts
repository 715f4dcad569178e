// What the computer serves beside the page: the run's models and assets. mobiledistill/devices/_browser_try.py is the
// other end.

import type { Format } from "../../src/wire";

export interface ModelFacts {
  format: Format;
  name: string;
  bytes: number;
  runtime: string;
  /** Where each signature's file lies; under "" one that holds them all. */
  files: Record<string, string>;
}

export interface Facts {
  task: string;
  models: ModelFacts[];
  assets: string[];
}

export async function fetched(name: string): Promise<Response> {
  const answer = await fetch(name).catch(() => undefined);
  if (!answer) throw new Error("The computer no longer answers: start the command again and open its new address.");
  if (!answer.ok) throw new Error(`The computer answered ${answer.status} to ${name}: run the demo again.`);
  return answer;
}

export const facts = async (): Promise<Facts> => (await fetched("facts.json")).json();
export const asset = (name: string): Promise<Response> => fetched(`assets/${name}`);
