// Boxes, landmarks and numbers over a picture. A number stands outside every face and beside every other number; where
// there is no such place it is left out (the list beside the picture has it), rather than hide a face of a crowd.

import { h } from "./dom.js";

const TAG = 18;
const GAPS = [3, 1];

const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

/** Where each box's number goes: [left, top, right, bottom] or null, on a canvas of `width` × `height`. */
export function places(boxes, width, height, widths) {
  const taken = [];
  return boxes.map(([left, top, right, bottom], index) => {
    const wide = widths[index];
    const candidates = GAPS.flatMap((gap) => [
      [left, top - gap - TAG], [right - wide, top - gap - TAG], [left, bottom + gap], [right - wide, bottom + gap],
      [left - gap - wide, top], [right + gap, top], [left - gap - wide, bottom - TAG], [right + gap, bottom - TAG],
    ]).map(([x, y]) => [x, y, x + wide, y + TAG]);
    const free = candidates.find((place) => place[0] >= 0 && place[1] >= 0 && place[2] <= width && place[3] <= height
      && !boxes.some((box) => meet(place, box)) && !taken.some((other) => meet(place, other)));
    if (!free) return null;
    taken.push(free);
    return free;
  });
}

/** A figure with the picture and its faces. `choose(index | null, firmly)` is told of the face under the pointer. */
export function overlay(picture, size, alt, choose = () => {}) {
  const image = h("canvas", { class: "stage-picture", role: "img", "aria-label": alt, width: Math.round(size.width), height: Math.round(size.height) });
  const marks = h("canvas", { class: "stage-marks", "aria-hidden": "true" });
  const frame = h("div", { class: "stage", style: { "--ratio": `${size.width} / ${size.height}`, "--natural": `${size.width}px`, "--slim": String(size.width / size.height) } }, image, marks);
  if (picture.bitmap) image.getContext("2d").drawImage(picture.bitmap, 0, 0, image.width, image.height);
  else frame.classList.add("stage-blank");

  let faces = [];
  let chosen = null;

  function draw() {
    const { clientWidth: width, clientHeight: height } = frame;
    if (!width || !height) return;
    const dense = Math.min(3, devicePixelRatio || 1);
    marks.width = Math.round(width * dense);
    marks.height = Math.round(height * dense);
    const context = marks.getContext("2d");
    context.scale(dense, dense);
    const scale = width / size.width;
    const colour = getComputedStyle(frame);
    const accent = colour.getPropertyValue("--mark").trim();
    context.font = `600 12px ${colour.fontFamily}`;
    const boxes = faces.map(({ box }) => box.map((value) => value * scale));
    const labels = faces.map((_, index) => String(index + 1));
    const widths = labels.map((label) => Math.max(TAG, context.measureText(label).width + 10));
    const spots = places(boxes, width, height, widths);
    faces.forEach((face, index) => mark(context, face, boxes[index], scale, accent, chosen === null ? 1 : chosen === index ? 2 : 0));
    spots.forEach((spot, index) => spot && tag(context, spot, labels[index], accent, chosen === null || chosen === index));
  }

  function at(event) {
    const where = marks.getBoundingClientRect();
    const x = (event.clientX - where.left) * size.width / where.width;
    const y = (event.clientY - where.top) * size.height / where.height;
    const under = faces.map((face, index) => ({ index, box: face.box }))
      .filter(({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
    under.sort((a, b) => (a.box[2] - a.box[0]) - (b.box[2] - b.box[0])); // the smaller one is in front
    return under[0]?.index ?? null;
  }

  marks.addEventListener("pointermove", (event) => {
    const index = at(event);
    marks.classList.toggle("over-face", index !== null);
    choose(index, false);
  });
  marks.addEventListener("pointerleave", () => choose(null, false));
  marks.addEventListener("click", (event) => choose(at(event), true));
  new ResizeObserver(draw).observe(frame);
  document.addEventListener("visage-theme", draw);

  return {
    element: frame,
    show(found) { faces = found; chosen = null; draw(); },
    choose(index) { chosen = index; draw(); },
  };
}

/** `weight`: 0 beside a chosen one, 1 plain, 2 chosen. */
function mark(context, face, [left, top, right, bottom], scale, accent, weight) {
  const width = right - left;
  context.globalAlpha = weight === 0 ? 0.6 : 1;
  const radius = Math.min(6, width / 8);
  for (const [colour, line] of [["rgba(0,0,0,.45)", weight === 2 ? 5 : 3.5], [accent, weight === 2 ? 3 : 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width < 24 ? line * 0.6 : line;
    context.beginPath();
    context.roundRect(left, top, width, bottom - top, radius);
    context.stroke();
  }
  if (width > 20) {
    const size = Math.max(1.2, Math.min(3.5, width / 50));
    for (const [x, y] of face.landmarks ?? []) {
      context.beginPath();
      context.arc(x * scale, y * scale, size, 0, 7);
      context.fillStyle = "#fff";
      context.fill();
      context.lineWidth = 1;
      context.strokeStyle = "rgba(0,0,0,.6)";
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}

function tag(context, [left, top, right], text, accent, strong) {
  context.globalAlpha = strong ? 1 : 0.7;
  context.fillStyle = accent;
  context.beginPath();
  context.roundRect(left, top, right - left, TAG, 5);
  context.fill();
  context.fillStyle = "#fff";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, (left + right) / 2, top + TAG / 2 + 0.5);
  context.globalAlpha = 1;
}
