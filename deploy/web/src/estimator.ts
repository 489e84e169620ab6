/** Runs an app file by ONNX Runtime: a frame in, people out. */

import { readAppFile, type AppInfo } from "./app_file.js";
import { fitFrame, type Pixels } from "./frame.js";

/** One keypoint; coordinates are pixels of the image. */
export interface Keypoint {
  name: string;
  x: number;
  y: number;
  score: number;
}

/** One person; the box is x1, y1, x2, y2 in pixels of the image. */
export interface Person {
  box: [number, number, number, number];
  score: number;
  keypoints: Keypoint[];
}

export interface EstimatorOptions {
  /** Folder of onnxruntime-web's `dist`, ending with a slash; by default the installed package. */
  runtime?: string;
  /** Threads of WebAssembly; more than one needs a page that is cross-origin isolated. */
  threads?: number;
  /** `"wasm"` (default) or `"webgpu"`. */
  device?: "wasm" | "webgpu";
}

type Runtime = typeof import("onnxruntime-web");

/** An app file that is open. */
export class Estimator {
  private constructor(
    readonly info: AppInfo,
    private readonly runtime: Runtime,
    private readonly session: import("onnxruntime-web").InferenceSession,
  ) {}

  /** Opens the bytes of an app file. */
  static async open(file: Uint8Array<ArrayBuffer>, options: EstimatorOptions = {}): Promise<Estimator> {
    const info = await readAppFile(file);
    const device = options.device ?? "wasm";
    const runtime = await importRuntime(options.runtime, device);
    if (options.runtime) runtime.env.wasm.wasmPaths = options.runtime;
    runtime.env.wasm.numThreads = options.threads ?? 1;
    const session = await runtime.InferenceSession.create(file, { executionProviders: [device] });
    return new Estimator(info, runtime, session);
  }

  /** The people in an image, highest score first. */
  async estimate(image: Pixels): Promise<Person[]> {
    const frame = fitFrame(image, this.info);
    const { width, height, pixels } = this.info;
    const input = new this.runtime.Tensor("uint8", frame.data, [height, width, pixels.length]);
    const outputs = await this.session.run({ frame: input });
    const [boxes, scores, keypoints] = ["boxes", "scores", "keypoints"].map((name) => outputs[name].data as Float32Array);
    const people: Person[] = [];
    const names = this.info.keypointNames;
    const x = (value: number): number => (value + 0.5) / frame.scaleX - 0.5;
    const y = (value: number): number => (value + 0.5) / frame.scaleY - 0.5;
    for (let row = 0; row < scores.length && scores[row] > 0; row++) {
      const [x1, y1, x2, y2] = boxes.subarray(row * 4, row * 4 + 4);
      people.push({
        box: [x1 / frame.scaleX, y1 / frame.scaleY, x2 / frame.scaleX, y2 / frame.scaleY],
        score: scores[row],
        keypoints: names.map((name, index) => {
          const place = (row * names.length + index) * 3;
          return { name, x: x(keypoints[place]), y: y(keypoints[place + 1]), score: keypoints[place + 2] };
        }),
      });
    }
    return people;
  }

  /** Frees the memory of the file. */
  async close(): Promise<void> {
    await this.session.release();
  }
}

async function importRuntime(folder: string | undefined, device: "wasm" | "webgpu"): Promise<Runtime> {
  if (!folder) return import("onnxruntime-web");
  return import(`${folder}ort.${device}.min.mjs`);
}
