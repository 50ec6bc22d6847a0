// The plan of an import: who becomes whom, under which id, and what is asked about. Nothing has been sent yet.

import { fresh, h, icon, replace } from "../dom.js";
import { number, t } from "../texts.js";
import { gallery, json } from "../api.js";
import { button, failure, pill, segmented } from "../parts.js";
import { isNested, nameOf } from "../people.js";
import { KINDS, listed, planned } from "../plan.js";

const ROWS = 200; // at a time
const PAGE = 1000; // persons of the collection that are read at a time
const TWO = ["different", "one"];

/** `go(persons)` when the plan is confirmed; `other()` when it shall be another folder. `modes`: how pictures are judged. */
export function plan({ collection, signal, files, modes, go, other }) {
  const answers = new Map();
  let there = null;
  let most = ROWS;
  let now = null;
  const by = segmented(t("import.by"), [["folder", t("import.folder")], isNested(files) && ["top", t("import.top")], ["file", t("import.file")]].filter(Boolean), "folder", () => { answers.clear(); most = ROWS; paint(); });
  const heading = h("h2", { tabindex: "-1", class: "quiet-focus" });
  const words = h("p", { class: "muted small", role: "status" });
  const questions = h("div", { class: "questions" });
  const rows = h("tbody", { role: "rowgroup" });
  const rest = h("div", { class: "row between wrap" });
  const confirm = button("", { glyph: "upload", kind: "primary", disabled: true, onclick: () => go(now.persons) });
  const heads = ["person", "id", "pictures", "plan.state", "plan.doubt"];
  const table = h("table", { class: "plan", role: "table", "aria-label": t("import.table") },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map((key) => h("th", { scope: "col", role: "columnheader" }, t(key))))), rows);

  function paint(focus = null) {
    now = planned(files, by.value, answers, there);
    const known = now.persons.filter(({ status }) => status === "there").length;
    heading.textContent = t("import.preview", { persons: now.persons.length, n: files.length });
    if (there) words.textContent = t("plan.counts", { fresh: now.persons.length - known, there: known });
    replace(questions, now.doubts.length > 0 && [
      h("p", { class: "row tight" }, icon("warning", 18), h("strong", {}, t("doubt.title"))), h("p", { class: "small" }, t("doubt.text")),
      KINDS.map((kind) => asked(kind, now.doubts.filter((doubt) => doubt.kind === kind)))]);
    questions.hidden = !now.doubts.length;
    replace(rows, now.persons.slice(0, most).map(row));
    replace(rest, now.persons.length > most && [h("p", { class: "help" }, t("import.hidden", { n: now.persons.length - most })), button(t("more"), { kind: "small", onclick: () => { most += ROWS; paint(); } })]);
    confirm.disabled = !there;
    confirm.querySelector("span").textContent = t("import.go", { n: now.persons.length });
    if (focus) [...view.querySelectorAll("[data-doubt]")].find((control) => control.dataset.doubt === focus)?.focus();
  }

  /** One answer for all doubts of a kind. */
  function asked(kind, doubts) {
    if (!doubts.length) return null;
    const choices = new Set(doubts.map(({ choice }) => choice));
    const group = segmented(t(`doubt.${kind}.n`, { n: doubts.length }), TWO.map((choice) => [choice, t(`doubt.${choice}`)]), choices.size === 1 ? [...choices][0] : null, (choice) => {
      for (const { key } of doubts) answers.delete(key);
      answers.set(kind, choice);
      paint(`${kind}:${choice}`);
    });
    group.querySelectorAll("input").forEach((input) => { input.dataset.doubt = `${kind}:${input.value}`; });
    return group;
  }

  function row(person) {
    const cell = (key, ...content) => h("td", { role: "cell" }, h("span", { class: "cell-head", "aria-hidden": "true" }, t(key)), h("div", {}, content));
    const places = person.places.filter((place) => place.includes("/") || nameOf(place) !== person.name);
    const some = person.files.slice(0, 3).map((file) => file.path.split("/").at(-1)).join(", ");
    return h("tr", { role: "row", class: person.doubts.length ? "doubtful" : "" },
      h("th", { scope: "row", role: "rowheader" }, h("div", {}, person.name), places.length > 0 && h("p", { class: "muted small" }, places.join(", "))),
      cell("id", h("code", {}, person.id)),
      cell("pictures", h("span", { class: "figure" }, number(person.files.length)), h("p", { class: "muted small files" }, some, person.files.length > 3 ? " …" : "")),
      cell("plan.state", person.status ? pill(t(`plan.${person.status}`), person.status === "there" ? "" : "good") : "…", person.into && h("p", { class: "small" }, t("plan.into", { name: person.into }))),
      person.doubts.length ? cell("plan.doubt", person.doubts.map((doubt) => choice(person, doubt))) : h("td", { role: "cell" }));
  }

  function choice(person, doubt) {
    const id = fresh("doubt");
    const [first, ...further] = doubt.there;
    const said = first && t(`doubt.${doubt.kind}`, { name: first.name || first.id, id: first.id });
    const options = [["different", t("doubt.different")], ["one", first ? `${t("doubt.one")}: ${first.id}` : t("doubt.one")], ...further.map((one) => [`one:${one.id}`, `${t("doubt.one")}: ${one.id}`])];
    return h("div", { class: "doubt" }, h("label", { for: id, class: "small" }, h("span", { class: "sr" }, `${person.name}: `), icon("warning", 14), h("span", {}, said || t(`doubt.${doubt.kind}`))),
      h("select", { id, class: "select", dataset: { doubt: doubt.key }, onchange: (event) => { answers.set(doubt.key, event.target.value); paint(doubt.key); } },
        options.map(([value, label]) => h("option", { value, selected: value === doubt.choice }, label))));
  }

  async function look() {
    const tell = (n) => { words.textContent = t("persons.looked", { n }); };
    try {
      tell(0);
      there = await listed((cursor) => json("GET", gallery(collection.name, "/persons"), { query: { limit: PAGE, cursor }, signal }), tell);
      if (view.isConnected) paint();
    } catch (error) {
      if (error.name !== "AbortError") replace(rest, failure(error, look));
    }
  }

  const view = h("section", { class: "panel padded stack" },
    h("div", { class: "row between wrap" }, heading, button(t("import.other"), { kind: "quiet", onclick: other })),
    h("div", { class: "options" }, by, modes.quality, modes.faces), questions, words,
    h("div", { class: "table-room plan-room", tabindex: "0", role: "region", "aria-label": t("import.table") }, table), rest,
    h("div", { class: "row end" }, confirm));
  paint();
  look();
  return view;
}
