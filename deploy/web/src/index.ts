/** People and their keypoints in photos and camera frames, in browsers and Node. */

import { type AppInfo } from "./app_file.js";
import { Estimator, type EstimatorOptions, type Person } from "./estimator.js";
import type { Pixels } from "./frame.js";
import type { Answer, Request } from "./worker.js";

export { AppFileError, type AppInfo } from "./app_file.js";
export type { EstimatorOptions, Keypoint, Person } from "./estimator.js";
export type { Pixels } from "./frame.js";

/** What `estimate` takes: in browsers images, videos, canvases and bitmaps; anywhere RGBA pixels. */
export type Source = ImageBitmapSource | Pixels;

/** The parts of a request that its sender chooses. */
type Message = Request extends infer Each ? (Each extends Request ? Omit<Each, "id"> : never) : never;

/** An app file of `tinypose export --frame H W --format onnx`. */
export class TinyPose {
  private constructor(
    /** What the file takes and gives. */
    readonly info: AppInfo,
    private readonly backend: Backend,
  ) {}

  /**
   * Opens an app file.
   *
   * @param source Its address, or its bytes.
   * @throws AppFileError or Error: it cannot be fetched, is damaged or holds no app.
   */
  static async load(source: string | URL | Uint8Array<ArrayBuffer>, options: EstimatorOptions = {}): Promise<TinyPose> {
    const file = source instanceof Uint8Array ? source : await fetchFile(source);
    const backend = typeof Worker === "undefined" ? new LocalBackend() : new WorkerBackend();
    try {
      return new TinyPose(await backend.open(file, options), backend);
    } catch (error) {
      backend.close();
      throw error;
    }
  }

  /** The people in an image, highest score first; coordinates are pixels of the image. */
  estimate(source: Source): Promise<Person[]> {
    return this.backend.estimate(source);
  }

  /** Frees memory and ends the worker. */
  close(): void {
    this.backend.close();
  }
}

async function fetchFile(address: string | URL): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

interface Backend {
  open(file: Uint8Array<ArrayBuffer>, options: EstimatorOptions): Promise<AppInfo>;
  estimate(source: Source): Promise<Person[]>;
  close(): void;
}

/** Runs in the calling thread, for Node. */
class LocalBackend implements Backend {
  private estimator?: Estimator;

  async open(file: Uint8Array<ArrayBuffer>, options: EstimatorOptions): Promise<AppInfo> {
    this.estimator = await Estimator.open(file, options);
    return this.estimator.info;
  }

  async estimate(source: Source): Promise<Person[]> {
    if (!isPixels(source)) throw new TypeError("pass { data, width, height } with RGBA pixels; Node has no other images");
    return this.estimator!.estimate(source);
  }

  close(): void {
    void this.estimator?.close();
  }
}

/** Runs in a worker, for browsers. */
class WorkerBackend implements Backend {
  private readonly worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, { resolve(value: any): void; reject(error: Error): void }>();
  private count = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const call = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error !== undefined) call?.reject(new Error(data.error));
      else call?.resolve(data.result);
    };
    this.worker.onerror = (event) => this.fail(event.message || "the worker could not be started");
  }

  open(file: Uint8Array<ArrayBuffer>, options: EstimatorOptions): Promise<AppInfo> {
    const runtime = options.runtime && new URL(options.runtime, document.baseURI).href;
    return this.send({ kind: "open", file, options: { ...options, runtime } });
  }

  async estimate(source: Source): Promise<Person[]> {
    const image = isPixels(source) ? imageData(source) : await createImageBitmap(source);
    return this.send({ kind: "estimate", image }, image instanceof ImageBitmap ? [image] : []);
  }

  close(): void {
    this.worker.terminate();
    this.fail("closed");
  }

  private send(message: Message, transfer: Transferable[] = []): Promise<any> {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...message }, transfer);
    });
  }

  private fail(reason: string): void {
    for (const call of this.waiting.values()) call.reject(new Error(reason));
    this.waiting.clear();
  }
}

function isPixels(source: Source): source is Pixels {
  return "data" in source && "width" in source;
}

function imageData({ data, width, height }: Pixels): ImageData {
  return new ImageData(new Uint8ClampedArray(data), width, height);
}
