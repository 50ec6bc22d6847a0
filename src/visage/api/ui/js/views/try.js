// Try it: pictures in, everything that the service says of their faces.

import { fresh, h, icon, replace } from "../dom.js";
import { milliseconds, number, t } from "../texts.js";
import { ROOT, json } from "../api.js";
import { code, dropzone, empty, failure, iconButton, pasteInto, pill, segmented, slider, spinner, toggle } from "../parts.js";
import { dataUrl, mediaType, portrait, read, thumbnail } from "../pictures.js";
import { overlay } from "../overlay.js";
import { reasonsOf } from "../outcomes.js";

const options = { route: "detect", threshold: null, attributes: true };

export async function view({ signal }) {
  const info = await json("GET", "/info", { signal }).catch(() => ({}));
  options.threshold ??= info.defaults?.det_thresh ?? info.defaults?.threshold ?? 0.6;
  const attributes = !info.models || Boolean(info.models.ga_name || info.models.mask_detector); // else no network tells them
  let shots = [];
  let current = null;
  const strip = h("div", { class: "strip", role: "group", "aria-label": t("pictures") });
  const result = h("div", { class: "result" });
  const live = h("p", { class: "sr", role: "status", "aria-live": "polite" });

  const zone = dropzone(add, { label: t("try.drop"), hint: t("try.hint") });
  const small = dropzone(add, { label: t("try.more"), compact: true });
  small.hidden = true;

  async function add(files) {
    for (const file of files) {
      const shot = { picture: await read(file), state: "waiting" };
      shots.push(shot);
      current = shot;
      paint();
      await run(shot);
    }
  }

  async function run(shot) {
    shot.state = "busy";
    paint();
    const mine = shot.turn = (shot.turn ?? 0) + 1; // what was asked last counts, whichever answer comes last
    const asked = { route: options.route, query: { threshold: options.threshold, landmarks: true, crops: true, attributes: attributes && options.attributes } };
    const started = performance.now();
    try {
      const answer = await json("POST", `/v1/${asked.route}`, { body: shot.picture.file, type: mediaType(shot.picture.file), query: asked.query, signal });
      if (mine !== shot.turn) return;
      const image = answer.images[0];
      Object.assign(shot, { answer, asked, round: performance.now() - started, state: image.status === "ok" ? "done" : "failed" });
      shot.error = image.status === "ok" ? null : new Error(image.error?.detail ?? image.error?.title ?? t("error.title"));
    } catch (error) {
      if (error.name === "AbortError" || mine !== shot.turn) return;
      shot.state = "failed";
      shot.error = error;
    }
    if (shot === current) live.textContent = shot.state === "done" ? t("faces.found", { n: shot.answer.images[0].faces.length }) : shot.error.message;
    paint();
  }

  const again = () => Promise.all(shots.map(run));

  function paint() {
    zone.hidden = shots.length > 0;
    small.hidden = shots.length === 0;
    strip.hidden = shots.length < 2;
    replace(strip, shots.map((shot, index) => {
      shot.canvas ??= thumbnail(shot.picture, 144);
      shot.canvas.setAttribute("aria-hidden", "true");
      return h("div", { class: `strip-item ${shot.state}` },
        h("button", { type: "button", "aria-pressed": String(shot === current), "aria-label": shot.picture.name, title: shot.picture.name, onclick: () => { current = shot; paint(); strip.children[index].firstChild.focus(); } },
          shot.canvas, h("span", { class: "badge" }, shot.state === "done" ? String(shown(shot).length) : shot.state === "failed" ? "!" : "…")),
        iconButton(t("remove.what", { what: shot.picture.name }), "cross", { class: "icon-button tiny", onclick: () => { shots = shots.filter((other) => other !== shot); if (current === shot) current = shots[0] ?? null; paint(); } }));
    }));
    result.classList.toggle("busy", current?.state === "busy");
    if (!current) replace(result);
    else if (current.state === "failed") replace(result, failure(current.error, () => run(current)));
    else if (current.answer) replace(result, report(current, remove));
    else replace(result, h("div", { class: "panel tall" }, spinner(t("try.busy"))));
  }

  function remove() { shots = shots.filter((other) => other !== current); current = shots.at(-1) ?? null; paint(); }

  const controls = h("section", { class: "panel controls", "aria-label": t("try.options") },
    slider(t("threshold"), { min: 0.1, max: 0.95, step: 0.01, value: options.threshold, format: (x) => number(x, 2) },
      (value) => { options.threshold = value; paint(); }, again),
    segmented(t("try.ask"), [["detect", t("try.detect")], ["embeddings", t("try.embeddings")]], options.route, (value) => { options.route = value; again(); }),
    attributes && toggle(t("try.attributes"), options.attributes, (on) => { options.attributes = on; again(); }));

  const page = h("div", { class: "page" },
    h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("try.title")), h("p", { class: "lead" }, t("try.lead")))),
    controls, zone, small, strip, live, result);
  pasteInto(page, () => zone);
  paint();
  return page;
}

const shown = (shot) => shot.answer.images[0].faces.filter((face) => face.score >= options.threshold);

function report(shot, remove) {
  const image = shot.answer.images[0];
  const faces = shown(shot);
  const list = h("ul", { class: "faces", "aria-label": t("faces") });
  let fixed = null;
  const stage = overlay(shot.picture, image, t("picture.alt", { name: shot.picture.name, n: faces.length }), (index, firmly) => {
    if (firmly) { fixed = index; list.children[index]?.querySelector("button").focus(); list.children[index]?.scrollIntoView({ block: "nearest" }); }
    light(index ?? fixed);
  });
  const cards = faces.map((face, index) => card(shot, face, index, {
    onfocus: () => light(index), onblur: () => light(fixed), onpointerenter: () => light(index), onpointerleave: () => light(fixed),
    onclick: () => { fixed = fixed === index ? null : index; light(fixed); },
  }));
  const light = (index) => {
    stage.choose(index);
    cards.forEach((item, place) => { item.classList.toggle("lit", place === index); item.querySelector("button").setAttribute("aria-expanded", String(place === index && fixed === index)); });
  };
  replace(list, cards);
  stage.show(faces);
  return [
    h("div", { class: "split" },
      h("section", { class: "panel stage-panel", "aria-label": shot.picture.name },
        h("div", { class: "panel-head" }, h("h2", { class: "truncate" }, shot.picture.name),
          h("span", { class: "muted small figure nowrap" }, `${image.width} × ${image.height}`), iconButton(t("remove.what", { what: shot.picture.name }), "trash", { onclick: remove })),
        h("div", { class: "stage-room" }, stage.element),
        !shot.picture.bitmap && h("p", { class: "muted small pad" }, t("picture.unshown"))),
      h("section", { class: "panel", "aria-label": t("faces") },
        h("div", { class: "panel-head" }, h("h2", {}, t("faces.found", { n: faces.length }))),
        faces.length ? list : empty("search", t("faces.none"), t("faces.none.text")))),
    details(shot, image),
  ];
}

function card(shot, face, index, events) {
  const picture = face.crop ? h("img", { src: dataUrl(face.crop), alt: t("crop.alt", { n: index + 1 }), width: 72, height: 72 }) : portrait(shot.picture, face.box, 144);
  const id = fresh("face");
  const quality = face.quality ?? {};
  const rows = [
    [t("face.size"), `${number(face.size)} px`],
    face.gender !== undefined && face.gender !== null && [t("face.gender"), genderOf(face.gender)],
    face.age !== undefined && face.age !== null && [t("face.age"), number(face.age)],
    maskOf(face.mask) && [t("face.mask"), maskOf(face.mask)],
    quality.sharpness !== undefined && [t("face.sharpness"), number(quality.sharpness, quality.sharpness < 10 ? 2 : 0)],
    quality.yaw !== undefined && [t("face.pose"), [quality.yaw, quality.pitch, quality.roll].map((angle) => `${number(angle ?? 0)}°`).join(" / ")],
    face.norm !== undefined && [t("face.norm"), number(face.norm, 2)],
    [t("face.box"), face.box.map((x) => number(x)).join(", ")],
  ].filter(Boolean);
  return h("li", { class: "face" },
    h("button", { type: "button", class: "face-button", "aria-expanded": "false", "aria-controls": id, ...events },
      picture,
      h("span", { class: "face-words" },
        h("span", { class: "row tight" }, h("span", { class: "number" }, String(index + 1)), h("strong", { class: "figure" }, number(face.score, 3)), quality.verdict && pill(t(`quality.${quality.verdict}`), quality.verdict === "good" ? "good" : "warn")),
        h("span", { class: "muted small" }, [`${number(face.size)} px`, face.gender !== undefined && face.gender !== null && genderOf(face.gender), face.age !== undefined && face.age !== null && number(face.age)].filter(Boolean).join(" · ")))),
    h("dl", { class: "facts", id }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "figure" }, value))),
      quality.reasons?.length > 0 && h("div", { class: "whole" }, h("dt", {}, t("quality.why")), h("dd", {}, reasonsOf(quality).join("; ")))));
}

function genderOf(value) {
  if (value === 1 || value === "male") return t("gender.male");
  if (value === 0 || value === "female") return t("gender.female");
  return String(value);
}

function maskOf(mask) {
  if (mask === null || mask === undefined) return "";
  if (typeof mask === "boolean") return t(mask ? "yes" : "no");
  if (typeof mask === "number") return number(mask, 2);
  return typeof mask.mask === "number" ? number(mask.mask, 2) : "";
}

function details(shot, image) {
  const { route, query } = shot.asked;
  const address = `${ROOT}/v1/${route}?${new URLSearchParams(query)}`;
  const curl = `curl --data-binary @${quoted(shot.picture.name)} \\\n  -H 'Content-Type: ${mediaType(shot.picture.file)}' \\\n  '${address}'`;
  const figures = [
    [t("time.networks"), milliseconds(image.took_ms)], [t("time.service"), milliseconds(shot.answer.took_ms)], [t("time.round"), milliseconds(shot.round)],
    ...Object.entries(shot.answer.models ?? {}).map(([role, name]) => [t(`role.${role}`), String(name?.name ?? name)]),
  ];
  return h("section", { class: "panel", "aria-label": t("try.how") },
    h("div", { class: "panel-head" }, h("h2", {}, t("try.how"))),
    h("dl", { class: "figures" }, figures.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "figure truncate", title: value }, value)))),
    h("div", { class: "codes" }, code("curl", curl, "shell"), code(t("answer"), JSON.stringify(shortened(shot.answer), null, 2), "json")));
}

/** A name as a shell reads it. */
export const quoted = (name) => (/^[\w.+-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);

/** Long texts and vectors by their beginning: the answer is there to be read. */
export function shortened(value) {
  if (typeof value === "string") return value.length > 120 ? `${value.slice(0, 48)}… (${t("characters", { n: value.length })})` : value;
  if (Array.isArray(value)) return value.length > 24 && value.every((x) => typeof x === "number") ? [...value.slice(0, 4), `… (${t("numbers", { n: value.length })})`] : value.map(shortened);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shortened(inner)]));
  return value;
}
