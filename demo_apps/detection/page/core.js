function floats(shape, values = new Float32Array(sizeOf(shape))) {
  return { dtype: "F32", shape, values };
}
function integers(shape, values) {
  return { dtype: "I32", shape, values: Int32Array.from(values) };
}
function floatsOf(outputs, name) {
  const found = outputs[name]?.values;
  if (!(found instanceof Float32Array)) throw new Error(`The file gives no ${name} in float32: run the demo again.`);
  return found;
}
function sizeOf(shape) {
  return shape.reduce((product, length) => product * length, 1);
}
function largest(values, from = 0, to = values.length) {
  let best = from;
  for (let place = from + 1; place < to; place++) if (values[place] > values[best]) best = place;
  return best;
}
function logSoftmax(logits, from = 0, to = logits.length) {
  const wide = Array.from({ length: to - from }, (_, place) => logits[from + place]);
  const most = Math.max(...wide);
  const total = most + Math.log(wide.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return wide.map((value) => value - total);
}
const { fround } = Math;
function keepBest(boxes, probabilities, classes, limits) {
  const most = limits.most ?? 100;
  const cells = boxes.length / 4;
  const found = [];
  for (let label = 0; label < classes; label++) {
    const score = (cell) => probabilities[cell * classes + label];
    const sure = Array.from({ length: cells }, (_, cell) => cell).filter((cell) => score(cell) >= fround(limits.least_score)).sort((one, other) => score(other) - score(one));
    for (const cell of survivors(sure, boxes, fround(limits.most_overlap), most)) {
      found.push({ box: boxOf(boxes, cell), score: score(cell), label });
    }
  }
  return found.sort((one, other) => other.score - one.score).slice(0, most);
}
function survivors(sorted, boxes, mostOverlap, most) {
  const kept = [];
  for (const cell of sorted) {
    if (kept.length === most) break;
    if (!kept.some((surer) => covers(boxOf(boxes, surer), boxOf(boxes, cell), mostOverlap))) kept.push(cell);
  }
  return kept;
}
function covers(one, other, mostOverlap) {
  const width = fround(Math.min(one[2], other[2]) - Math.max(one[0], other[0]));
  const height = fround(Math.min(one[3], other[3]) - Math.max(one[1], other[1]));
  const shared = fround(Math.max(width, 0) * Math.max(height, 0));
  return shared > fround(mostOverlap * fround(fround(area(one) + area(other)) - shared));
}
function area(box) {
  return fround(Math.max(fround(box[2] - box[0]), 0) * Math.max(fround(box[3] - box[1]), 0));
}
function boxOf(boxes, cell) {
  return [boxes[4 * cell], boxes[4 * cell + 1], boxes[4 * cell + 2], boxes[4 * cell + 3]];
}
const CHANNELS = 3;
const BITS = 22;
function fitImage(picture, { width, height, padding }) {
  const scale = Math.min(width / picture.width, height / picture.height);
  const columns = Math.max(1, halfToEven(picture.width * scale));
  const rows = Math.max(1, halfToEven(picture.height * scale));
  const values = new Float32Array(CHANNELS * height * width).fill(padding / 255);
  const small = scaled(picture, columns, rows);
  for (let channel = 0; channel < CHANNELS; channel++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        values[(channel * height + row) * width + column] = small[(row * columns + column) * CHANNELS + channel] / 255;
      }
    }
  }
  return { values, scale };
}
function scaled({ width, height, data }, columns, rows) {
  const across = weighed(width, columns);
  const narrow = new Uint8ClampedArray(columns * height * CHANNELS);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < columns; column++) {
      const { first, weights } = across[column];
      for (let channel = 0; channel < CHANNELS; channel++) {
        let sum = 1 << BITS - 1;
        for (let n = 0; n < weights.length; n++) sum += data[(row * width + first + n) * 4 + channel] * weights[n];
        narrow[(row * columns + column) * CHANNELS + channel] = sum >> BITS;
      }
    }
  }
  const down = weighed(height, rows);
  const found = new Uint8ClampedArray(columns * rows * CHANNELS);
  const line = columns * CHANNELS;
  for (let row = 0; row < rows; row++) {
    const { first, weights } = down[row];
    for (let place = 0; place < line; place++) {
      let sum = 1 << BITS - 1;
      for (let n = 0; n < weights.length; n++) sum += narrow[(first + n) * line + place] * weights[n];
      found[row * line + place] = sum >> BITS;
    }
  }
  return found;
}
function weighed(before, after) {
  const scale = before / after;
  const reach = Math.max(scale, 1);
  return Array.from({ length: after }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(before, Math.trunc(centre + reach + 0.5));
    const shares = Array.from({ length: last - first }, (_2, n) => {
      return Math.max(0, 1 - Math.abs((first + n - centre + 0.5) / reach));
    });
    const sum = shares.reduce((total, share) => total + share, 0);
    return { first, weights: Int32Array.from(shares, (share) => Math.trunc(0.5 + share / sum * (1 << BITS))) };
  });
}
function halfToEven(value) {
  const low = Math.floor(value);
  const part = value - low;
  return part > 0.5 || part === 0.5 && low % 2 === 1 ? low + 1 : low;
}
async function detect(predict, facts, picture) {
  const { values, scale } = fitImage(picture, facts.image);
  const outputs = await predict({ image: floats([1, 3, facts.image.height, facts.image.width], values) }, "main");
  const probabilities = floatsOf(outputs, "scores").map((logit) => 1 / (1 + Math.exp(-logit)));
  const found = keepBest(floatsOf(outputs, "boxes"), probabilities, facts.classes.length, facts);
  return found.map((one) => ({ ...one, box: one.box.map((side) => side / scale) }));
}
function counted(found, classes) {
  const counts = classes.map((name, label) => ({ name, count: found.filter((one) => one.label === label).length }));
  const told = counts.filter(({ count }) => count).map(({ name, count }) => `${count} ${name}`);
  return told.join(", ") || "nothing found";
}
export {
  counted,
  detect,
  fitImage,
  floats,
  floatsOf,
  integers,
  keepBest,
  largest,
  logSoftmax,
  scaled,
  sizeOf
};
