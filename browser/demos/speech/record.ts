// Sound from the microphone, or out of any file that the browser can decode.

import { at, readWav, refuseLong, type Sound } from "./core";

const DECODED_RATE = 48000;

/** Why there is no microphone; undefined where there may be one. */
export function noMicrophone(): string | undefined {
  if (navigator.mediaDevices && typeof MediaRecorder !== "undefined") return undefined;
  return self.isSecureContext
    ? "This browser records no sound; choose a file."
    : "Browsers give the microphone only to a page from the device itself: use a cable and adb reverse, or choose a file.";
}

/** Records until it is stopped. */
export class Recording {
  private readonly parts: Blob[] = [];
  private constructor(
    private readonly stream: MediaStream,
    private readonly recorder: MediaRecorder,
  ) {
    recorder.ondataavailable = ({ data }) => this.parts.push(data);
  }

  static async start(): Promise<Recording> {
    // What calls do to a voice, the network has not learned from.
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: plain }).catch((error: Error) => {
      throw new Error(`The microphone cannot be used (${error.message}): allow it, or choose a file.`);
    });
    const made = new Recording(stream, new MediaRecorder(stream));
    made.recorder.start();
    return made;
  }

  async stop(rate: number): Promise<Sound> {
    const stopped = new Promise((resolve) => (this.recorder.onstop = resolve));
    this.recorder.stop();
    await stopped;
    for (const track of this.stream.getTracks()) track.stop();
    return decoded(await new Blob(this.parts).arrayBuffer(), rate);
  }
}

/** The samples of a sound file: of a PCM WAV file the very ones that the command line reads. */
export async function soundOf(bytes: ArrayBuffer, rate: number): Promise<Sound> {
  return readWav(bytes, rate) ?? decoded(bytes, rate);
}

async function decoded(bytes: ArrayBuffer, rate: number): Promise<Sound> {
  const context = new OfflineAudioContext(1, 1, DECODED_RATE);
  const buffer = await context.decodeAudioData(bytes).catch(() => {
    throw new Error("The file is no sound that this browser can decode: save it as WAV.");
  });
  refuseLong(buffer.duration);
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const part = buffer.getChannelData(channel);
    for (let place = 0; place < mixed.length; place++) mixed[place] = mixed[place]! + part[place]! / buffer.numberOfChannels;
  }
  return at(mixed, DECODED_RATE, rate, buffer.numberOfChannels);
}
