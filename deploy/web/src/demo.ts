/** The demo page: people in the camera's picture, photos and videos. */

import { drawPeople } from "./drawing.js";
import { TinyPose, type Person } from "./index.js";

const element = <Kind extends HTMLElement>(id: string): Kind => document.getElementById(id) as Kind;
const canvas = element<HTMLCanvasElement>("picture");
const message = element("message");
const rate = element("rate");
const video = document.createElement("video");
video.playsInline = true;
video.muted = true;

let pose: TinyPose;
let people: Person[] = [];
let run = 0; // what is shown; an older one stops
let frames: number[] = [];

async function main(): Promise<void> {
  if (typeof WebAssembly === "undefined") return say("This browser has no WebAssembly; take a newer one.");
  if ("serviceWorker" in navigator) {
    await navigator.serviceWorker.register("service_worker.js").catch(() => undefined); // works online without
  }
  const threads = window.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  say("Loading the model ...");
  try {
    pose = await TinyPose.load("app.onnx", { runtime: "runtime/", threads });
  } catch (error) {
    return say(`The model cannot be loaded: ${text(error)}`);
  }
  document.body.dataset.threads = String(threads);
  document.body.classList.add("ready");
  say("Choose the camera, a photo or a video. Pictures stay on this device.");
  element("camera").onclick = () => void startCamera("user");
  element("turn").onclick = () => void startCamera(facing() === "user" ? "environment" : "user");
  element<HTMLInputElement>("file").onchange = (event) => {
    const file = (event.target as HTMLInputElement).files?.[0];
    if (file) void (file.type.startsWith("video/") ? showVideo(file) : showPhoto(file));
  };
  element("download").onclick = download;
}

function facing(): string | undefined {
  return (video.srcObject as MediaStream | null)?.getVideoTracks()[0]?.getSettings().facingMode ?? "user";
}

async function startCamera(facingMode: string): Promise<void> {
  stop();
  if (!navigator.mediaDevices?.getUserMedia) return say("This page cannot use a camera: it needs HTTPS or localhost.");
  try {
    const { width, height } = pose.info;
    const wanted = { facingMode, width: { ideal: width }, height: { ideal: height } };
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    return say(refused ? "The browser refused the camera; allow it for this page and try again." : `No camera: ${text(error)}`);
  }
  document.body.classList.add("live");
  await playVideo(facingMode === "user");
}

async function showVideo(file: File): Promise<void> {
  stop();
  video.src = URL.createObjectURL(file);
  video.loop = true;
  await playVideo(false);
}

async function playVideo(mirrored: boolean): Promise<void> {
  canvas.classList.toggle("mirrored", mirrored);
  try {
    await video.play();
  } catch (error) {
    return say(`The video cannot be played: ${text(error)}`);
  }
  say("");
  const current = ++run;
  while (current === run) {
    const bitmap = await createImageBitmap(video); // the picture that is drawn is the one that was estimated
    if (!(await showPicture(bitmap, current))) return;
    await new Promise(requestAnimationFrame); // pauses with the tab
  }
}

async function showPhoto(file: File): Promise<void> {
  stop();
  canvas.classList.remove("mirrored");
  try {
    await showPicture(await createImageBitmap(file), ++run);
    if (people.length) say(`${people.length} ${people.length === 1 ? "person" : "people"}`);
    else say("No people were found.");
  } catch (error) {
    say(`The photo cannot be read: ${text(error)}`);
  }
}

/** Estimates and draws a picture; whether to go on. */
async function showPicture(bitmap: ImageBitmap, current: number): Promise<boolean> {
  let found: Person[];
  try {
    found = await pose.estimate(bitmap);
  } catch (error) {
    say(`The picture cannot be used: ${text(error)}`);
    return false;
  }
  if (current !== run) return false;
  people = found;
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d")!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  drawPeople(context, people, pose.info.links);
  countFrame();
  document.body.classList.add("shown");
  return true;
}

function countFrame(): void {
  const now = performance.now();
  frames = [...frames.filter((time) => now - time < 2000), now];
  document.body.dataset.frames = String(Number(document.body.dataset.frames ?? 0) + 1);
  const seconds = (now - frames[0]) / 1000;
  rate.textContent = frames.length > 2 && seconds > 0 ? `${((frames.length - 1) / seconds).toFixed(1)} frames/s` : "";
}

function stop(): void {
  run++;
  frames = [];
  rate.textContent = "";
  document.body.classList.remove("live");
  (video.srcObject as MediaStream | null)?.getTracks().forEach((track) => track.stop());
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.srcObject = null;
}

function download(): void {
  const link = document.createElement("a");
  const facts = { width: canvas.width, height: canvas.height, people };
  link.href = URL.createObjectURL(new Blob([JSON.stringify(facts, null, 1)], { type: "application/json" }));
  link.download = "poses.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

function say(words: string): void {
  message.textContent = words;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

void main();
