// The shell: which view the address names, the bar around it, the key that the service may ask for.

import { append, fresh, h, icon, replace } from "./dom.js";
import { LANGUAGES, language, speak, t } from "./texts.js";
import { ROOT, hasKey, onUnauthorised, setKey } from "./api.js";
import { store, stored } from "./storage.js";
import { button, dialog, failure, field, iconButton } from "./parts.js";
import * as tryIt from "./views/try.js";
import * as compare from "./views/compare.js";
import * as collections from "./views/collections.js";
import * as collection from "./views/collection.js";
import * as person from "./views/person.js";
import * as status from "./views/status.js";

// [pattern of the hash, its place in the navigation, view]
const ROUTES = [
  [/^$/, "try", tryIt],
  [/^try$/, "try", tryIt],
  [/^compare$/, "compare", compare],
  [/^collections$/, "collections", collections],
  [/^collections\/([^/]+)(?:\/(enrol|import|search))?$/, "collections", collection],
  [/^collections\/([^/]+)\/persons\/([^/]+)$/, "collections", person],
  [/^status$/, "status", status],
];
const PLACES = ["try", "compare", "collections", "status"];

const main = document.getElementById("main");
let leave = null;
let first = true;
let shown = 0;

async function show() {
  leave?.abort();
  leave = new AbortController();
  const turn = ++shown;
  const path = location.hash.replace(/^#\/?/, "").split("?")[0];
  const route = ROUTES.find(([pattern]) => pattern.test(path));
  for (const item of document.querySelectorAll(".nav a")) {
    if (item.dataset.place === route?.[1]) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  const parts = route ? route[0].exec(path).slice(1).map((part) => part && decodeURIComponent(part)) : [];
  let view;
  try {
    view = route ? await route[2].view({ parts, signal: leave.signal }) : failure(new Error(t("error.place")));
  } catch (error) {
    if (error.name === "AbortError") return;
    view = h("div", { class: "page" }, failure(error, show));
  }
  if (turn !== shown) return;
  replace(main, view);
  main.dataset.view = path || "try";
  const heading = main.querySelector("h1");
  document.title = heading ? `${heading.textContent} · visage` : "visage";
  if (!first) { heading?.setAttribute("tabindex", "-1"); heading?.focus({ preventScroll: true }); scrollTo(0, 0); }
  // Where the entries are wider than a phone, the one that was chosen is in sight.
  for (const item of document.querySelectorAll("nav [aria-current]")) item.scrollIntoView({ block: "nearest", inline: "center" });
  first = false;
}

function logo() {
  return h("a", { class: "logo", href: "#/try", "aria-label": t("home") },
    h("img", { src: `${new URL("../favicon.svg", import.meta.url)}`, alt: "", width: 28, height: 28 }), h("span", {}, "visage"));
}

function themeSwitch() {
  const order = ["auto", "light", "dark"];
  const glyphs = { auto: "auto", light: "sun", dark: "moon" };
  let now = stored("visage-theme") ?? "auto";
  const control = iconButton("", "auto");
  const paint = () => {
    const label = t("theme", { theme: t(`theme.${now}`) });
    control.setAttribute("aria-label", label);
    control.title = label;
    replace(control, icon(glyphs[now]));
  };
  control.addEventListener("click", () => {
    now = order[(order.indexOf(now) + 1) % order.length];
    store("visage-theme", now === "auto" ? null : now);
    if (now === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = now;
    paint();
    document.dispatchEvent(new Event("visage-theme"));
  });
  paint();
  return control;
}

function languageSwitch() {
  const id = fresh("language");
  return h("span", { class: "language" }, h("label", { class: "sr", for: id }, t("language")),
    h("select", { id, onchange: (event) => speak(event.target.value) },
      Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, selected: code === language, lang: code }, name))));
}

function askForKey(refused) {
  return dialog(t("key.title"), (close) => {
    const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false", placeholder: "vk_…", autofocus: true });
    return h("form", { class: "dialog-body", onsubmit: (event) => { event.preventDefault(); setKey(input.value.trim()); keyShown(); close(Boolean(input.value.trim())); } },
      refused && h("div", { class: "notice bad", role: "alert" }, icon("warning"), h("p", {}, t("key.refused"))),
      h("p", {}, t("key.text")), field(t("key.label"), input, { help: t("key.help") }),
      h("div", { class: "row end" },
        hasKey() && button(t("key.forget"), { kind: "quiet", onclick: () => { setKey(null); keyShown(); close(false); } }),
        button(t("cancel"), { onclick: () => close(false) }), h("button", { type: "submit", class: "button primary" }, t("key.use"))));
  });
}

const keyControl = iconButton(t("key.title"), "key", { onclick: () => askForKey(false) });
const keyShown = () => keyControl.classList.toggle("lit", hasKey());

function build() {
  document.getElementById("skip").textContent = t("skip");
  append(document.getElementById("bar"), [h("div", { class: "bar-inner" }, logo(),
    h("nav", { class: "nav", "aria-label": t("nav") }, PLACES.map((place) => h("a", { href: `#/${place}`, dataset: { place } }, t(`nav.${place}`)))),
    h("div", { class: "bar-tools" }, languageSwitch(), keyControl, themeSwitch()))]);
  append(document.getElementById("foot"), [h("div", { class: "foot-inner" },
    h("p", {}, t("foot")), h("p", { class: "row" }, h("a", { href: `${ROOT}/docs` }, t("foot.docs")), h("a", { href: `${ROOT}/openapi.json` }, "OpenAPI")))]);
  document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  // A picture that misses its place must not replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  onUnauthorised(askForKey);
  keyShown();
  addEventListener("hashchange", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("visage-theme")));
}

build();
show();
