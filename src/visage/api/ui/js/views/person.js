// One person: who they are, and their faces.

import { h, replace } from "../dom.js";
import { number, t, when } from "../texts.js";
import { Problem, facePath, json, personPath, persistent } from "../api.js";
import { button, confirmed, dialog, dropzone, empty, failure, field, iconButton, pill, segmented, skeleton, spinner, toast } from "../parts.js";
import { base64, read, thumbnail } from "../pictures.js";
import { crop } from "../crops.js";
import { editor, told } from "../metadata.js";
import { enrolmentOptions, outcome } from "../outcomes.js";
import { inexact } from "../hints.js";
import { exactly } from "../values.js";

export async function view({ parts: [collection, id], signal }) {
  let person = await json("GET", personPath(collection, id), { signal });
  const base = `#/collections/${encodeURIComponent(collection)}`;
  const head = h("div", { class: "page-head" });
  const faces = h("div", {}, skeleton(2));
  const result = h("div", { "aria-live": "polite" });
  const modes = enrolmentOptions(segmented);
  const here = h("span", { "aria-current": "page" });

  function paint() {
    here.textContent = person.name || person.id;
    replace(head, h("div", {}, h("h1", {}, person.name || person.id),
      h("p", { class: "row tight wrap" }, pill(t("faces.n", { n: person.faces })), told(person.metadata).map((line) => pill(line)), h("span", { class: "muted small" }, `${person.id} · ${when(person.created)}`))),
    h("div", { class: "row" }, button(t("edit"), { glyph: "edit", onclick: edit }), button(t("delete"), { glyph: "trash", kind: "danger quiet", onclick: remove })));
  }

  async function load(cursor = null, before = []) {
    try {
      const page = await json("GET", personPath(collection, id, "/faces"), { query: { limit: 60, cursor }, signal });
      const items = [...before, ...page.items];
      replace(faces, items.length ? h("ul", { class: "gallery" }, items.map(tile)) : empty("person", t("person.nofaces"), t("person.nofaces.text")),
        items.length > 0 && !items.some((face) => face.has_crop) && h("p", { class: "help pad" }, t("crop.notkept.text")),
        page.next && h("div", { class: "row centre pad" }, button(t("more"), { onclick: () => load(page.next, items) })));
    } catch (error) { if (error.name !== "AbortError") replace(faces, failure(error, () => load())); }
  }

  function tile(face) {
    const about = face.about ?? {};
    const size = about.size ?? about.quality?.size;
    return h("li", { class: "tile" }, crop(collection, face, t("crop.of", { name: person.name || person.id })),
      h("div", { class: "row between" }, h("span", { class: "muted small nowrap" }, [size !== undefined && `${number(size)} px`, about.score !== undefined && number(about.score, 2)].filter(Boolean).join(" · ") || when(face.created)),
        iconButton(t("person.face.delete"), "trash", { class: "icon-button small", onclick: async () => {
          if (!await confirmed(t("person.face.delete"), t("person.face.delete.text"), t("delete"))) return;
          try { await json("DELETE", facePath(collection, id, face.id)); toast(t("deleted")); } catch (error) { toast(error.message, "bad"); }
          fresh();
        } })));
  }

  async function fresh() {
    person = await json("GET", personPath(collection, id), { signal }).catch(() => person);
    paint();
    load();
  }

  async function edit() {
    const changed = await dialog(t("edit"), (close) => {
      const name = h("input", { type: "text", value: person.name ?? "", autocomplete: "off", autofocus: true });
      const before = person.metadata ?? {};
      const metadata = editor(before);
      const fault = h("div", {});
      return h("form", { class: "dialog-body", onsubmit: async (event) => {
        event.preventDefault();
        try {
          const after = metadata.value;
          const differs = JSON.stringify(after) !== JSON.stringify(before);
          if (differs) exactly(after, inexact); // it goes back as a whole
          close(await persistent("PATCH", personPath(collection, id), { body: { name: name.value.trim(), ...(differs ? { metadata: after } : {}) } }));
        } catch (error) { replace(fault, failure(error instanceof SyntaxError ? new Error(t("metadata.bad")) : error)); }
      } }, field(t("name"), name), metadata.element, fault, h("div", { class: "row end" }, button(t("cancel"), { onclick: () => close(null) }), h("button", { type: "submit", class: "button primary" }, t("save"))));
    });
    if (changed) { person = changed; paint(); toast(t("saved")); }
  }

  async function remove() {
    if (!await confirmed(t("person.delete"), t("person.delete.text", { name: person.name || person.id, faces: person.faces }), t("delete"))) return;
    try { await json("DELETE", personPath(collection, id)); toast(t("deleted")); location.hash = base; } catch (error) { toast(error.message, "bad"); }
  }

  async function add(files) {
    const pictures = await Promise.all(files.map(read));
    replace(result, spinner());
    let images;
    try {
      ({ images } = await persistent("POST", personPath(collection, id, "/faces"), { body: { quality: modes.quality.value, faces: modes.faces.value, images: await Promise.all(files.map(base64)) }, signal }));
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Problem) || !error.body.images) { replace(result, failure(error)); return; }
      ({ images } = error.body);
    }
    replace(result, h("ul", { class: "outcomes panel" }, images.map((entry, index) => outcome(entry, pictures[index].name, thumbnail(pictures[index], 160)))));
    fresh();
  }

  paint();
  load();
  return h("div", { class: "page" },
    h("nav", { class: "crumbs", "aria-label": t("crumbs") }, h("a", { href: "#/collections" }, t("collections.title")), h("span", { "aria-hidden": "true" }, "/"), h("a", { href: base }, collection), h("span", { "aria-hidden": "true" }, "/"), here),
    head, h("section", { class: "stack", "aria-label": t("faces") }, faces),
    h("section", { class: "panel padded stack" }, h("h2", {}, t("person.add")), dropzone(add, { label: t("enrol.drop"), compact: true }), h("div", { class: "options" }, modes.quality, modes.faces), result));
}
