/** A worker in which an `Estimator` runs, so that pages never wait for it. */

import { Estimator, type EstimatorOptions } from "./estimator.js";

/** What pages send; every message gets one answer with the same number. */
export type Request =
  | { id: number; kind: "open"; file: Uint8Array<ArrayBuffer>; options: EstimatorOptions }
  | { id: number; kind: "estimate"; image: ImageBitmap | ImageData };

export type Answer = { id: number; result?: unknown; error?: string };

let estimator: Estimator | undefined;
let canvas: OffscreenCanvas | undefined;

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  let answer: Answer;
  try {
    answer = { id: data.id, result: await answerTo(data) };
  } catch (error) {
    answer = { id: data.id, error: error instanceof Error ? error.message : String(error) };
  }
  self.postMessage(answer);
};

async function answerTo(request: Request): Promise<unknown> {
  if (request.kind === "open") {
    estimator = await Estimator.open(request.file, request.options);
    return estimator.info;
  }
  if (!estimator) throw new Error("no app file is open");
  return estimator.estimate(request.image instanceof ImageData ? request.image : pixelsOf(request.image));
}

/** The pixels of a bitmap, at its own size: scaling is done by `fitFrame`. */
function pixelsOf(bitmap: ImageBitmap): ImageData {
  const { width, height } = bitmap;
  if (canvas?.width !== width || canvas.height !== height) canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}
