// Translation: an English text in, a German one out.

import { asset } from "../shared/facts";
import { element, fail, Frame } from "../shared/frame";
import { translate, Vocabulary, type Limits } from "./core";

const TITLES = { "en-de": "English into German" };

async function main(): Promise<void> {
  const frame = await Frame.open(TITLES);
  if (!frame) return;
  const [limits, source, target] = await Promise.all([
    asset("limits.json").then((found): Promise<Limits> => found.json()),
    vocabulary("source.model"),
    vocabulary("target.model"),
  ]);
  const text = element<HTMLTextAreaElement>("#text");
  const button = element<HTMLButtonElement>("#translate");
  const ask = () => {
    const given = text.value;
    return frame.answer(async () => ({ text: await translate(frame.predict, [source, target], limits, given) }));
  };
  button.disabled = false;
  button.onclick = ask;
  text.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    void ask();
  };
}

async function vocabulary(name: string): Promise<Vocabulary> {
  return new Vocabulary(await (await asset(name)).arrayBuffer());
}

main().catch(fail);
