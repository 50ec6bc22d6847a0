// What a value is that somebody typed: text, unless it is beyond doubt a number, true or false. The same wherever values
// are entered and asked for, so that what was entered is found.

/** "number", "truth", "text" or "json" of a value. */
export function kindOf(value) {
  return { number: "number", boolean: "truth", string: "text" }[typeof value] ?? "json";
}

/** 18 and 59.91 are numbers, as a computer writes them. 01067, 1e5, 1.50, and what is too long to be kept exactly, are
 *  text, and so is what stands in quotes, whatever it is. */
export function valueOf(text) {
  const quoted = /^(["'])(.*)\1$/s.exec(text);
  if (quoted) return quoted[2];
  if (text === "true" || text === "false") return text === "true";
  return isNumber(text) ? Number(text) : text;
}

function isNumber(text) {
  if (!/^-?(?:0|[1-9]\d*)(?:\.\d+)?$/.test(text)) return false;
  return String(Number(text)) === text && isExact(Number(text));
}

const isExact = (number) => Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number));

/** What `valueOf` reads as this text or number or truth. */
export function written(value) {
  const text = String(value);
  return valueOf(text) === value && !/^[[{\s]|\s$/.test(text) ? text : `"${text}"`;
}

/** JSON that was typed. Raises SyntaxError, and what `exactly` does. */
export const jsonOf = (text, say) => exactly(JSON.parse(text), say);

/** The value. Raises an Error, of the text that `say(number)` makes, if a number in it is not the one that was written. */
export function exactly(value, say) {
  if (typeof value === "number" && !isExact(value)) throw new Error(say(String(value)));
  if (value && typeof value === "object") Object.values(value).forEach((one) => exactly(one, say));
  return value;
}

/** The same value as the other kind: 18 for "18", and "18" for 18; null where there is none. */
export function otherKind(value) {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value === "true" || value === "false") return value === "true";
  const number = typeof value === "string" && value.trim() ? Number(value) : NaN;
  return isExact(number) ? number : null;
}
