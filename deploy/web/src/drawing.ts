/** Draws people on a canvas. */

import type { Person } from "./estimator.js";

const COLOURS = ["#ff7043", "#26c6da", "#d4e157", "#ec407a", "#ab47bc", "#66bb6a", "#ffca28", "#42a5f5"];

/** Draws boxes, links and keypoints of people; keypoints below `threshold` are left out. */
export function drawPeople(
  context: CanvasRenderingContext2D,
  people: Person[],
  links: [number, number][],
  threshold = 0.2,
): void {
  const size = Math.max(context.canvas.width, context.canvas.height);
  context.lineWidth = Math.max(2, size / 200);
  context.lineCap = "round";
  people.forEach((person, index) => {
    const colour = COLOURS[index % COLOURS.length];
    context.strokeStyle = context.fillStyle = colour;
    const [x1, y1, x2, y2] = person.box;
    context.globalAlpha = 0.5;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.globalAlpha = 1;
    const shown = person.keypoints.map((keypoint) => keypoint.score > threshold);
    context.beginPath();
    for (const [from, to] of links) {
      if (!shown[from] || !shown[to]) continue;
      context.moveTo(person.keypoints[from].x, person.keypoints[from].y);
      context.lineTo(person.keypoints[to].x, person.keypoints[to].y);
    }
    context.stroke();
    person.keypoints.forEach(({ x, y }, row) => {
      if (!shown[row]) return;
      context.beginPath();
      context.arc(x, y, context.lineWidth * 1.3, 0, 2 * Math.PI);
      context.fill();
    });
  });
}
