// What a file finds in a picture, as demo_apps/detection/_try_out.py answers it.

import { floats, floatsOf, type Predict } from "../../shared/predict";
import { keepBest, type Detection } from "./boxes";
import { fitImage, type Pixels } from "./image";

/** detection.json, beside the files. */
export interface DetectionFacts {
  classes: string[];
  image: { width: number; height: number; padding: number };
  least_score: number;
  most_overlap: number;
}

/** The boxes, in pixels of the picture. */
export async function detect(predict: Predict, facts: DetectionFacts, picture: Pixels): Promise<Detection[]> {
  const { values, scale } = fitImage(picture, facts.image);
  const outputs = await predict({ image: floats([1, 3, facts.image.height, facts.image.width], values) }, "main");
  const probabilities = floatsOf(outputs, "scores").map((logit) => 1 / (1 + Math.exp(-logit)));
  const found = keepBest(floatsOf(outputs, "boxes"), probabilities, facts.classes.length, facts);
  return found.map((one) => ({ ...one, box: one.box.map((side) => side / scale) as Detection["box"] }));
}

/** How many of each class: `1 Platelets, 14 RBC, 1 WBC`. */
export function counted(found: Detection[], classes: string[]): string {
  const counts = classes.map((name, label) => ({ name, count: found.filter((one) => one.label === label).length }));
  const told = counts.filter(({ count }) => count).map(({ name, count }) => `${count} ${name}`);
  return told.join(", ") || "nothing found";
}
