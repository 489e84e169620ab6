// Runs the keypoint task of react-native-executorch, whose folder is given, on one image. The package's TypeScript runs as it
// is published; its native functions are replaced: tensors are arrays, and a model returns the outputs that it is given.
//
//   node react_native.mjs PACKAGE < JSON { schema, outputs, options, image: { data, width, height } } > JSON { input, people }
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const ARRAYS = { uint8: Uint8Array, float32: Float32Array };

class FakeTensor {
  constructor(shape, dtype) {
    this.shape = shape;
    this.dtype = dtype;
    this.numel = shape.reduce((product, size) => product * size, 1);
    this.data = new ARRAYS[dtype](this.numel);
  }
  setData(values) {
    if (values.length !== this.numel) throw new Error(`${values.length} values for ${this.shape}`);
    this.data.set(values);
    return this;
  }
  getData(values) {
    values.set(this.data);
    return values;
  }
  copyTo(other) {
    return other.setData(this.data);
  }
  through(step, ...given) {
    return step(this, ...given);
  }
  throughIf(wanted, step, ...given) {
    return wanted ? step(this, ...given) : this;
  }
  dispose() {}
}

function resize(source, target) {
  if (String(source.shape) !== String(target.shape)) throw new Error('images have the size of the input');
  return source.copyTo(target);
}

function toChannelsFirst(source, target) {
  const [height, width, channels] = source.shape;
  for (let pixel = 0; pixel < height * width; pixel++)
    for (let channel = 0; channel < channels; channel++)
      target.data[channel * height * width + pixel] = source.data[pixel * channels + channel];
  return target;
}

function normalize(source, target, { alpha, beta }) {
  for (let index = 0; index < source.numel; index++)
    target.data[index] = Math.fround(source.data[index] * Math.fround(alpha) + Math.fround(beta));
  return target;
}

function overlap(boxes, one, other) {
  const [left, top, right, bottom] = boxes.slice(4 * one, 4 * one + 4);
  const [left2, top2, right2, bottom2] = boxes.slice(4 * other, 4 * other + 4);
  const width = Math.max(0, Math.min(right, right2) - Math.max(left, left2));
  const height = Math.max(0, Math.min(bottom, bottom2) - Math.max(top, top2));
  const union = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2) - width * height;
  return union > 0 ? (width * height) / union : 0;
}

function nms(boxes, scores, { iouThreshold, confidenceThreshold, nmsType, boxFormat }) {
  if (nmsType !== 'weighted' || boxFormat !== 'xyxy') throw new Error(`${nmsType} NMS of ${boxFormat}`);
  let left = [...scores.data.keys()].filter((index) => scores.data[index] >= confidenceThreshold);
  left.sort((one, other) => scores.data[other] - scores.data[one]);
  const groups = [];
  while (left.length) {
    const [best] = left;
    groups.push(left.filter((index) => index === best || overlap(boxes.data, best, index) > iouThreshold));
    left = left.filter((index) => !groups.at(-1).includes(index));
  }
  return groups;
}

const given = JSON.parse(readFileSync(0, 'utf8'));
let input;

function execute(method, [image], outputs) {
  if (method !== 'forward') throw new Error(`method ${method}`);
  input = image;
  outputs.forEach((output, index) => output.setData(given.outputs[index]));
}

globalThis.__rnexecutorch_jsi__ = {
  createTensor: (shape, dtype) => new FakeTensor(shape, dtype),
  loadModel: () => ({ schema: given.schema, execute, dispose() {} }),
  cv: { resize, toChannelsFirst, normalize, nms },
};

const load = (path) => import(pathToFileURL(join(process.argv[2], 'lib/module', path)));
const { COCO_LANDMARKS } = await load('constants.js');
const { createKeypointDetector } = await load('extensions/cv/tasks/keypointDetection.js');
const modelOpts = { ...given.options, landmarks: COCO_LANDMARKS };
const detector = await createKeypointDetector({ modelPath: 'app.pte', modelOpts });
const data = Uint8Array.from(Buffer.from(given.image.data, 'base64'));
const people = await detector.detectKeypoints({ ...given.image, data, format: 'rgb', layout: 'hwc' });
const pixels = Buffer.from(input.data.buffer).toString('base64');
process.stdout.write(JSON.stringify({ input: pixels, shape: input.shape, people }));
