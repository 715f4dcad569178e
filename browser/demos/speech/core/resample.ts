// Another rate of samples, without what the lower of the two cannot carry: as scipy.signal.resample_poly does it.

type Floats = Float32Array<ArrayBuffer>;

const KAISER_BETA = 5;

export function resampled(samples: Floats, oldRate: number, rate: number): Floats {
  const common = divisor(rate, oldRate);
  const [up, down] = [rate / common, oldRate / common];
  const reach = 10 * Math.max(up, down);
  const filter = lowpass(reach, 1 / Math.max(up, down));
  const found = new Float32Array(Math.ceil((samples.length * up) / down));
  for (let place = 0; place < found.length; place++) {
    const middle = place * down;
    const first = Math.max(0, Math.ceil((middle - reach) / up));
    const last = Math.min(samples.length - 1, Math.floor((middle + reach) / up));
    let sum = 0;
    for (let from = first; from <= last; from++) sum += samples[from]! * filter[middle + reach - from * up]!;
    found[place] = up * sum;
  }
  return found;
}

/** A sinc under a Kaiser window, its sum 1; `cutoff` in shares of half the rate. */
function lowpass(reach: number, cutoff: number): Floats {
  const taps = Float64Array.from({ length: 2 * reach + 1 }, (_, n) => {
    const x = cutoff * (n - reach);
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return sinc * bessel(KAISER_BETA * Math.sqrt(1 - ((n - reach) / reach) ** 2));
  });
  const sum = taps.reduce((total, tap) => total + tap, 0);
  return Float32Array.from(taps, (tap) => tap / sum);
}

/** The modified Bessel function of order 0, by its series. */
function bessel(x: number): number {
  let [term, sum] = [1, 1];
  for (let n = 1; term > 1e-17 * sum; n++) sum += term *= (x / (2 * n)) ** 2;
  return sum;
}

function divisor(one: number, other: number): number {
  return other === 0 ? one : divisor(other, one % other);
}
