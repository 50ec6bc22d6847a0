// One collection: its persons, and the ways into it and out of it.

import { h, icon, replace } from "../dom.js";
import { t, when } from "../texts.js";
import { ROOT, gallery, hasKey, json, request } from "../api.js";
import { button, failure, pill, toast } from "../parts.js";
import { persons } from "./persons.js";
import { enrol } from "./enrol.js";
import { bulk } from "./bulk.js";
import { search } from "./search.js";

const TABS = { "": persons, enrol, import: bulk, search };

export async function view({ parts: [name, tab = ""], signal }) {
  const item = await json("GET", gallery(name), { signal });
  const counts = h("div", { class: "row tight wrap" });
  const paint = (now) => replace(counts, pill(t("persons.n", { n: now.persons })), pill(t("faces.n", { n: now.faces })), pill(now.model?.name ?? ""), pill(now.precision), h("span", { class: "muted small" }, when(now.created)));
  paint(item);
  const refresh = () => json("GET", gallery(name), { signal }).then(paint, () => {});
  const base = `#/collections/${encodeURIComponent(name)}`;
  const room = h("div", { class: "tab-room" });
  let content;
  try { content = TABS[tab]({ collection: item, signal, refresh }); } catch (error) { content = failure(error); }
  replace(room, content);
  return h("div", { class: "page" },
    h("nav", { class: "crumbs", "aria-label": t("crumbs") }, h("a", { href: "#/collections" }, t("collections.title")), h("span", { "aria-hidden": "true" }, "/"), h("span", { "aria-current": "page" }, name)),
    h("div", { class: "page-head" }, h("div", {}, h("h1", {}, name), item.description && h("p", { class: "lead" }, item.description), counts), exporting(item)),
    h("nav", { class: "tabs", "aria-label": t("collection.tabs") }, Object.keys(TABS).map((key) => h("a", { href: key ? `${base}/${key}` : base, "aria-current": key === tab ? "page" : null }, t(`tab.${key || "persons"}`)))),
    room);
}

/** Without a key the browser saves the stream as it comes; with one the page has to fetch it. */
function exporting(item) {
  const path = gallery(item.name, "/export?vectors=true");
  const file = `${item.name}.ndjson`;
  if (!hasKey()) return h("a", { class: "button", href: ROOT + path, download: file, onclick: () => toast(t("export.started")) }, icon("download", 18), h("span", {}, t("export")));
  const control = button(t("export"), { glyph: "download", onclick: async () => {
    control.disabled = true;
    try {
      const url = URL.createObjectURL(await (await request("GET", path)).blob());
      const anchor = h("a", { href: url, download: file });
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      toast(t("export.done", { n: item.faces }));
    } catch (error) { toast(error.message, "bad"); }
    control.disabled = false;
  } });
  return control;
}

