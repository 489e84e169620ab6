// node estimate.mjs INDEX.js APP IMAGES.json: the people in RGBA files, as JSON.
import { readFileSync } from "node:fs";

const [index, app, images] = process.argv.slice(2);
const { TinyPose } = await import(index);
const pose = await TinyPose.load(new Uint8Array(readFileSync(app)));
const answers = [];
for (const { file, width, height } of JSON.parse(readFileSync(images, "utf8"))) {
  answers.push(await pose.estimate({ data: new Uint8Array(readFileSync(file)), width, height }));
}
console.log(JSON.stringify({ info: pose.info, answers }));
process.exit(0);
