// Stored crops, fetched with the key (an <img> would ask without it), each once, when it comes into sight.

import { h, icon } from "./dom.js";
import { t } from "./texts.js";
import { blob, facePath } from "./api.js";

const kept = new Map();
const MOST = 500;
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); entry.target.load(); }
}, { rootMargin: "200px" });

/** A square with the stored face, or a sign for one whose crop is not kept. */
export function crop(collection, face, alt) {
  const frame = h("span", { class: "crop" }, icon("person", 28));
  if (!face?.has_crop) {
    frame.title = t("crop.notkept");
    return frame;
  }
  frame.load = async () => {
    const path = facePath(collection, face.person, face.id, "/crop");
    try {
      if (!kept.has(path)) keep(path, blob(path).then((png) => URL.createObjectURL(png)));
      frame.replaceChildren(h("img", { src: await kept.get(path), alt }));
    } catch { kept.delete(path); frame.title = t("crop.notkept"); }
  };
  seen.observe(frame);
  return frame;
}

function keep(path, promised) {
  kept.set(path, promised);
  if (kept.size <= MOST) return;
  const [oldest, address] = kept.entries().next().value;
  kept.delete(oldest);
  address.then((url) => URL.revokeObjectURL(url), () => {});
}
