// The persons of a collection: page by page, or those whose metadata or name fit.

import { h, icon, replace } from "../dom.js";
import { t } from "../texts.js";
import { gallery, json, personPath } from "../api.js";
import { button, empty, failure, field, link, pill, skeleton } from "../parts.js";
import { crop } from "../crops.js";
import { parse } from "../filter.js";
import { asked, hint, inexact, otherwise } from "../hints.js";
import { told } from "../metadata.js";

const PAGE = 24;
// Names are no part of `where`: the page reads on by pages of this size until it has enough that fit.
const SCAN = 500;

export function persons({ collection, signal }) {
  const list = h("div", {}, skeleton(3));
  const live = h("p", { class: "sr", role: "status" });
  const query = h("input", { type: "search", placeholder: t("persons.placeholder"), autocomplete: "off", spellcheck: "false" });
  const history = []; // the cursors of the pages before this one
  let turn = 0;

  async function load(cursor = null) {
    const mine = ++turn;
    list.classList.add("busy");
    try {
      const wanted = query.value.trim() ? parse(query.value, inexact) : {};
      const page = await (wanted.name ? byName(wanted.name, cursor, () => mine === turn) : json("GET", gallery(collection.name, "/persons"), { query: { limit: PAGE, cursor, where: wanted.where && JSON.stringify(wanted.where) }, signal }));
      if (mine !== turn) return;
      show(page, cursor);
      if (wanted.where && !page.items.length && !cursor) await help(query.value, mine);
    } catch (error) {
      if (error.name === "AbortError" || mine !== turn) return;
      replace(list, failure(error instanceof SyntaxError ? new Error(t("persons.badjson")) : error, () => load(cursor)));
    }
    list.classList.remove("busy");
  }

  /** Nobody fits: perhaps since what was asked for as text is a number there, or the other way round. */
  async function help(text, mine) {
    const other = await otherwise(collection.name, text, signal).catch(() => null);
    if (other && mine === turn) list.append(hint(other, (better) => { query.value = better; query.focus(); query.dispatchEvent(new Event("input")); }));
  }

  async function byName(name, cursor, wanted) {
    const items = [];
    let next = cursor;
    let looked = 0;
    do {
      const page = await json("GET", gallery(collection.name, "/persons"), { query: { limit: SCAN, cursor: next }, signal });
      looked += page.items.length;
      items.push(...page.items.filter((person) => person.name?.normalize("NFC").toLowerCase().includes(name) || person.id.toLowerCase().includes(name)));
      next = page.next;
      live.textContent = t("persons.looked", { n: looked });
    } while (next && items.length < PAGE && wanted());
    return { items, next };
  }

  function show(page, cursor) {
    if (!page.items.length && !cursor) {
      const base = `#/collections/${encodeURIComponent(collection.name)}`;
      replace(list, query.value.trim()
        ? empty("search", t("persons.nofit"), t("persons.nofit.text"))
        : empty("people", t("persons.none"), t("persons.none.text"), link(t("tab.enrol"), `${base}/enrol`, { kind: "primary" }), link(t("tab.import"), `${base}/import`)));
      return;
    }
    live.textContent = t("persons.n", { n: page.items.length });
    replace(list, h("ul", { class: "people" }, page.items.map((person) => card(collection.name, person, signal))),
      (history.length > 0 || page.next) && h("nav", { class: "row between pad", "aria-label": t("pages") },
        button(t("before"), { glyph: "back", disabled: !history.length, onclick: () => load(history.pop()) }),
        h("span", { class: "muted small" }, t("page.n", { n: history.length + 1 })),
        button(t("after"), { glyph: "next", kind: "turned", disabled: !page.next, onclick: () => { history.push(cursor); load(page.next); } })));
  }

  let timer = 0;
  const begin = () => { clearTimeout(timer); timer = setTimeout(() => { history.length = 0; load(); }, 250); };
  query.addEventListener("input", begin);
  load();
  return h("div", { class: "stack" },
    h("form", { role: "search", onsubmit: (event) => { event.preventDefault(); begin(); } }, field(t("persons.search"), query, { help: t("persons.search.help") }), asked(query).element), live, list);
}

function card(collection, person, signal) {
  const portrait = h("span", { class: "crop" }, icon("person", 28));
  // The list tells no face of theirs; the first one is their portrait.
  if (person.faces) json("GET", personPath(collection, person.id, "/faces"), { query: { limit: 1 }, signal }).then((page) => portrait.isConnected && portrait.replaceWith(crop(collection, page.items[0], "")), () => {});
  return h("li", { class: "person" }, portrait,
    h("div", { class: "grow" }, h("h2", { class: "truncate" }, h("a", { class: "stretched", href: `#/collections/${encodeURIComponent(collection)}/persons/${encodeURIComponent(person.id)}` }, person.name || person.id)),
      h("p", { class: "muted small truncate" }, told(person.metadata).join(" · ") || person.id)),
    pill(t("faces.n", { n: person.faces })));
}
