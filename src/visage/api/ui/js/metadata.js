// Metadata as rows of key and value, each with the kind that it is taken for; lists and objects are written as JSON.

import { fresh, h, replace } from "./dom.js";
import { t } from "./texts.js";
import { button, iconButton } from "./parts.js";
import { inexact } from "./hints.js";
import { jsonOf, kindOf, valueOf, written } from "./values.js";

const isJson = (text) => /^[[{]/.test(text);
const shown = (value) => (value !== null && typeof value !== "object" ? written(value) : JSON.stringify(value));

function read(text) {
  const trimmed = text.trim();
  return isJson(trimmed) ? jsonOf(trimmed, inexact) : valueOf(trimmed);
}

export function editor(metadata = {}) {
  const rows = h("div", { class: "metadata-rows" });
  const help = fresh("kinds");
  let kept = new Map(); // row → what it was made of: a value that nobody touched stays as it is, be it null or of two lines
  const add = (key = "", ...value) => {
    const kind = h("output", { class: "kind" });
    const given = h("input", { type: "text", value: value.length ? shown(value[0]) : "", "aria-label": t("metadata.value"), "aria-describedby": help, placeholder: t("metadata.value"), autocomplete: "off", oninput: () => { kept.delete(row); tell(); } });
    const tell = () => { kind.textContent = given.value.trim() ? t(`value.${kept.has(row) ? kindOf(kept.get(row)) : isJson(given.value.trim()) ? "json" : kindOf(valueOf(given.value.trim()))}`) : ""; };
    const row = h("div", { class: "metadata-row" },
      h("input", { type: "text", value: key, "aria-label": t("metadata.key"), placeholder: t("metadata.key"), autocomplete: "off" }),
      h("div", { class: "kinded" }, given, kind), iconButton(t("metadata.remove"), "cross", { onclick: () => row.remove() }));
    if (value.length) kept.set(row, value[0]);
    tell();
    rows.append(row);
    return row;
  };
  const set = (given) => { replace(rows); kept = new Map(); for (const [key, value] of Object.entries(given)) add(key, value); };
  set(metadata);
  const element = h("fieldset", { class: "metadata" }, h("legend", {}, t("metadata"), h("span", { class: "optional" }, ` ${t("optional")}`)), rows,
    button(t("metadata.add"), { glyph: "plus", kind: "small quiet", onclick: () => add().querySelector("input").focus() }),
    h("p", { class: "help", id: help }, t("metadata.kinds")));
  return {
    element,
    set,
    /** Raises SyntaxError for a value that should be JSON, Error for a number that cannot be kept exactly. */
    get value() {
      const given = [...rows.children].map((row) => [row, ...[...row.querySelectorAll("input")].map((input) => input.value)]);
      return Object.fromEntries(given.filter(([, key]) => key.trim()).map(([row, key, value]) => [key.trim(), kept.has(row) ? kept.get(row) : read(value)]));
    },
  };
}

export const told = (metadata) => Object.entries(metadata ?? {}).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
