// A picture from the camera. Browsers give it to pages of https or of this very machine only.

import { h } from "./dom.js";
import { t } from "./texts.js";
import { button, dialog, failure, spinner } from "./parts.js";

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** The picture as a File, or null where the user thought otherwise. */
export async function camera() {
  let stream = null;
  let gone = false;
  const stop = () => { gone = true; stream?.getTracks().forEach((track) => track.stop()); };
  const file = await dialog(t("camera.title"), (close) => {
    const video = h("video", { playsinline: true, muted: true, "aria-label": t("camera.preview"), hidden: true });
    const waiting = spinner(t("camera.wait"));
    const shot = button(t("camera.take"), { glyph: "camera", kind: "primary", disabled: true, onclick: async () => close(await grab(video)) });
    const view = h("div", { class: "viewfinder" }, waiting, video);
    navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } }, audio: false })
      .then(async (given) => {
        stream = given;
        if (gone) { stop(); return; }
        video.srcObject = given;
        await video.play();
        waiting.remove();
        video.hidden = false;
        shot.disabled = false;
        shot.focus();
      })
      .catch((error) => { if (!gone) view.replaceChildren(failure(new Error(error.name === "NotAllowedError" ? t("camera.denied") : t("camera.none")))); });
    return h("div", { class: "dialog-body" }, view, h("div", { class: "row end" }, button(t("cancel"), { onclick: () => close(null) }), shot));
  }, { wide: true });
  stop();
  return file;
}

/** As the camera saw it; the mirror is the preview's alone. */
function grab(video) {
  const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob((blob) => done(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92));
}
