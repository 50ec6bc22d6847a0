// A picture that the user brought: its file, its pixels where the browser can read it, and pieces of it.

import { t } from "./texts.js";

const LOOKS = /\.(jpe?g|png|webp|gif|bmp|tiff?|jp2|avif|hei[cf]|ico|p[bgnp]m)$/i;

export const isPicture = (file) => file.type.startsWith("image/") || LOOKS.test(file.name);

/** {file, name, url, bitmap}; `bitmap` is null of a format that the browser cannot show (the service may read it). */
export async function read(file) {
  let bitmap = null;
  try { bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }); } catch { /* not shown */ }
  return { file, name: file.name || "picture.jpg", bitmap };
}

/** The file as base64, for a JSON body. */
export function base64(file) {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => fail(new Error(t("error.unreadable", { name: file.name })));
    reader.readAsDataURL(file);
  });
}

/** What the Content-Type of a bare picture says; the service looks at the bytes. */
export const mediaType = (file) => (file.type.startsWith("image/") ? file.type : "application/octet-stream");

/** A canvas with the whole picture, no side longer than `most`. */
export function thumbnail(picture, most) {
  const canvas = document.createElement("canvas");
  const { bitmap } = picture;
  if (!bitmap) return blank(canvas, most);
  const scale = Math.min(1, most / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A square canvas with the face and a margin around its box. */
export function portrait(picture, box, size = 224) {
  const canvas = document.createElement("canvas");
  canvas.width = size;
  canvas.height = size;
  if (!picture?.bitmap || !box) return blank(canvas, size);
  const [left, top, right, bottom] = box;
  const side = Math.max(right - left, bottom - top) * 1.5;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.bitmap, (left + right - side) / 2, (top + bottom - side) / 2, side, side, 0, 0, size, size);
  return canvas;
}

function blank(canvas, size) {
  canvas.width = size;
  canvas.height = size;
  canvas.classList.add("blank");
  return canvas;
}

export const dataUrl = (png) => `data:image/png;base64,${png}`;

/** All files of a drop, those in folders too; each has `path`, with its folders. */
export async function dropped(transfer) {
  const entries = [...(transfer.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map(withPath);
  return (await Promise.all(entries.map((entry) => walk(entry, "")))).flat();
}

export function withPath(file) {
  file.path = file.webkitRelativePath || file.name;
  return file;
}

async function walk(entry, folder) {
  const path = folder + entry.name;
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    file.path = path;
    return [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives at most a hundred at a time
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const child of some) found.push(...await walk(child, `${path}/`));
  }
}
