// What people type → what the API's `where` takes: "city = Oslo, age >= 18", or the JSON itself. Anything else is a
// piece of a name.

const TERM = /^([\w.-]+)\s*(!=|>=|<=|=|>|<)\s*(.+)$/;
const OPERATORS = { "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte" };

/** {where} or {name}; raises SyntaxError for JSON that is none. */
export function parse(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("{")) return { where: JSON.parse(trimmed) };
  // Chinese and Japanese keyboards write signs as wide as their letters.
  const narrow = trimmed.replace(/[！，＜＝＞]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - 0xfee0));
  const terms = narrow.split(/\s*,\s*|\s+and\s+/i).filter(Boolean).map((term) => TERM.exec(term));
  if (!terms.length || terms.some((term) => !term)) return { name: trimmed.normalize("NFC").toLowerCase() };
  const where = {};
  for (const [, key, operator, value] of terms) {
    if (operator === "=") where[key] = valueOf(value);
    else where[key] = { ...(typeof where[key] === "object" ? where[key] : {}), [OPERATORS[operator]]: valueOf(value) };
  }
  return { where };
}

/** A number, true, false, or text; quotes keep "18" a text. */
export function valueOf(text) {
  const quoted = /^(["'])(.*)\1$/.exec(text);
  if (quoted) return quoted[2];
  if (text === "true" || text === "false") return text === "true";
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}
