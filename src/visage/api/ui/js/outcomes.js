// What became of each picture of an enrolment.

import { h } from "./dom.js";
import { number, t } from "./texts.js";
import { pill } from "./parts.js";

const KINDS = { enrolled: ["good", "check"], refused: ["warn", "warning"], failed: ["bad", "cross"] };

export function outcome(entry, name, canvas = null) {
  const [kind, glyph] = KINDS[entry.status] ?? ["", null];
  const reasons = reasonsOf(entry);
  const twin = entry.near_duplicate;
  return h("li", { class: "outcome" }, canvas,
    h("div", { class: "grow" }, h("p", { class: "row tight wrap" }, h("strong", { class: "truncate" }, name), pill(t(`outcome.${entry.status}`), kind, glyph)),
      reasons.length > 0 && h("p", { class: "muted small" }, reasons.join("; ")),
      twin && h("p", { class: "small" }, t("outcome.twin", { person: twin.person?.name ?? twin.person ?? "", similarity: number(twin.similarity ?? 0, 3) }))));
}

/** Why a picture was refused or failed, or a face is poor: in the page's language what has a kind, else as it was said. */
export function reasonsOf(entry) {
  const causes = entry.causes ?? [];
  const said = (entry.reasons ?? []).map((reason, index) => worded(causes[index]) ?? reason);
  return [...said, entry.error?.detail ?? entry.error?.title].filter(Boolean);
}

function worded(cause) {
  const key = cause && `cause.${cause.kind.replaceAll("-", "_")}`;
  if (!key || t(key) === key) return null;
  const digits = cause.kind === "score" ? 2 : 0;
  const [value, limit] = [cause.value, cause.limit].map((figure) => (typeof figure === "number" ? number(figure, digits) : ""));
  return t(key, { value, limit, choice: t("several.largest") });
}

export const enrolmentOptions = (segmented) => ({
  quality: segmented(t("quality"), ["off", "standard", "strict"].map((mode) => [mode, t(`quality.${mode}`)]), "standard"),
  faces: segmented(t("several"), [["one", t("several.one")], ["largest", t("several.largest")]], "one"),
});
