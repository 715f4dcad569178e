// Which of many answers to keep: as demo_apps/detection/_boxes.py, in float32 like there.

type Floats = Float32Array<ArrayBuffer>;

export interface Detection {
  /** Left, top, right, bottom. */
  box: [number, number, number, number];
  score: number;
  label: number;
}

export interface Limits {
  least_score: number;
  most_overlap: number;
  most?: number;
}

const { fround } = Math;

/** Non-maximum suppression, class by class. `boxes` holds four numbers a cell, `probabilities` one for each class. */
export function keepBest(boxes: Floats, probabilities: Floats, classes: number, limits: Limits): Detection[] {
  const most = limits.most ?? 100;
  const cells = boxes.length / 4;
  const found: Detection[] = [];
  for (let label = 0; label < classes; label++) {
    const score = (cell: number) => probabilities[cell * classes + label]!;
    const sure = Array.from({ length: cells }, (_, cell) => cell)
      .filter((cell) => score(cell) >= fround(limits.least_score))
      .sort((one, other) => score(other) - score(one));
    for (const cell of survivors(sure, boxes, fround(limits.most_overlap), most)) {
      found.push({ box: boxOf(boxes, cell), score: score(cell), label });
    }
  }
  return found.sort((one, other) => other.score - one.score).slice(0, most);
}

/** Those that no surer one covers. */
function survivors(sorted: number[], boxes: Floats, mostOverlap: number, most: number): number[] {
  const kept: number[] = [];
  for (const cell of sorted) {
    if (kept.length === most) break;
    if (!kept.some((surer) => covers(boxOf(boxes, surer), boxOf(boxes, cell), mostOverlap))) kept.push(cell);
  }
  return kept;
}

function covers(one: Detection["box"], other: Detection["box"], mostOverlap: number): boolean {
  const width = fround(Math.min(one[2], other[2]) - Math.max(one[0], other[0]));
  const height = fround(Math.min(one[3], other[3]) - Math.max(one[1], other[1]));
  const shared = fround(Math.max(width, 0) * Math.max(height, 0));
  return shared > fround(mostOverlap * fround(fround(area(one) + area(other)) - shared));
}

function area(box: Detection["box"]): number {
  return fround(Math.max(fround(box[2] - box[0]), 0) * Math.max(fround(box[3] - box[1]), 0));
}

function boxOf(boxes: Floats, cell: number): Detection["box"] {
  return [boxes[4 * cell]!, boxes[4 * cell + 1]!, boxes[4 * cell + 2]!, boxes[4 * cell + 3]!];
}
