// Speech: a microphone or a file in, the digit or the sentence out.

import { asset } from "../shared/facts";
import { element, fail, Frame, say, type Answer } from "../shared/frame";
import { DIGITS, Listener, loudestSecond, nameDigit, SENTENCES, type Sound } from "./core";
import { noMicrophone, Recording, soundOf } from "./record";

const TITLES = { digits: "Say a digit", sentences: "Spell, count or command" };
const WORD_MS = 2000;
const LONGEST_MS = 29_000;

interface Task {
  rate: number;
  bands: number;
  hint: string;
  /** How long a recording lasts that nobody stops. */
  longestMs: number;
  trimmed(samples: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer>;
  answer(samples: Float32Array<ArrayBuffer>): Promise<{ text: string; map: Float32Array<ArrayBuffer>; sure?: number[] }>;
}

async function main(): Promise<void> {
  const frame = await Frame.open(TITLES);
  if (!frame) return;
  const task = await (frame.facts.task === "sentences" ? sentencesTask(frame) : digitsTask(frame));
  element("#hint").textContent = task.hint;
  const heard = (sound: Sound) => frame.answer(() => answerTo(task, sound));
  const file = element<HTMLInputElement>("#file");
  file.disabled = false;
  file.onchange = async () => {
    const chosen = file.files?.[0];
    file.value = ""; // the same file may be chosen again
    if (chosen) await soundOf(await chosen.arrayBuffer(), task.rate).then(heard).catch(fail);
  };
  offerMicrophone(task, heard);
}

async function answerTo(task: Task, { samples, done }: Sound): Promise<Answer> {
  if (!samples.some((sample) => sample !== 0)) throw new Error("It is silent throughout: give a recording of speech.");
  const { text, map, sure } = await task.answer(samples);
  draw(map, task.bands);
  showSureness(sure);
  return { text: done ? `${text}\n(${done})` : text, secondsOfInput: samples.length / task.rate };
}

function offerMicrophone(task: Task, heard: (sound: Sound) => Promise<void>): void {
  const button = element<HTMLButtonElement>("#record");
  const reason = noMicrophone();
  element("#microphone").textContent = reason ?? "";
  if (reason) return;
  button.disabled = false;
  let recording: Recording | undefined;
  let timer = 0;
  const stop = async () => {
    const running = recording;
    recording = undefined;
    clearTimeout(timer);
    button.textContent = "Record";
    button.classList.remove("recording");
    if (!running) return;
    const { samples } = await running.stop(task.rate);
    await heard({ samples: task.trimmed(samples), done: "" });
  };
  button.onclick = async () => {
    try {
      if (recording) return await stop();
      recording = await Recording.start();
      button.textContent = "Stop";
      button.classList.add("recording");
      say("Listening…");
      timer = setTimeout(() => void stop().catch(fail), task.longestMs);
    } catch (error) {
      fail(error);
    }
  };
}

async function digitsTask(frame: Frame): Promise<Task> {
  const normal = await (await asset("features.json")).json();
  return {
    rate: DIGITS.rate,
    bands: DIGITS.bands,
    hint: "One digit, zero to nine, in English. It records for two seconds.",
    longestMs: WORD_MS,
    trimmed: (samples) => loudestSecond(samples, DIGITS.rate),
    answer: (samples) => nameDigit(frame.predict, normal, samples),
  };
}

async function sentencesTask(frame: Frame): Promise<Task> {
  const [listener, tokens, dictionary, bigram] = await Promise.all([
    asset("listener.json").then((found) => found.json()),
    asset("tokens.json").then((found) => found.json()),
    asset("dictionary.txt").then((found) => found.text()),
    asset("bigram.json").then((found) => found.json()),
  ]);
  const made = new Listener(listener, tokens, dictionary.split(/\s+/).filter((word: string) => word), bigram);
  return {
    rate: SENTENCES.rate,
    bands: SENTENCES.bands,
    hint: "Letters, numbers and commands, in English: C M U, fifteen, stop. Press again to end.",
    longestMs: LONGEST_MS,
    trimmed: (samples) => samples,
    answer: (samples) => made.hear(frame.predict, samples),
  };
}

/** What the network reads: time to the right, low bands at the bottom. */
function draw(map: Float32Array<ArrayBuffer>, bands: number): void {
  const canvas = element<HTMLCanvasElement>("#sound");
  const frames = map.length / bands;
  const least = map.reduce((low, value) => Math.min(low, value), Infinity);
  const most = map.reduce((high, value) => Math.max(high, value), -Infinity);
  [canvas.width, canvas.height, canvas.hidden] = [frames, bands, false];
  const pen = canvas.getContext("2d")!;
  const picture = pen.createImageData(frames, bands);
  for (let band = 0; band < bands; band++) {
    for (let place = 0; place < frames; place++) {
      const share = (map[band * frames + place]! - least) / (most - least || 1);
      const pixel = [255 * share ** 2, 255 * (0.15 + 0.75 * share ** 1.5), 255 * (0.3 + 0.5 * share), 255];
      picture.data.set(pixel, 4 * ((bands - 1 - band) * frames + place));
    }
  }
  pen.putImageData(picture, 0, 0);
}

function showSureness(sure: number[] | undefined): void {
  const bars = (sure ?? []).map((share, digit) => {
    const bar = document.createElement("li");
    bar.style.setProperty("--share", String(share));
    bar.textContent = String(digit);
    return bar;
  });
  element("#sure").replaceChildren(...bars);
}

main().catch(fail);
