import { readWav, refuseLong, at, Listener, SENTENCES, DIGITS, nameDigit, loudestSecond } from "./core.js";
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
const DECODED_RATE = 48e3;
function noMicrophone() {
  if (navigator.mediaDevices && typeof MediaRecorder !== "undefined") return void 0;
  return self.isSecureContext ? "This browser records no sound; choose a file." : "Browsers give the microphone only to a page from the device itself: use a cable and adb reverse, or choose a file.";
}
class Recording {
  constructor(stream, recorder) {
    this.stream = stream;
    this.recorder = recorder;
    recorder.ondataavailable = ({ data }) => this.parts.push(data);
  }
  parts = [];
  static async start() {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: plain }).catch((error) => {
      throw new Error(`The microphone cannot be used (${error.message}): allow it, or choose a file.`);
    });
    const made = new Recording(stream, new MediaRecorder(stream));
    made.recorder.start();
    return made;
  }
  async stop(rate) {
    const stopped = new Promise((resolve) => this.recorder.onstop = resolve);
    this.recorder.stop();
    await stopped;
    for (const track of this.stream.getTracks()) track.stop();
    return decoded(await new Blob(this.parts).arrayBuffer(), rate);
  }
}
async function soundOf(bytes, rate) {
  return readWav(bytes, rate) ?? decoded(bytes, rate);
}
async function decoded(bytes, rate) {
  const context = new OfflineAudioContext(1, 1, DECODED_RATE);
  const buffer = await context.decodeAudioData(bytes).catch(() => {
    throw new Error("The file is no sound that this browser can decode: save it as WAV.");
  });
  refuseLong(buffer.duration);
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const part = buffer.getChannelData(channel);
    for (let place = 0; place < mixed.length; place++) mixed[place] = mixed[place] + part[place] / buffer.numberOfChannels;
  }
  return at(mixed, DECODED_RATE, rate, buffer.numberOfChannels);
}
const TITLES = { digits: "Say a digit", sentences: "Spell, count or command" };
const WORD_MS = 2e3;
const LONGEST_MS = 29e3;
async function main() {
  const frame = await Frame.open(TITLES);
  if (!frame) return;
  const task = await (frame.facts.task === "sentences" ? sentencesTask(frame) : digitsTask(frame));
  element("#hint").textContent = task.hint;
  const heard = (sound) => frame.answer(() => answerTo(task, sound));
  const file = element("#file");
  file.disabled = false;
  file.onchange = async () => {
    const chosen = file.files?.[0];
    file.value = "";
    if (chosen) await soundOf(await chosen.arrayBuffer(), task.rate).then(heard).catch(fail);
  };
  offerMicrophone(task, heard);
}
async function answerTo(task, { samples, done }) {
  if (!samples.some((sample) => sample !== 0)) throw new Error("It is silent throughout: give a recording of speech.");
  const { text, map, sure } = await task.answer(samples);
  draw(map, task.bands);
  showSureness(sure);
  return { text: done ? `${text}
(${done})` : text, secondsOfInput: samples.length / task.rate };
}
function offerMicrophone(task, heard) {
  const button = element("#record");
  const reason = noMicrophone();
  element("#microphone").textContent = reason ?? "";
  if (reason) return;
  button.disabled = false;
  let recording;
  let timer = 0;
  const stop = async () => {
    const running = recording;
    recording = void 0;
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
async function digitsTask(frame) {
  const normal = await (await asset("features.json")).json();
  return {
    rate: DIGITS.rate,
    bands: DIGITS.bands,
    hint: "One digit, zero to nine, in English. It records for two seconds.",
    longestMs: WORD_MS,
    trimmed: (samples) => loudestSecond(samples, DIGITS.rate),
    answer: (samples) => nameDigit(frame.predict, normal, samples)
  };
}
async function sentencesTask(frame) {
  const [listener, tokens, dictionary, bigram] = await Promise.all([
    asset("listener.json").then((found) => found.json()),
    asset("tokens.json").then((found) => found.json()),
    asset("dictionary.txt").then((found) => found.text()),
    asset("bigram.json").then((found) => found.json())
  ]);
  const made = new Listener(listener, tokens, dictionary.split(/\s+/).filter((word) => word), bigram);
  return {
    rate: SENTENCES.rate,
    bands: SENTENCES.bands,
    hint: "Letters, numbers and commands, in English: C M U, fifteen, stop. Press again to end.",
    longestMs: LONGEST_MS,
    trimmed: (samples) => samples,
    answer: (samples) => made.hear(frame.predict, samples)
  };
}
function draw(map, bands) {
  const canvas = element("#sound");
  const frames = map.length / bands;
  const least = map.reduce((low, value) => Math.min(low, value), Infinity);
  const most = map.reduce((high, value) => Math.max(high, value), -Infinity);
  [canvas.width, canvas.height, canvas.hidden] = [frames, bands, false];
  const pen = canvas.getContext("2d");
  const picture = pen.createImageData(frames, bands);
  for (let band = 0; band < bands; band++) {
    for (let place = 0; place < frames; place++) {
      const share = (map[band * frames + place] - least) / (most - least || 1);
      const pixel = [255 * share ** 2, 255 * (0.15 + 0.75 * share ** 1.5), 255 * (0.3 + 0.5 * share), 255];
      picture.data.set(pixel, 4 * ((bands - 1 - band) * frames + place));
    }
  }
  pen.putImageData(picture, 0, 0);
}
function showSureness(sure) {
  const bars = (sure ?? []).map((share, digit) => {
    const bar = document.createElement("li");
    bar.style.setProperty("--share", String(share));
    bar.textContent = String(digit);
    return bar;
  });
  element("#sure").replaceChildren(...bars);
}
main().catch(fail);
