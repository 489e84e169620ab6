/** Reads what an app file, an ONNX model of `tinypose export --frame`, says of itself. */

const FORMAT = "tinypose-torch export 1";
const KEY = "tinypose";
const SEAL = "TINYPOSE";
const HASH_SIZE = 32;
const METADATA_FIELD = 14; // of ONNX's ModelProto

/** What an app file takes and gives. */
export interface AppInfo {
  /** Size of the frames, pixels. */
  width: number;
  height: number;
  /** Order of a pixel's bytes in the frame. */
  pixels: "RGB" | "RGBA" | "BGR";
  /** Number of people that the file gives at most. */
  maxPeople: number;
  keypointNames: string[];
  /** Pairs of keypoints that are joined by a line. */
  links: [number, number][];
}

/** Raised for files that are damaged or hold no app. */
export class AppFileError extends Error {
  override name = "AppFileError";
}

/** Checks the checksum of an app file and reads its description. */
export async function readAppFile(file: Uint8Array<ArrayBuffer>): Promise<AppInfo> {
  await checkSeal(file);
  const text = findMetadata(file);
  if (text === null) throw new AppFileError("no description in the file; export it with: tinypose export --frame");
  return parseDescription(text);
}

async function checkSeal(file: Uint8Array<ArrayBuffer>): Promise<void> {
  const content = file.subarray(0, file.length - SEAL.length - HASH_SIZE);
  const mark = new TextDecoder("latin1").decode(file.subarray(content.length, content.length + SEAL.length));
  if (mark !== SEAL) throw new AppFileError("no checksum at the end of the file: it was cut short, or is not an app file");
  if (!globalThis.crypto?.subtle) return; // pages without HTTPS
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const written = file.subarray(file.length - HASH_SIZE);
  if (hash.some((byte, index) => byte !== written[index])) {
    throw new AppFileError("the checksum of the file is wrong: it was altered or damaged");
  }
}

/** Fields of a protobuf message: numbers of length-delimited fields with their bytes. */
function* fields(message: Uint8Array): Generator<[number, Uint8Array]> {
  let position = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (position >= message.length || scale > 2 ** 49) throw new AppFileError("the file is not an ONNX model");
      const byte = message[position++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (position < message.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) position += 8;
    else if (kind === 5) position += 4;
    else if (kind === 2) {
      const length = varint();
      if (position + length > message.length) throw new AppFileError("the file is not an ONNX model");
      yield [Math.floor(key / 8), message.subarray(position, position + length)];
      position += length;
    } else throw new AppFileError("the file is not an ONNX model");
  }
}

function findMetadata(file: Uint8Array): string | null {
  const decoder = new TextDecoder();
  for (const [number, value] of fields(file)) {
    if (number !== METADATA_FIELD) continue;
    const entry = new Map(fields(value));
    const key = entry.get(1);
    const text = entry.get(2);
    if (key && text && decoder.decode(key) === KEY) return decoder.decode(text);
  }
  return null;
}

function parseDescription(text: string): AppInfo {
  let facts: any;
  try {
    facts = JSON.parse(text);
  } catch {
    throw new AppFileError("the description of the file is damaged");
  }
  if (facts?.format !== FORMAT) {
    throw new AppFileError(`the file has format ${JSON.stringify(facts?.format)}; this package reads "${FORMAT}"`);
  }
  if (!facts.app) throw new AppFileError("the file is a single network; export an app with: tinypose export --frame");
  const { frame, people } = facts.app;
  const pixels = /^uint8 HWC (RGB|RGBA|BGR)$/.exec(frame?.kind)?.[1];
  if (!pixels) throw new AppFileError(`the file takes frames of kind "${frame?.kind}"; export it with --pixels rgb`);
  const skeleton = facts.networks?.pose?.skeleton;
  const names = skeleton?.keypoint_names;
  const [height, width] = frame.size;
  if (!Array.isArray(names) || ![height, width, people].every((size) => Number.isInteger(size) && size > 0)) {
    throw new AppFileError("the description of the file is incomplete");
  }
  return { width, height, pixels: pixels as AppInfo["pixels"], maxPeople: people, keypointNames: names, links: skeleton.links ?? [] };
}
