// Search by picture: every face beside those of the collection that are most like it.

import { h, replace } from "../dom.js";
import { milliseconds, number, t } from "../texts.js";
import { gallery, json } from "../api.js";
import { bar, dropzone, empty, failure, field, pasteInto, pill, segmented, slider, spinner, toggle } from "../parts.js";
import { base64, portrait, read } from "../pictures.js";
import { crop } from "../crops.js";
import { parse } from "../filter.js";
import { asked, hint, inexact, otherwise } from "../hints.js";
import { told as toldMetadata } from "../metadata.js";

export function search({ collection, signal }) {
  let pictures = [];
  let threshold = null;
  let top = 5;
  let below = true;
  let turn = 0;
  const result = h("div", { "aria-live": "polite", class: "stack" });
  const slide = h("div", {});
  const by = segmented(t("search.by"), [["persons", t("persons")], ["faces", t("faces")]], "persons", () => ask());
  const where = h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "city = Oslo, age >= 18", onchange: () => ask() });
  const zone = dropzone(async (files) => { pictures = await Promise.all(files.map(read)); ask(); }, { label: t("search.drop"), hint: t("try.hint") });

  async function ask() {
    if (!pictures.length) return;
    const mine = ++turn;
    result.classList.add("busy");
    if (!result.childElementCount) replace(result, spinner(t("search.busy")));
    try {
      const filter = where.value.trim() ? parse(where.value, inexact).where : undefined;
      if (where.value.trim() && !filter) throw new Error(t("search.badwhere"));
      const images = await Promise.all(pictures.map(({ file }) => base64(file)));
      const answer = await json("POST", gallery(collection.name, "/search"), { body: { images, top, by: by.value, below, ...(threshold === null ? {} : { threshold }), ...(filter ? { where: filter } : {}) }, signal });
      if (mine !== turn) return;
      if (!slide.childElementCount) replace(slide, slider(t("threshold"), { min: 0, max: 1, step: 0.001, value: answer.threshold, format: (x) => number(x, 3) }, () => {}, (value) => { threshold = value; ask(); }));
      show(answer);
      const other = filter && !answer.probes.some((probe) => probe.matches?.length) && await otherwise(collection.name, where.value, signal).catch(() => null);
      if (mine !== turn) return;
      if (other) result.prepend(hint(other, (better) => { where.value = better; told.show(); where.focus(); ask(); }));
      if (result.getBoundingClientRect().top > innerHeight * 0.8) result.scrollIntoView({ block: "start" }); // of a phone
    } catch (error) {
      if (error.name !== "AbortError" && mine === turn) replace(result, failure(error instanceof SyntaxError ? new Error(t("persons.badjson")) : error, ask));
    }
    result.classList.remove("busy");
  }

  function show(answer) {
    const known = answer.probes.filter((probe) => probe.verdict === "known").length;
    const matches = answer.probes.flatMap((probe) => probe.matches);
    replace(result,
      h("p", { class: "row tight wrap" }, h("strong", {}, t("search.count", { known, n: answer.probes.length })), h("span", { class: "muted small" }, `${t("threshold")} ${number(answer.threshold, 3)} · ${t(`from.${answer.threshold_from}`)} · ${milliseconds(answer.took_ms)}`)),
      answer.probes.length ? answer.probes.map((probe, index) => row(probe, index, answer.threshold)) : empty("search", t("faces.none"), t("search.noface")),
      matches.length > 0 && !matches.some(({ face: kept }) => kept.has_crop) && h("p", { class: "help" }, t("crop.notkept.text")));
  }

  function row(probe, index, limit) {
    const picture = pictures[probe.image ?? 0];
    if (probe.status === "failed" || !probe.face) return h("article", { class: "panel padded" }, failure(new Error(`${picture?.name ?? ""}: ${probe.error?.detail ?? t("faces.none")}`)));
    const known = probe.verdict === "known";
    const face = portrait(picture, probe.face.box, 288);
    face.setAttribute("role", "img");
    face.setAttribute("aria-label", t("search.probe", { n: index + 1, name: picture?.name ?? "" }));
    return h("article", { class: "panel probe", "aria-label": t("search.probe", { n: index + 1, name: picture?.name ?? "" }) },
      h("div", { class: "probe-face" }, face, pill(t(known ? "known" : "unknown"), known ? "good" : "warn"), h("p", { class: "muted small truncate" }, picture?.name)),
      probe.matches.length ? h("ol", { class: "matches" }, probe.matches.map((match) => found(match, limit))) : h("p", { class: "muted centre-self" }, t("search.nomatch")));
  }

  function found({ person, face, similarity }, limit) {
    const name = person.name || person.id;
    return h("li", { class: `match ${similarity >= limit ? "" : "weak"}` },
      crop(collection.name, face, t("crop.of", { name })),
      h("div", { class: "match-words" }, h("a", { class: "stretched", title: name, href: `#/collections/${encodeURIComponent(collection.name)}/persons/${encodeURIComponent(person.id)}` }, name),
        h("span", { class: "row tight between" }, h("strong", { class: "figure" }, number(similarity, 3)), h("span", { class: "muted small" }, t(similarity >= limit ? "match.yes" : "match.no"))),
        bar(similarity, limit), h("span", { class: "muted small truncate" }, toldMetadata(person.metadata).join(" · "))));
  }

  const filtering = field(t("search.where"), where, { optional: true });
  const told = asked(where);
  const view = h("div", { class: "stack" },
    h("div", { class: "split even" }, h("section", { class: "panel padded fill", "aria-label": t("pictures") }, zone),
      h("section", { class: "panel padded stack", "aria-label": t("try.options") }, by, slider(t("search.top"), { min: 1, max: 20, step: 1, value: top, format: (x) => number(x) }, () => {}, (value) => { top = value; ask(); }), slide, toggle(t("search.below"), below, (on) => { below = on; ask(); }), h("div", { class: "stack close" }, filtering, told.element))),
    result);
  pasteInto(view, () => zone);
  return view;
}
