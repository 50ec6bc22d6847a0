// Enrol one person from several pictures; each picture has an outcome of its own.

import { h, icon, replace } from "../dom.js";
import { t } from "../texts.js";
import { gallery, persistent, Problem } from "../api.js";
import { dropzone, failure, field, link, pasteInto, segmented, tray } from "../parts.js";
import { base64 } from "../pictures.js";
import { enrolmentOptions, outcome } from "../outcomes.js";
import { editor } from "../metadata.js";

export function enrol({ collection, signal, refresh }) {
  const name = h("input", { type: "text", autocomplete: "off" });
  const id = h("input", { type: "text", autocomplete: "off", spellcheck: "false", pattern: "[A-Za-z0-9][A-Za-z0-9_.:\\-]{0,127}" });
  const metadata = editor();
  const modes = enrolmentOptions(segmented);
  const result = h("div", { "aria-live": "polite", tabindex: "-1", class: "quiet-focus" });
  const go = h("button", { type: "submit", class: "button primary", disabled: true }, t("enrol.go"));
  const chosen = tray((pictures) => { go.disabled = !pictures.length; });
  const zone = dropzone((files) => chosen.add(files), { label: t("enrol.drop"), hint: t("enrol.hint") });

  async function send(event) {
    event.preventDefault();
    const { pictures } = chosen;
    go.disabled = true;
    go.classList.add("working");
    replace(result);
    try {
      const body = { name: name.value.trim() || undefined, id: id.value.trim() || undefined, metadata: metadata.value, quality: modes.quality.value, faces: modes.faces.value, images: await Promise.all(pictures.map(({ file }) => base64(file))) };
      show(await persistent("POST", gallery(collection.name, "/persons"), { body, signal }), pictures);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error instanceof Problem && error.kind === "nothing-enrolled") show({ person: null, images: error.body.images ?? [] }, pictures);
      else replace(result, failure(error instanceof SyntaxError ? new Error(t("metadata.bad")) : error));
    }
    go.classList.remove("working");
    go.disabled = !chosen.pictures.length;
    if (document.activeElement === document.body) result.focus(); // a button that is disabled loses the focus
  }

  function show({ person, images }, pictures) {
    const kept = images.filter((entry) => entry.status === "enrolled").length;
    replace(result, h("section", { class: "panel" },
      h("div", { class: `notice ${person ? "good" : "bad"}`, role: person ? null : "alert" }, icon(person ? "check" : "warning"),
        h("div", { class: "grow" }, h("strong", {}, person ? t("enrol.done", { name: person.name || person.id }) : t("enrol.nobody")), h("p", {}, t("enrol.count", { kept, n: images.length }))),
        person && link(t("enrol.open"), `#/collections/${encodeURIComponent(collection.name)}/persons/${encodeURIComponent(person.id)}`, { kind: "small" })),
      h("ul", { class: "outcomes" }, images.map((entry, index) => outcome(entry, pictures[index]?.name ?? String(index + 1), pictures[index]?.canvas)))));
    if (!person) return;
    refresh();
    chosen.clear();
    metadata.set({});
    name.value = "";
    id.value = "";
  }

  const view = h("form", { class: "stack", onsubmit: send },
    h("div", { class: "split even" },
      h("section", { class: "panel padded fill", "aria-label": t("pictures") }, zone, chosen.element),
      h("section", { class: "panel padded stack", "aria-label": t("enrol.who") }, field(t("name"), name, { optional: true }), field(t("id"), id, { optional: true, help: t("id.help") }), metadata.element, h("div", { class: "stack close" }, modes.quality, h("p", { class: "help" }, t("quality.help"))), modes.faces, h("div", { class: "row end" }, go))),
    result);
  pasteInto(view, () => zone);
  return view;
}

