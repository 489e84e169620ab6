// node browse.mjs PLAYWRIGHT CHROMIUM ADDRESS PHOTO...: what the demo page shows, as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [playwright, executablePath, address, ...photos] = process.argv.slice(2);
const { chromium } = createRequire(playwright)("playwright-core");
const camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...camera] });
const page = await browser.newPage();
const errors = [];
page.on("pageerror", (error) => errors.push(error.message));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
const requests = new Set();
page.on("request", (request) => requests.add(new URL(request.url()).origin));
await page.goto(address);
await page.waitForSelector("body.ready", { timeout: 120_000 });
const isolated = await page.evaluate(() => crossOriginIsolated);
const answers = [];
for (const photo of photos) {
  await page.setInputFiles("#file", photo);
  await page.waitForFunction(() => /person|people/.test(document.getElementById("message").textContent), undefined, { timeout: 120_000 });
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  answers.push(JSON.parse(readFileSync(await download.path(), "utf8")));
  await page.evaluate(() => (document.getElementById("message").textContent = ""));
}
const before = await page.evaluate(() => Number(document.body.dataset.frames ?? 0));
await page.click("#camera");
await page.waitForFunction((count) => Number(document.body.dataset.frames) > count + 4, before, { timeout: 120_000 });
const message = await page.textContent("#message");
await page.context().setOffline(true);
await page.reload();
await page.waitForSelector("body.ready", { timeout: 120_000 });
console.log(JSON.stringify({ isolated, answers, message, errors, origins: [...requests] }));
await browser.close();
