// Detection: a picture from a file or the camera in, the same with boxes out.

import { asset } from "../shared/facts";
import { element, fail, Frame, say, type Answer } from "../shared/frame";
import { counted, detect, type Detection, type DetectionFacts } from "./core";

const TITLES = { cells: "Count blood cells" };
const MOST_PIXELS = 64_000_000;
// By class, over again where there are more; also told apart by those who see no red or green (Okabe and Ito).
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

async function main(): Promise<void> {
  const frame = await Frame.open(TITLES);
  if (!frame) return;
  const facts: DetectionFacts = await (await asset("detection.json")).json();
  const shown = (picture: ImageBitmap) => frame.answer(() => answerTo(frame, facts, picture));
  const file = element<HTMLInputElement>("#file");
  file.disabled = false;
  file.onchange = async () => {
    const chosen = file.files?.[0];
    file.value = ""; // the same file may be chosen again
    if (chosen) await decoded(chosen).then(shown).catch(fail);
  };
  offerCamera(shown);
}

async function decoded(file: Blob): Promise<ImageBitmap> {
  const picture = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
    throw new Error("The file is no picture that this browser can decode: save it as JPEG or PNG.");
  });
  if (picture.width * picture.height > MOST_PIXELS) {
    throw new Error(
      `The picture has ${picture.width} x ${picture.height} pixels, but at most 64 megapixels are read: scale it down.`,
    );
  }
  return picture;
}

async function answerTo(frame: Frame, facts: DetectionFacts, picture: ImageBitmap): Promise<Answer> {
  const { width, height } = picture;
  const canvas = element<HTMLCanvasElement>("#picture");
  [canvas.width, canvas.height, canvas.hidden] = [width, height, false];
  const pen = canvas.getContext("2d", { willReadFrequently: true })!;
  pen.drawImage(picture, 0, 0);
  const found = await detect(frame.predict, facts, pen.getImageData(0, 0, width, height));
  drawBoxes(pen, found, width);
  showClasses(facts.classes);
  return { text: counted(found, facts.classes) };
}

function drawBoxes(pen: CanvasRenderingContext2D, found: Detection[], width: number): void {
  pen.lineWidth = Math.max(2, width / 200);
  for (const { box, label } of found) {
    const [left, top, right, bottom] = box;
    pen.strokeStyle = COLOURS[label % COLOURS.length]!;
    if (right > left && bottom > top) pen.strokeRect(left, top, right - left, bottom - top);
  }
}

function showClasses(classes: string[]): void {
  const names = classes.map((name, label) => {
    const item = document.createElement("li");
    item.style.setProperty("--colour", COLOURS[label % COLOURS.length]!);
    item.textContent = name;
    return item;
  });
  element("#classes").replaceChildren(...names);
}

function offerCamera(shown: (picture: ImageBitmap) => Promise<void>): void {
  const button = element<HTMLButtonElement>("#camera");
  const video = element<HTMLVideoElement>("#viewfinder");
  if (!navigator.mediaDevices) {
    // A phone's own camera opens from the file chooser, for which the page need not come from the device itself.
    element("#hint").textContent = "Choose a file also offers the phone's camera.";
    return;
  }
  button.disabled = false;
  let stream: MediaStream | undefined;
  const close = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = undefined;
    video.srcObject = null;
    video.hidden = true;
    button.textContent = "Camera";
  };
  button.onclick = async () => {
    try {
      if (stream) {
        const picture = await createImageBitmap(video);
        close();
        return await shown(picture);
      }
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      video.srcObject = stream;
      video.hidden = false;
      await video.play();
      button.textContent = "Take it";
      say("Point it at the slide or the picture.");
    } catch (error) {
      close();
      fail(new Error(`The camera cannot be used (${(error as Error).message}): allow it, or choose a file.`));
    }
  };
}

main().catch(fail);
