// Samples in the order of time: the file's in colour, the reference's in grey.

const WIDTH = 600;
const HEIGHT = 340;
const LEFT = 120;
const SVG = "http://www.w3.org/2000/svg";

export class Plot {
  private readonly samplesMs = { reference: [] as number[], file: [] as number[] };

  constructor(private readonly svg: SVGSVGElement) {}

  clear(): void {
    this.samplesMs.reference = [];
    this.samplesMs.file = [];
    this.svg.replaceChildren();
  }

  add(of: "file" | "reference", ms: number[]): void {
    this.samplesMs[of].push(...ms);
    const most = 1.1 * Math.max(...this.samplesMs.file, ...this.samplesMs.reference);
    this.svg.replaceChildren();
    for (const share of [0, 0.5, 1]) this.text(`${(share * most).toPrecision(2)} ms`, HEIGHT - 10 - share * (HEIGHT - 30));
    for (const kind of ["reference", "file"] as const) {
      const values = this.samplesMs[kind];
      const path = document.createElementNS(SVG, "path");
      const points = values.map((ms, index) => {
        const x = LEFT + (index / Math.max(values.length - 1, 1)) * (WIDTH - LEFT - 10);
        return `M${x.toFixed(1)} ${(HEIGHT - 15 - (ms / most) * (HEIGHT - 30)).toFixed(1)}m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0`;
      });
      path.setAttribute("class", kind);
      path.setAttribute("d", points.join(""));
      this.svg.append(path);
    }
  }

  private text(words: string, y: number): void {
    const text = document.createElementNS(SVG, "text");
    text.setAttribute("y", String(y));
    text.textContent = words;
    this.svg.append(text);
  }
}
