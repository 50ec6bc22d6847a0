// What people type → what the API's `where` takes: "city = Oslo, age >= 18", or the JSON itself. Anything else is a
// piece of a name.

import { h, icon, replace } from "./dom.js";
import { t } from "./texts.js";
import { gallery, json } from "./api.js";
import { button, pill } from "./parts.js";
import { jsonOf, kindOf, otherKind, valueOf, written } from "./values.js";

const TERM = /^([\p{L}\p{M}\p{N}_.-]+)\s*(!=|>=|<=|=|>|<)\s*(.+)$/su;
const OPERATORS = { "=": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte" };
const MOST_HINTS = 7;

/** {where} or {name}; raises SyntaxError for JSON that is none. */
export function parse(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("{")) return { where: jsonOf(trimmed, (value) => t("metadata.inexact", { value })) };
  const terms = termsOf(text);
  return terms ? { where: whereOf(terms) } : { name: trimmed.normalize("NFC").toLowerCase() };
}

/** [{key, operator, value}], or null for what is no list of terms. */
export function termsOf(text) {
  // Chinese and Japanese keyboards write signs as wide as their letters.
  const narrow = text.trim().replace(/[！，＜＝＞]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - 0xfee0));
  const terms = pieces(narrow).map((term) => TERM.exec(term));
  if (!terms.length || terms.some((term) => !term)) return null;
  return terms.map(([, key, operator, value]) => ({ key, operator, value: valueOf(value) }));
}

/** Between commas and the word and, but for those in quotes. */
function pieces(text) {
  const found = text.match(/(?:[=<>]\s*(?:"[^"]*"|'[^']*')(?=\s*(?:,|$|\sand\s))|(?!\s+and\s)[^,])+/gi) ?? [];
  return found.map((piece) => piece.replace(/^\s*and\s+/i, "").trim()).filter(Boolean);
}

function whereOf(terms) {
  const where = {};
  for (const { key, operator, value } of terms) where[key] = { ...where[key], [OPERATORS[operator]]: value };
  for (const [key, asks] of Object.entries(where)) if (Object.keys(asks).join() === "eq") where[key] = asks.eq;
  return where;
}

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
  for (const turned of choices.slice(1).sort((a, b) => a.length - b.length).slice(0, MOST_HINTS)) {
    const other = terms.map((term, place) => ({ ...term, value: (turned.find((turn) => turn.place === place) ?? term).value }));
    const where = JSON.stringify(whereOf(other));
    const page = await json("GET", gallery(collection, "/persons"), { query: { limit: 1, where }, signal });
    if (page.items.length) return other.map(({ key, operator, value }) => `${key} ${operator} ${inFilter(value)}`).join(", ");
  }
  return null;
}

function inFilter(value) {
  return typeof value === "string" && /,|\sand\s/i.test(value) ? `"${value}"` : written(value);
}

/** Nobody fits, but somebody would: says so, and `use(text)` is what the button does. */
export function hint(text, use) {
  return h("div", { class: "notice plain" }, icon("search"), h("p", { class: "grow" }, t("filter.otherkind", { filter: text })), button(t("filter.use"), { kind: "small", onclick: () => use(text) }));
}
