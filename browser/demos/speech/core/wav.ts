// PCM WAV files, read as demo_apps/speech/_wav.py reads a user's: to the same samples.

import { resampled } from "./resample";

export interface Sound {
  samples: Float32Array<ArrayBuffer>;
  /** What was done to it, in words; empty where nothing had to be. */
  done: string;
}

const LONGEST_SECONDS = 30;
const RATES = [4000, 192000] as const;
const MOST_CHANNELS = 8;
const PCM = 1;

/** The samples at a rate; undefined where this is no PCM WAV file, but maybe something that the browser can decode. */
export function readWav(bytes: ArrayBuffer, rate: number): Sound | undefined {
  const view = new DataView(bytes);
  const word = (at: number) => String.fromCharCode(...new Uint8Array(bytes, at, 4));
  if (bytes.byteLength < 12 || word(0) !== "RIFF" || word(8) !== "WAVE") return undefined;
  let format: { channels: number; found: number; width: number } | undefined;
  for (let at = 12; at + 8 <= bytes.byteLength; ) {
    const [kind, size] = [word(at), view.getUint32(at + 4, true)];
    const content = at + 8;
    if (kind === "fmt ") {
      if (content + 16 > bytes.byteLength) break;
      if (view.getUint16(content, true) !== PCM) return undefined;
      const channels = view.getUint16(content + 2, true);
      format = { channels, found: view.getUint32(content + 4, true), width: (view.getUint16(content + 14, true) + 7) >> 3 };
    }
    if (kind === "data" && format) return sound(view, content, size, format, rate);
    at = content + size + (size & 1);
  }
  throw new Error("The file ends within its header, so it was cut off: save it anew.");
}

function sound(
  view: DataView,
  from: number,
  size: number,
  { channels, found, width }: { channels: number; found: number; width: number },
  rate: number,
): Sound {
  const good = channels >= 1 && channels <= MOST_CHANNELS && width >= 1 && width <= 4 && found >= RATES[0] && found <= RATES[1];
  if (!good) {
    throw new Error(
      `The file has ${channels} channel(s) of ${8 * width} bits at ${found} Hz, but may have 1 to ${MOST_CHANNELS} of 8` +
        ` to 32 bits at ${RATES[0]} to ${RATES[1]} Hz: convert it.`,
    );
  }
  const frames = Math.floor(size / (channels * width));
  refuseLong(frames / found);
  if (frames === 0) throw new Error("The file holds no samples: give a recording of speech.");
  if (from + frames * channels * width > view.byteLength) {
    throw new Error("The file holds fewer samples than its header promises, so it was cut off: save it anew.");
  }
  const mixed = new Float32Array(frames);
  for (let frame = 0; frame < frames; frame++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) {
      sum += Math.fround(sample(view, from + (frame * channels + channel) * width, width));
    }
    mixed[frame] = sum / channels;
  }
  return at(mixed, found, rate, channels);
}

/** A waveform of some channels that were mixed down, at another rate. */
export function at(mixed: Float32Array<ArrayBuffer>, found: number, rate: number, channels: number): Sound {
  const done = channels > 1 ? [`${channels} channels mixed down`] : [];
  if (found === rate) return { samples: mixed, done: done.join(", ") };
  done.push(`resampled from ${found} Hz`);
  return { samples: resampled(mixed, found, rate), done: done.join(", ") };
}

export function refuseLong(seconds: number): void {
  if (seconds > LONGEST_SECONDS) {
    throw new Error(`The recording is ${seconds.toFixed(0)} s long, but may last ${LONGEST_SECONDS} s: cut it.`);
  }
}

/** A number in -1..1; one byte is the one width without a sign. */
function sample(view: DataView, place: number, width: number): number {
  if (width === 1) return (view.getUint8(place) - 128) / 128;
  if (width === 2) return view.getInt16(place, true) / 2 ** 15;
  if (width === 3) return ((view.getUint8(place) | (view.getInt16(place + 1, true) << 8)) << 0) / 2 ** 23;
  return view.getInt32(place, true) / 2 ** 31;
}
