// What the page says, in the language that was chosen, else the browser's, else English. A language is one file in
// texts/ and one line here; only the one that is spoken is fetched, and English for what it lacks.

import en from "./texts/en.js";
import { stored, store } from "./storage.js";

export const LANGUAGES = {
  de: "Deutsch", en: "English", es: "Español", fr: "Français", it: "Italiano", ja: "日本語", ko: "한국어", pt: "Português",
  ru: "Русский", zh: "简体中文",
};

const wanted = [stored("visage-language"), ...(navigator.languages ?? [])]
  .map((tag) => (tag ?? "").slice(0, 2).toLowerCase());
export const language = wanted.find((code) => code in LANGUAGES) ?? "en";
document.documentElement.lang = language;

// The browser's own form of that language: 24 Nov 2026 is Nov 24, 2026 elsewhere.
const locale = (navigator.languages ?? []).find((tag) => tag.toLowerCase().startsWith(language)) ?? language;
const plurals = new Intl.PluralRules(language);
const texts = language === "en" ? en : await import(`./texts/${language}.js`).then((file) => file.default, () => en);

/** The text `key` with {names} filled in; `n` chooses among {one}, {few}, {many}, {other} where the text has them. */
export function t(key, values = {}) {
  let text = texts[key] ?? en[key] ?? key;
  if (typeof text === "object") text = text[plurals.select(values.n ?? 0)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

export function number(value, digits = 0) {
  const rounded = Number(value.toFixed(digits)) + 0; // nought without a sign
  return new Intl.NumberFormat(locale, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(rounded);
}

export function when(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(date);
}

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${number(value, value < 10 && unit > 0 ? 1 : 0)} ${units[unit]}`;
}

export function milliseconds(ms) {
  return ms >= 1000 ? `${number(ms / 1000, ms < 10000 ? 2 : 1)} s` : `${number(ms, ms < 10 ? 1 : 0)} ms`;
}

export function speak(code) {
  store("visage-language", code);
  location.reload();
}
