// The list of collections.

import { h, replace } from "../dom.js";
import { number, t, when } from "../texts.js";
import { gallery, json, persistent } from "../api.js";
import { button, confirmed, dialog, empty, failure, field, iconButton, pill, segmented, skeleton, toast } from "../parts.js";

export async function view({ signal }) {
  const list = h("div", {}, skeleton(3));

  async function load(cursor = null, before = []) {
    try {
      const page = await json("GET", "/v1/collections", { query: { limit: 100, cursor }, signal });
      const items = [...before, ...page.items];
      if (!items.length) {
        replace(list, empty("people", t("collections.none"), t("collections.none.text"), button(t("collections.new"), { glyph: "plus", kind: "primary", onclick: make })));
        return;
      }
      replace(list, h("ul", { class: "cards" }, items.map(card)), page.next && h("div", { class: "row centre pad" }, button(t("more"), { onclick: () => load(page.next, items) })));
    } catch (error) {
      if (error.name !== "AbortError") replace(list, failure(error, () => load()));
    }
  }

  function card(item) {
    return h("li", { class: "card" },
      h("div", { class: "row between" }, h("h2", { class: "truncate" }, h("a", { class: "stretched", href: `#/collections/${encodeURIComponent(item.name)}` }, item.name)),
        iconButton(t("collections.drop.what", { name: item.name }), "trash", { class: "icon-button above", onclick: () => drop(item) })),
      h("p", { class: "muted card-text" }, item.description || t("collections.nodescription")),
      h("dl", { class: "pairs" }, [["persons", item.persons], ["faces", item.faces]].map(([name, count]) => h("div", {}, h("dd", { class: "figure" }, number(count)), h("dt", {}, t(name))))),
      h("p", { class: "row tight wrap small" }, pill(item.model?.name ?? ""), pill(item.precision), pill(t(`index.${item.index}`)), h("span", { class: "muted" }, when(item.created))));
  }

  async function drop(item) {
    if (!await confirmed(t("collections.drop"), t("collections.drop.text", { name: item.name, persons: item.persons, faces: item.faces }), t("collections.drop"), item.name)) return;
    try {
      await json("DELETE", gallery(item.name));
      toast(t("collections.dropped", { name: item.name }));
    } catch (error) { toast(error.message, "bad"); }
    load();
  }

  async function make() {
    const made = await dialog(t("collections.new"), (close) => {
      const name = h("input", { type: "text", required: true, pattern: "[a-z0-9][a-z0-9_\\-]{0,62}", autocomplete: "off", spellcheck: "false", autofocus: true, placeholder: "staff" });
      const description = h("input", { type: "text", autocomplete: "off" });
      const precision = segmented(t("precision"), [["fp32", "fp32"], ["fp16", "fp16"], ["int8", "int8"]], "fp32");
      const index = segmented(t("index"), [["exact", t("index.exact")], ["hnsw", t("index.hnsw")]], "exact");
      const fault = h("div", {});
      const go = h("button", { type: "submit", class: "button primary" }, t("create"));
      return h("form", { class: "dialog-body", onsubmit: async (event) => {
        event.preventDefault();
        go.disabled = true;
        try {
          close(await persistent("POST", "/v1/collections", { body: { name: name.value, description: description.value, precision: precision.value, index: index.value } }));
        } catch (error) { replace(fault, failure(error)); go.disabled = false; }
      } }, field(t("name"), name, { help: t("collections.name.help") }), field(t("description"), description, { optional: true }), precision, index, h("p", { class: "help" }, t("collections.binding")), fault,
      h("div", { class: "row end" }, button(t("cancel"), { onclick: () => close(null) }), go));
    });
    if (made) { toast(t("collections.made", { name: made.name })); location.hash = `#/collections/${encodeURIComponent(made.name)}/enrol`; }
  }

  load();
  return h("div", { class: "page" },
    h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("collections.title")), h("p", { class: "lead" }, t("collections.lead"))), button(t("collections.new"), { glyph: "plus", kind: "primary", onclick: make })), list);
}
