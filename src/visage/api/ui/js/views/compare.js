// Compare: two pictures, one question. Which faces were compared, and why, is said; another may be chosen.

import { h, replace } from "../dom.js";
import { milliseconds, number, t } from "../texts.js";
import { ROOT, json } from "../api.js";
import { code, dropzone, failure, iconButton, pasteInto, pill, slider, spinner, button } from "../parts.js";
import { base64, dataUrl, mediaType, portrait, read } from "../pictures.js";
import { overlay } from "../overlay.js";
import { quoted, shortened } from "./try.js";

export async function view({ signal }) {
  const sides = { a: side("a"), b: side("b") };
  const verdict = h("section", { class: "panel verdict", "aria-live": "polite", "aria-label": t("compare.result") });
  let threshold = null;
  let turn = 0;

  function side(name) {
    const room = h("section", { class: "panel side", "aria-label": t(`compare.${name}`) });
    return { name, room, picture: null, faces: null, size: null, chosen: null, error: null };
  }

  async function take(one, file) {
    Object.assign(one, { picture: await read(file), faces: null, chosen: null, error: null, base64: null });
    const { picture } = one;
    paintSide(one);
    paintVerdict();
    try {
      const answer = await json("POST", "/v1/embeddings", { body: file, type: mediaType(file), query: { crops: true, landmarks: true }, signal });
      if (one.picture !== picture) return; // taken away meanwhile
      const image = answer.images[0];
      if (image.status !== "ok") throw new Error(image.error?.detail ?? t("error.title"));
      Object.assign(one, { faces: image.faces, size: image });
      if (!image.faces.length) one.error = new Error(t("compare.noface"));
    } catch (error) {
      if (error.name === "AbortError" || one.picture !== picture) return;
      one.error = error;
    }
    paintSide(one);
    await compare();
  }

  const ready = () => Object.values(sides).every((one) => one.faces?.length);

  /** A side as the API takes it: the picture, or the vector of the face that was chosen by hand. */
  async function body(one) {
    if (one.chosen !== null) return { vector: one.faces[one.chosen].embedding };
    one.base64 ??= await base64(one.picture.file);
    return { image: one.base64 };
  }

  async function compare() {
    if (!ready()) { paintVerdict(); return; }
    const mine = ++turn;
    paintVerdict({ busy: true });
    try {
      const asked = { a: await body(sides.a), b: await body(sides.b), ...(threshold === null ? {} : { threshold }) };
      const started = performance.now();
      const answer = await json("POST", "/v1/compare", { body: asked, signal });
      if (mine !== turn) return;
      for (const one of Object.values(sides)) { one.told = answer[one.name]; paintSide(one); }
      paintVerdict({ answer, asked, round: performance.now() - started });
    } catch (error) {
      if (error.name !== "AbortError" && mine === turn) paintVerdict({ error });
    }
  }

  /** The place in our list of the face that the service took. */
  function taken(one) {
    if (one.chosen !== null) return one.chosen;
    const box = one.told?.kind === "image" && one.told.box;
    if (!box) return one.faces?.length === 1 ? 0 : null;
    const away = (face) => face.box.reduce((total, value, index) => total + Math.abs(value - box[index]), 0);
    return one.faces.reduce((best, face, index) => (away(face) < away(one.faces[best]) ? index : best), 0);
  }

  function paintSide(one) {
    const head = h("div", { class: "panel-head" }, h("h2", { class: "truncate" }, one.picture ? one.picture.name : t(`compare.${one.name}`)),
      one.picture && iconButton(t("remove.what", { what: one.picture.name }), "trash", { onclick: () => { Object.assign(one, { picture: null, faces: null, chosen: null, told: null, error: null }); turn += 1; paintSide(one); paintVerdict(); } }));
    if (!one.picture) {
      one.zone = dropzone(([file]) => take(one, file), { several: false, label: t("compare.drop"), hint: t("try.hint") });
      replace(one.room, head, one.zone);
      return;
    }
    if (one.error && !one.faces?.length) { replace(one.room, head, failure(one.error, () => take(one, one.picture.file))); return; }
    if (!one.faces) { replace(one.room, head, h("div", { class: "tall" }, spinner(t("try.busy")))); return; }
    const now = taken(one);
    const choose = (index) => { one.chosen = index; paintSide(one); compare().then(() => one.room.querySelectorAll(".choice")[index]?.focus()); };
    const stage = overlay(one.picture, one.size, t("picture.alt", { name: one.picture.name, n: one.faces.length }), (index, firmly) => {
      if (firmly && index !== null && index !== now) choose(index);
      else stage.choose(index ?? now);
    });
    const why = one.chosen !== null ? t("compare.byhand", { n: now + 1 }) : one.told?.why ? whyOf(one.told.why) : "";
    replace(one.room, head, h("div", { class: "stage-room" }, stage.element),
      h("div", { class: "side-foot" },
        why && h("p", { class: "row tight" }, h("span", { class: "number" }, String((now ?? 0) + 1)), h("span", {}, why)),
        one.faces.length > 1 && [h("p", { class: "muted small" }, t("compare.other")),
          h("div", { class: "choices", role: "group", "aria-label": t("compare.other") }, one.faces.map((face, index) => h("button", { type: "button", class: "choice", "aria-pressed": String(index === now), "aria-label": t("face.n", { n: index + 1 }), onclick: () => choose(index), onfocus: () => stage.choose(index), onblur: () => stage.choose(now) },
            face.crop ? h("img", { src: dataUrl(face.crop), alt: "" }) : portrait(one.picture, face.box, 112), h("span", { "aria-hidden": "true" }, String(index + 1)))))]));
    stage.show(one.faces);
    stage.choose(now);
    const row = one.room.querySelector(".choices");
    const pressed = row?.querySelector("[aria-pressed=true]");
    if (pressed) row.scrollLeft = pressed.offsetLeft - row.offsetLeft - row.clientWidth / 2 + pressed.clientWidth / 2;
  }

  function paintVerdict({ answer, asked, round, error, busy } = {}) {
    verdict.classList.toggle("busy", Boolean(busy));
    if (error) { replace(verdict, failure(error, compare)); return; }
    if (busy && verdict.querySelector(".scale")) return;
    if (!answer) {
      replace(verdict, busy ? spinner() : h("p", { class: "muted centre" }, t(sides.a.picture || sides.b.picture ? "compare.one" : "compare.none")));
      return;
    }
    const { similarity, same } = answer;
    const margin = Math.abs(similarity - answer.threshold);
    replace(verdict,
      h("div", { class: "verdict-words" }, pill(t(same ? "compare.same" : "compare.different"), same ? "good big" : "bad big", same ? "check" : "cross"),
        h("p", { class: "lead" }, t(`compare.${same ? "same" : "different"}.${margin < 0.06 ? "close" : "clear"}`, { similarity: number(similarity, 3), threshold: number(answer.threshold, 3) }))),
      scale(similarity, answer.threshold),
      h("div", { class: "verdict-foot" },
        slider(t("threshold"), { min: 0, max: 1, step: 0.001, value: answer.threshold, format: (x) => number(x, 3) }, () => {}, (value) => { threshold = value; compare(); }),
        h("p", { class: "muted small" }, t(`from.${answer.threshold_from}`), threshold !== null && [" ", button(t("compare.reset"), { kind: "small quiet", onclick: () => { threshold = null; compare(); } })])),
      h("details", { class: "more" }, h("summary", {}, t("compare.how")),
        h("p", { class: "muted small" }, t("time.both", { service: milliseconds(answer.took_ms), round: milliseconds(round) })),
        h("div", { class: "codes" }, code("curl", curlOf(asked), "shell"), code(t("answer"), JSON.stringify(shortened(answer), null, 2), "json"))));
  }

  function curlOf(asked) {
    const part = (one) => (asked[one.name].vector ? `{"vector":${JSON.stringify(asked[one.name].vector)}}` : '{"image":"%s"}');
    const files = Object.values(sides).filter((one) => asked[one.name].image).map((one) => `"$(base64 -w0 ${quoted(one.picture.name)})"`);
    const rest = asked.threshold === undefined ? "" : `,"threshold":${asked.threshold}`;
    return `printf '{"a":${part(sides.a)},"b":${part(sides.b)}${rest}}' \\\n  ${files.length ? `${files.join(" ")} ` : ""}| curl --data-binary @- -H 'Content-Type: application/json' \\\n  ${ROOT}/v1/compare`;
  }

  const page = h("div", { class: "page" },
    h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("compare.title")), h("p", { class: "lead" }, t("compare.lead")))),
    h("div", { class: "pair" }, sides.a.room, sides.b.room), verdict);
  for (const one of Object.values(sides)) paintSide(one);
  paintVerdict();
  pasteInto(page, () => ({ paste: (files) => take(sides.a.picture ? sides.b : sides.a, files[0]) }));
  return page;
}

/** The service's reasons in the page's language, where it knows them. */
function whyOf(why) {
  if (why === "the only face") return t("why.only");
  const found = /^the largest of (\d+) faces$/.exec(why);
  return found ? t("why.largest", { n: Number(found[1]) }) : why;
}

/** A scale from −0.2 to 1, beyond which no two faces lie; its ends hold what is further out. */
function scale(value, threshold) {
  const place = (x) => `${Math.max(0, Math.min(1, (x + 0.2) / 1.2)) * 100}%`;
  return h("div", { class: `scale ${value >= threshold ? "good" : "bad"}`, role: "img", "aria-label": t("compare.scale", { similarity: number(value, 3), threshold: number(threshold, 3) }), style: { "--value": place(value), "--threshold": place(threshold), "--zero": place(0) } },
    h("div", { class: "scale-value figure" }, number(value, 3)),
    h("div", { class: "scale-track" }, h("i"), h("b"), h("s")),
    h("div", { class: "scale-threshold small" }, t("threshold"), " ", h("span", { class: "figure" }, number(threshold, 3))),
    h("div", { class: "scale-ends small muted" }, h("span", {}, t("compare.unlike")), h("span", {}, t("compare.alike"))));
}
