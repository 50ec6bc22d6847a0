// What people type → what the API's `where` takes: "city = Oslo, age >= 18", or the JSON itself. Anything else is a
// piece of a name.

import { jsonOf, valueOf, written } from "./values.js";

export { valueOf } from "./values.js";

const TERM = /^([\p{L}\p{M}\p{N}_.-]+)\s*(!=|>=|<=|=|>|<)\s*(.+)$/su;
const OPERATORS = { "=": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte" };

/** {where} or {name}; raises SyntaxError for JSON that is none, and for its numbers what `exactly` does with `say`. */
export function parse(text, say = String) {
  const trimmed = text.trim();
  if (trimmed.startsWith("{")) return { where: jsonOf(trimmed, say) };
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

/** Terms as the API takes them. */
export function whereOf(terms) {
  const where = Object.create(null); // a key may be called __proto__
  for (const { key, operator, value } of terms) where[key] = { ...where[key], [OPERATORS[operator]]: value };
  for (const [key, asks] of Object.entries(where)) if (Object.keys(asks).join() === "eq") where[key] = asks.eq;
  return where;
}

/** Terms as people type them. */
export const textOf = (terms) => terms.map(({ key, operator, value }) => `${key} ${operator} ${inFilter(value)}`).join(", ");

function inFilter(value) {
  return typeof value === "string" && /,|\sand\s/i.test(value) ? `"${value}"` : written(value);
}
