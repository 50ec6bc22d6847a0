// Metadata as rows of key and value; what is no number, truth or text is written as JSON.

import { h, replace } from "./dom.js";
import { t } from "./texts.js";
import { button, iconButton } from "./parts.js";
import { valueOf } from "./filter.js";

const written = (value) => (typeof value === "string" ? (valueOf(value) === value ? value : JSON.stringify(value)) : JSON.stringify(value));

function read(text) {
  if (/^[[{]/.test(text.trim())) return JSON.parse(text);
  return valueOf(text);
}

export function editor(metadata = {}) {
  const rows = h("div", { class: "metadata-rows" });
  const add = (key = "", value = "") => {
    const row = h("div", { class: "metadata-row" },
      h("input", { type: "text", value: key, "aria-label": t("metadata.key"), placeholder: t("metadata.key"), autocomplete: "off" }),
      h("input", { type: "text", value: value === "" ? "" : written(value), "aria-label": t("metadata.value"), placeholder: t("metadata.value"), autocomplete: "off" }),
      iconButton(t("metadata.remove"), "cross", { onclick: () => row.remove() }));
    rows.append(row);
    return row;
  };
  const set = (given) => { replace(rows); for (const [key, value] of Object.entries(given)) add(key, value); };
  set(metadata);
  const element = h("fieldset", { class: "metadata" }, h("legend", {}, t("metadata"), h("span", { class: "optional" }, ` ${t("optional")}`)), rows,
    button(t("metadata.add"), { glyph: "plus", kind: "small quiet", onclick: () => add().querySelector("input").focus() }));
  return {
    element,
    set,
    get value() {
      return Object.fromEntries([...rows.children].map((row) => [...row.querySelectorAll("input")].map((input) => input.value))
        .filter(([key]) => key.trim()).map(([key, value]) => [key.trim(), read(value)]));
    },
  };
}

export const told = (metadata) => Object.entries(metadata ?? {}).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
