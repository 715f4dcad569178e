// A picture as the network reads it: scaled as demo_apps/detection/_image.py has Pillow scale it, to the same bytes; but
// Pillow 13 scales pictures taller than twice their width down before across, which changes pixels by one level.

export interface Pixels {
  width: number;
  height: number;
  /** Red, green, blue, alpha of each pixel. */
  data: Uint8ClampedArray;
}

export interface Format {
  width: number;
  height: number;
  padding: number;
}

export interface Fitted {
  /** Shape (3, height, width), 0..1. */
  values: Float32Array<ArrayBuffer>;
  /** By how much boxes of the picture are multiplied. */
  scale: number;
}

const CHANNELS = 3;
const BITS = 22; // of the fixed point that Pillow counts in

/** Scales a picture into the format, its shape kept, at the upper left; the rest is grey. */
export function fitImage(picture: Pixels, { width, height, padding }: Format): Fitted {
  const scale = Math.min(width / picture.width, height / picture.height);
  const columns = Math.max(1, halfToEven(picture.width * scale));
  const rows = Math.max(1, halfToEven(picture.height * scale));
  const values = new Float32Array(CHANNELS * height * width).fill(padding / 255);
  const small = scaled(picture, columns, rows);
  for (let channel = 0; channel < CHANNELS; channel++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        values[(channel * height + row) * width + column] = small[(row * columns + column) * CHANNELS + channel]! / 255;
      }
    }
  }
  return { values, scale };
}

/** Red, green and blue of a smaller or larger picture: under triangles as wide as a pixel of the coarser of both. */
export function scaled({ width, height, data }: Pixels, columns: number, rows: number): Uint8ClampedArray {
  const across = weighed(width, columns);
  const narrow = new Uint8ClampedArray(columns * height * CHANNELS);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < columns; column++) {
      const { first, weights } = across[column]!;
      for (let channel = 0; channel < CHANNELS; channel++) {
        let sum = 1 << (BITS - 1);
        for (let n = 0; n < weights.length; n++) sum += data[(row * width + first + n) * 4 + channel]! * weights[n]!;
        narrow[(row * columns + column) * CHANNELS + channel] = sum >> BITS;
      }
    }
  }
  const down = weighed(height, rows);
  const found = new Uint8ClampedArray(columns * rows * CHANNELS);
  const line = columns * CHANNELS;
  for (let row = 0; row < rows; row++) {
    const { first, weights } = down[row]!;
    for (let place = 0; place < line; place++) {
      let sum = 1 << (BITS - 1);
      for (let n = 0; n < weights.length; n++) sum += narrow[(first + n) * line + place]! * weights[n]!;
      found[row * line + place] = sum >> BITS;
    }
  }
  return found;
}

/** Which pixels each new one is made of, and in which shares. */
function weighed(before: number, after: number): { first: number; weights: Int32Array }[] {
  const scale = before / after;
  const reach = Math.max(scale, 1);
  return Array.from({ length: after }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(before, Math.trunc(centre + reach + 0.5));
    const shares = Array.from({ length: last - first }, (_, n) => {
      return Math.max(0, 1 - Math.abs((first + n - centre + 0.5) / reach));
    });
    const sum = shares.reduce((total, share) => total + share, 0);
    return { first, weights: Int32Array.from(shares, (share) => Math.trunc(0.5 + (share / sum) * (1 << BITS))) };
  });
}

/** As Python rounds: what lies between two goes to the even one. */
function halfToEven(value: number): number {
  const low = Math.floor(value);
  const part = value - low;
  return part > 0.5 || (part === 0.5 && low % 2 === 1) ? low + 1 : low;
}
