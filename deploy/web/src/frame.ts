/** Fits images into the frame of an app, with the arithmetic of OpenCV that Python uses. */

import type { AppInfo } from "./app_file.js";

/** RGBA pixels, as canvases give them. */
export interface Pixels {
  data: Uint8ClampedArray | Uint8Array;
  width: number;
  height: number;
}

/** A frame for an app, and its size in pixels of the image. */
export interface Frame {
  data: Uint8Array;
  /** Frame pixels per image pixel. */
  scaleX: number;
  scaleY: number;
}

/** Makes an image as large as fits into the frame; black fills the rest to the right or below. */
export function fitFrame(image: Pixels, info: AppInfo): Frame {
  const { width, height } = info;
  if (image.width === width && image.height === height) {
    return { data: reorder(image.data, width, width, height, info), scaleX: 1, scaleY: 1 };
  }
  const ratio = Math.min(height / image.height, width / image.width);
  const inner = {
    height: Math.max(1, roundHalfEven(image.height * ratio)),
    width: Math.max(1, roundHalfEven(image.width * ratio)),
  };
  const shrinks = height < image.height || width < image.width;
  const resized = (shrinks ? resizeArea : resizeLinear)(image, inner.width, inner.height);
  return {
    data: reorder(resized, inner.width, inner.width, inner.height, info),
    scaleX: inner.width / image.width,
    scaleY: inner.height / image.height,
  };
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Bytes in the app's order, at the upper left of a black frame. */
function reorder(rgba: Uint8ClampedArray | Uint8Array, stride: number, width: number, height: number, info: AppInfo): Uint8Array {
  const channels = info.pixels.length;
  const [red, blue] = info.pixels === "BGR" ? [2, 0] : [0, 2];
  const frame = new Uint8Array(info.width * info.height * channels);
  for (let y = 0; y < height; y++) {
    let from = y * stride * 4;
    let to = y * info.width * channels;
    for (let x = 0; x < width; x++, from += 4, to += channels) {
      frame[to + red] = rgba[from];
      frame[to + 1] = rgba[from + 1];
      frame[to + blue] = rgba[from + 2];
    }
  }
  return frame;
}

interface Taps {
  /** Index of the first tap of every target pixel; the last entry is the number of taps. */
  starts: Int32Array;
  sources: Int32Array;
  weights: Float32Array;
}

/** Taps of cv2.INTER_AREA along one axis: the part of every source pixel that a target pixel covers. */
function areaTaps(source: number, target: number): Taps {
  const scale = source / target;
  const sources: number[] = [];
  const weights: number[] = [];
  const starts = new Int32Array(target + 1);
  for (let index = 0; index < target; index++) {
    const begin = index * scale;
    const end = begin + scale;
    const cell = Math.min(scale, source - begin);
    const first = Math.ceil(begin);
    const last = Math.min(Math.floor(end), source - 1);
    const firstWhole = Math.min(first, last);
    if (firstWhole - begin > 1e-3) add(firstWhole - 1, (firstWhole - begin) / cell);
    for (let place = firstWhole; place < last; place++) add(place, 1 / cell);
    if (end - last > 1e-3) add(last, Math.min(Math.min(end - last, 1), cell) / cell);
    starts[index + 1] = sources.length;
  }
  function add(place: number, weight: number): void {
    sources.push(place);
    weights.push(weight);
  }
  return { starts, sources: Int32Array.from(sources), weights: Float32Array.from(weights) };
}

/** Means of blocks of whole pixels; means of four are rounded up from the middle, as in OpenCV. */
function resizeBlocks(image: Pixels, width: number, height: number): Uint8ClampedArray {
  const [across, down] = [image.width / width, image.height / height];
  const scale = Math.fround(1 / (across * down));
  const result = new Uint8ClampedArray(width * height * 4);
  for (let place = 0; place < width * height; place++) {
    const corner = Math.floor(place / width) * down * image.width + (place % width) * across;
    for (let channel = 0; channel < 3; channel++) {
      let sum = 0;
      for (let y = 0; y < down; y++) {
        for (let x = 0; x < across; x++) sum += image.data[(corner + y * image.width + x) * 4 + channel];
      }
      result[place * 4 + channel] = across === 2 && down === 2 ? (sum + 2) >> 2 : Math.fround(sum * scale);
    }
  }
  return result;
}

function resizeArea(image: Pixels, width: number, height: number): Uint8ClampedArray {
  if (image.width % width === 0 && image.height % height === 0) return resizeBlocks(image, width, height);
  const columns = areaTaps(image.width, width);
  const rows = areaTaps(image.height, height);
  const result = new Uint8ClampedArray(width * height * 4);
  const sums = new Float32Array(width * 3);
  const line = new Float32Array(width * 3);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let tap = rows.starts[y]; tap < rows.starts[y + 1]; tap++) {
      gatherRow(image, rows.sources[tap], columns, line);
      const weight = rows.weights[tap];
      for (let index = 0; index < sums.length; index++) sums[index] += Math.fround(weight * line[index]);
    }
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) result[(y * width + x) * 4 + channel] = sums[x * 3 + channel]; // rounds half to even
    }
  }
  return result;
}

function gatherRow(image: Pixels, row: number, taps: Taps, line: Float32Array): void {
  const offset = row * image.width * 4;
  for (let x = 0; x < taps.starts.length - 1; x++) {
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let tap = taps.starts[x]; tap < taps.starts[x + 1]; tap++) {
      const from = offset + taps.sources[tap] * 4;
      const weight = taps.weights[tap];
      red = Math.fround(red + Math.fround(image.data[from] * weight));
      green = Math.fround(green + Math.fround(image.data[from + 1] * weight));
      blue = Math.fround(blue + Math.fround(image.data[from + 2] * weight));
    }
    line.set([red, green, blue], x * 3);
  }
}

/** Taps of cv2.INTER_LINEAR along one axis: two per target pixel, weights in 2048ths; OpenCV clamps those of columns. */
function linearTaps(source: number, target: number, clamped: boolean): { sources: Int32Array; weights: Int32Array } {
  const scale = 1 / (target / source);
  const [sources, weights] = [new Int32Array(target * 2), new Int32Array(target * 2)];
  for (let index = 0; index < target; index++) {
    const place = Math.fround((index + 0.5) * scale - 0.5);
    const begin = Math.floor(place);
    const outside = begin < 0 || begin >= source - 1;
    const fraction = clamped && outside ? 0 : Math.fround(place - begin); // both taps are the same pixel there
    sources.set([begin, begin + 1].map((tap) => Math.min(Math.max(tap, 0), source - 1)), index * 2);
    weights.set([roundHalfEven(Math.fround(1 - fraction) * 2048), roundHalfEven(fraction * 2048)], index * 2);
  }
  return { sources, weights };
}

function resizeLinear(image: Pixels, width: number, height: number): Uint8ClampedArray {
  const columns = linearTaps(image.width, width, true);
  const rows = linearTaps(image.height, height, false);
  const result = new Uint8ClampedArray(width * height * 4);
  const across = (row: number, x: number, channel: number): number => {
    const offset = row * image.width;
    const left = image.data[(offset + columns.sources[x]) * 4 + channel] * columns.weights[x];
    return (left + image.data[(offset + columns.sources[x + 1]) * 4 + channel] * columns.weights[x + 1]) >> 4;
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        const above = (rows.weights[y * 2] * across(rows.sources[y * 2], x * 2, channel)) >> 16;
        const below = (rows.weights[y * 2 + 1] * across(rows.sources[y * 2 + 1], x * 2, channel)) >> 16;
        result[(y * width + x) * 4 + channel] = (above + below + 2) >> 2;
      }
    }
  }
  return result;
}
