// Beside a filter: what its values are taken for, and what would find somebody where it finds nobody.

import { h, icon, replace } from "./dom.js";
import { t } from "./texts.js";
import { gallery, json } from "./api.js";
import { button, pill } from "./parts.js";
import { termsOf, textOf, whereOf } from "./filter.js";
import { kindOf, otherKind } from "./values.js";

const MOST = 7; // other filters that are tried

/** What is said of a number that cannot be kept as it was written. */
export const inexact = (value) => t("metadata.inexact", { value });

/** Tells beside a field what its text asks for: each key, and whether it is compared as a number or as text. */
export function asked(input) {
  const element = h("output", { class: "row tight wrap asked", for: input.id || null });
  const show = () => {
    const terms = input.value.trim().startsWith("{") ? null : termsOf(input.value);
    replace(element, (terms ?? []).map(({ key, value }) => pill(`${key}: ${t(`value.${kindOf(value)}`)}`)));
    element.hidden = !terms;
  };
  input.addEventListener("input", show);
  show();
  return { element, show };
}

/** The text of a filter that finds somebody where `text` finds nobody: values as the other kind, as few as will do. */
export async function otherwise(collection, text, signal) {
  const terms = text.trim().startsWith("{") ? null : termsOf(text);
  const turnable = (terms ?? []).map((term, place) => ({ place, value: otherKind(term.value) })).filter(({ value }) => value !== null);
  const choices = Array.from({ length: 2 ** Math.min(turnable.length, 3) }, (_, bits) => turnable.filter((_turn, bit) => bits & (1 << bit)));
  for (const turned of choices.slice(1).sort((a, b) => a.length - b.length).slice(0, MOST)) {
    const other = terms.map((term, place) => ({ ...term, value: (turned.find((turn) => turn.place === place) ?? term).value }));
    const where = JSON.stringify(whereOf(other));
    const page = await json("GET", gallery(collection, "/persons"), { query: { limit: 1, where }, signal });
    if (page.items.length) return textOf(other);
  }
  return null;
}

/** Nobody fits, but somebody would: says so, and `use(text)` is what the button does. */
export function hint(text, use) {
  return h("div", { class: "notice plain" }, icon("search"), h("p", { class: "grow" }, t("filter.otherkind", { filter: text })), button(t("filter.use"), { kind: "small", onclick: () => use(text) }));
}
