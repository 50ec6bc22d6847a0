// Parts that several views are made of.

import { h, icon, replace, fresh } from "./dom.js";
import { t } from "./texts.js";
import { camera, hasCamera } from "./camera.js";
import { dropped, isPicture, read, withPath } from "./pictures.js";
import { Problem } from "./api.js";

export function button(label, { glyph, kind = "", ...attributes } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, ...attributes }, glyph && icon(glyph, 18), h("span", {}, label));
}

export function iconButton(label, glyph, attributes = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, ...attributes }, icon(glyph));
}

export function link(label, href, { glyph, kind = "" } = {}) {
  return h("a", { class: `button ${kind}`, href }, glyph && icon(glyph, 18), h("span", {}, label));
}

export function field(label, control, { help, optional } = {}) {
  const id = control.id || fresh("field");
  control.id = id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: "field" },
    h("label", { for: id }, label, optional && h("span", { class: "optional" }, ` ${t("optional")}`)),
    control,
    help && h("p", { class: "help", id: `${id}-help` }, help));
}

/** Radio buttons in one row. `options`: [[value, label], …]; a `value` that is none of them leaves all open. */
export function segmented(label, options, value, change = () => {}, { visible = true } = {}) {
  const name = fresh("choice");
  const group = h("fieldset", { class: "segmented" }, h("legend", { class: visible ? "" : "sr" }, label),
    h("div", { class: "segments" }, options.map(([key, text]) => {
      const id = fresh("segment");
      return [h("input", { type: "radio", name, id, value: key, checked: key === value, onchange: () => change(key) }), h("label", { for: id }, text)];
    })));
  Object.defineProperty(group, "value", { get: () => group.querySelector("input:checked")?.value });
  return group;
}

export function toggle(label, checked, change) {
  const id = fresh("toggle");
  return h("div", { class: "toggle" }, h("input", { type: "checkbox", role: "switch", id, checked, onchange: (event) => change(event.target.checked) }), h("label", { for: id }, label));
}

export function slider(label, { min, max, step, value, format }, input, change = () => {}) {
  const id = fresh("slider");
  const output = h("output", { for: id, class: "figure" }, format(value));
  const control = h("input", { type: "range", id, min, max, step, value: String(value), oninput: () => { show(); input(Number(control.value)); }, onchange: () => change(Number(control.value)) });
  const show = () => {
    output.textContent = format(Number(control.value));
    control.style.setProperty("--part", `${100 * (control.value - min) / (max - min)}%`);
    control.setAttribute("aria-valuetext", format(Number(control.value)));
  };
  show();
  const whole = h("div", { class: "slider" }, h("label", { for: id }, label), output, control);
  whole.set = (to) => { control.value = String(to); show(); };
  return whole;
}

export function spinner(text = t("loading")) {
  return h("div", { class: "loading", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), h("span", {}, text));
}

export function skeleton(rows = 3) {
  return h("div", { class: "skeleton", role: "status" }, h("span", { class: "sr" }, t("loading")), Array.from({ length: rows }, () => h("div", { "aria-hidden": "true" })));
}

export function empty(glyph, title, text, ...actions) {
  return h("div", { class: "empty" }, h("div", { class: "empty-glyph" }, icon(glyph, 28)), h("h2", {}, title), h("p", {}, text), actions.length > 0 && h("div", { class: "row centre" }, actions));
}

/** What went wrong and what to do: an alert with a way to try again. */
export function failure(error, again) {
  const problem = error instanceof Problem;
  if (!problem && error.constructor !== Error) console.error(error); // a fault of the page's own
  return h("div", { class: "notice bad", role: "alert" }, icon("warning"),
    h("div", { class: "grow" },
      h("strong", {}, problem && error.body.title ? error.body.title : t("error.title")),
      h("p", {}, error.message || String(error)),
      problem && error.body.instance && h("p", { class: "small muted" }, t("error.request", { id: error.body.instance }))),
    again && button(t("again"), { onclick: again, kind: "small" }));
}

export const pill = (text, kind = "", glyph) => h("span", { class: `pill ${kind}` }, glyph && icon(glyph, 14), text);

export function toast(text, kind = "") {
  const element = h("div", { class: `toast ${kind}` }, icon(kind === "bad" ? "warning" : "check", 18), h("span", {}, text));
  document.getElementById("toasts").append(element);
  setTimeout(() => element.remove(), 4500);
}

export async function copy(text, control) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain http: the old way
    const area = h("textarea", { class: "sr", "aria-hidden": "true" }, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(t("copied"));
  control?.focus();
}

export function code(title, text, language) {
  const action = button(t("copy"), { glyph: "copy", kind: "small quiet", onclick: () => copy(text, action), "aria-label": t("copy.what", { what: title }) });
  return h("figure", { class: "code" }, h("figcaption", {}, h("span", {}, title), action), h("pre", { tabindex: "0", "aria-label": title, dataset: { language } }, h("code", {}, text)));
}

/** A modal dialog; resolves to what `close(value)` is given, or null. `build(close)` makes its content. */
export function dialog(title, build, { wide = false } = {}) {
  return new Promise((done) => {
    const id = fresh("dialog");
    let result = null;
    const close = (value) => { result = value ?? null; element.close(); };
    const element = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : "" },
      h("div", { class: "dialog-head" }, h("h2", { id }, title), iconButton(t("close"), "cross", { onclick: () => close(null) })));
    element.append(build(close, element));
    element.addEventListener("close", () => { element.remove(); done(result); });
    element.addEventListener("click", (event) => { if (event.target === element) close(null); });
    document.body.append(element);
    element.showModal();
    element.querySelector("[autofocus]")?.focus();
  });
}

/** Confirmation; with `name` the user has to type it. */
export function confirmed(title, text, action, name = null) {
  return dialog(title, (close) => {
    const go = h("button", { type: "submit", class: "button danger", disabled: name !== null }, action);
    const typed = name !== null && h("input", { type: "text", autocomplete: "off", spellcheck: "false", autofocus: true, oninput: (event) => { go.disabled = event.target.value !== name; } });
    const cancel = button(t("cancel"), { onclick: () => close(false) });
    if (name === null) cancel.setAttribute("autofocus", "");
    return h("form", { class: "dialog-body", onsubmit: (event) => { event.preventDefault(); close(true); } },
      h("p", {}, text), typed && field(t("type.name", { name }), typed), h("div", { class: "row end" }, cancel, go));
  });
}

/** Drop, choose, paste or take pictures; `take(files)` gets them. Paste works anywhere while this is on the page. */
export function dropzone(take, { several = true, label, hint, compact = false, folder = false } = {}) {
  const input = h("input", { type: "file", class: "sr", tabindex: "-1", accept: folder ? null : "image/*,.heic,.heif,.avif,.jp2,.tif,.tiff", multiple: several, webkitdirectory: folder, "aria-label": label, onchange: () => { give([...input.files].map(withPath)); input.value = ""; } });
  const give = (files) => {
    const pictures = files.filter(isPicture);
    if (!pictures.length) { if (files.length) toast(t("drop.none"), "bad"); return; }
    take(several ? pictures : pictures.slice(0, 1), files.length - pictures.length);
  };
  const choose = button(t(folder ? "drop.folder" : several ? "drop.choose" : "drop.one"), { glyph: folder ? "folder" : "upload", kind: "primary", onclick: () => input.click() });
  const snap = !folder && hasCamera() && button(t("camera"), { glyph: "camera", onclick: async () => { const file = await camera(); if (file) give([file]); } });
  const zone = h("div", { class: `drop ${compact ? "compact" : ""}`, role: "group", "aria-label": label },
    !compact && h("div", { class: "drop-glyph" }, icon(folder ? "folder" : "picture", 28)),
    h("div", { class: "drop-words" }, h("strong", {}, label), hint && h("p", {}, hint)),
    h("div", { class: "row centre" }, choose, snap), input);
  let depth = 0;
  zone.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => { depth -= 1; if (!depth) zone.classList.remove("over"); });
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    zone.classList.remove("over");
    give(await dropped(event.dataTransfer));
  });
  zone.paste = give;
  return zone;
}

/** Pasted pictures go to `zone()` as long as `view` is on the page. */
export function pasteInto(view, zone) {
  const listen = (event) => {
    if (!view.isConnected) { document.removeEventListener("paste", listen); return; }
    const files = [...(event.clipboardData?.files ?? [])].map(withPath);
    if (files.length) { event.preventDefault(); zone()?.paste(files); }
  };
  document.addEventListener("paste", listen);
}

/** Small pictures that were chosen, each with a cross. */
export function tray(change = () => {}) {
  let pictures = [];
  const list = h("ul", { class: "tray", "aria-label": t("pictures") });
  function show() {
    replace(list, pictures.map((picture) => h("li", {}, picture.canvas, iconButton(t("remove.what", { what: picture.name }), "cross", { class: "icon-button tiny", onclick: () => { pictures = pictures.filter((other) => other !== picture); show(); } }))));
    list.hidden = !pictures.length;
    change(pictures);
  }
  show();
  return {
    element: list,
    get pictures() { return pictures; },
    async add(files) {
      const { thumbnail } = await import("./pictures.js");
      for (const file of files) {
        const picture = await read(file);
        pictures.push({ ...picture, canvas: thumbnail(picture, 160) });
        show();
      }
    },
    clear() { pictures = []; show(); },
  };
}

/** A similarity as a bar from 0 to 1 with the threshold marked. */
export function bar(value, threshold) {
  const part = (x) => `${Math.max(0, Math.min(1, x)) * 100}%`;
  return h("div", { class: `likeness ${value >= threshold ? "good" : ""}`, "aria-hidden": "true", style: { "--value": part(value), "--threshold": part(threshold) } }, h("i"), h("b"));
}
