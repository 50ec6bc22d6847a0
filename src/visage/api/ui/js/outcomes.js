// What became of each picture of an enrolment.

import { h } from "./dom.js";
import { number, t } from "./texts.js";
import { pill } from "./parts.js";

const KINDS = { enrolled: ["good", "check"], refused: ["warn", "warning"], failed: ["bad", "cross"] };

export function outcome(entry, name, canvas = null) {
  const [kind, glyph] = KINDS[entry.status] ?? ["", null];
  const reasons = [...(entry.reasons ?? []).map(reasonOf), entry.error && (entry.error.detail ?? entry.error.title)].filter(Boolean);
  const twin = entry.near_duplicate;
  return h("li", { class: "outcome" }, canvas,
    h("div", { class: "grow" }, h("p", { class: "row tight wrap" }, h("strong", { class: "truncate" }, name), pill(t(`outcome.${entry.status}`), kind, glyph)),
      reasons.length > 0 && h("p", { class: "muted small" }, reasons.join("; ")),
      twin && h("p", { class: "small" }, t("outcome.twin", { person: twin.person?.name ?? twin.person ?? "", similarity: number(twin.similarity ?? 0, 3) }))));
}

export const reasonOf = (reason) => (typeof reason === "string" ? reason : reason.detail ?? reason.reason ?? JSON.stringify(reason));

export const enrolmentOptions = (segmented) => ({
  quality: segmented(t("quality"), ["off", "standard", "strict"].map((mode) => [mode, t(`quality.${mode}`)]), "standard"),
  faces: segmented(t("several"), [["one", t("several.one")], ["largest", t("several.largest")]], "one"),
});
