// The service's own routes. Every failure is a Problem with one line for people.

import { t } from "./texts.js";
import { stored, store } from "./storage.js";

/** The service's address: this file lies at {root}/ui/assets/{digest}/js/. */
export const ROOT = new URL("../../../../", import.meta.url).href.replace(/\/$/, "");

const KEY = "visage-key";
const session = () => sessionStorage;
let key = stored(KEY, session);
let askForKey = null;

export const hasKey = () => Boolean(key);

export function setKey(text) {
  key = text || null;
  store(KEY, key, session);
}

/** `ask(refused)` resolves to true when the user gave a key. */
export function onUnauthorised(ask) { askForKey = ask; }

export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(lineOf(status, body));
    this.status = status;
    this.kind = String(body?.type ?? "").replace("urn:visage:", "");
    this.body = body ?? {};
    this.retryAfter = retryAfter;
  }
}

function lineOf(status, body) {
  const detail = body?.detail;
  if (Array.isArray(detail)) return detail.map((fault) => `${(fault.loc ?? []).join(".")}: ${fault.msg}`).join("; ");
  const faults = Array.isArray(body?.errors) ? body.errors.map((fault) => `${(fault.loc ?? []).join(".")}: ${fault.msg}`).join("; ") : "";
  return [detail || body?.title || (status ? t("error.status", { status: String(status) }) : t("error.unreachable")), faults].filter(Boolean).join(": ");
}

let asking = null;

/** One answer, whatever its body; raises Problem. `body`: an object becomes JSON, a Blob goes as it is. */
export async function request(method, path, { body, type, headers = {}, signal, query } = {}) {
  const url = new URL(ROOT + path);
  for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  const plain = body === undefined || body instanceof Blob || typeof body === "string";
  const sent = { ...headers };
  if (body !== undefined) sent["Content-Type"] = type ?? (body instanceof Blob ? body.type || "application/octet-stream" : "application/json");
  for (;;) {
    if (key) sent.Authorization = `Bearer ${key}`;
    let answer;
    try {
      answer = await fetch(url, { method, headers: sent, body: plain ? body : JSON.stringify(body), signal, cache: "no-store", credentials: "same-origin" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, null);
    }
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (answer.status !== 401 || !askForKey) throw problem;
    asking ??= askForKey(Boolean(key)).finally(() => { asking = null; });
    if (!await asking) throw problem;
  }
}

async function problemOf(answer) {
  let body = null;
  try { body = await answer.json(); } catch { /* a proxy's page, most likely */ }
  return new Problem(answer.status, body, Number(answer.headers.get("Retry-After")) || undefined);
}

export async function json(method, path, how) {
  const answer = await request(method, path, how);
  return answer.status === 204 ? null : answer.json();
}

export async function text(path, how) {
  return (await request("GET", path, how)).text();
}

export async function blob(path, how) {
  return (await request("GET", path, how)).blob();
}

const pause = (ms, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); fail(new DOMException("", "AbortError")); }, { once: true });
});

/** As `json`, again after 503 and 429 as the service asks, for writes that carry an idempotency key. */
export async function persistent(method, path, how) {
  const headers = { ...how.headers, "Idempotency-Key": how.headers?.["Idempotency-Key"] ?? crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` };
  for (let tries = 0; ; tries += 1) {
    try {
      return await json(method, path, { ...how, headers });
    } catch (error) {
      if (!(error instanceof Problem) || ![0, 429, 503].includes(error.status) || tries >= 5) throw error;
      await pause(1000 * (error.retryAfter ?? 2 ** tries), how.signal);
    }
  }
}

/** One segment of a path. Browsers take "." and ".." out of it, in any spelling: what is left would name something else. */
function segment(id) {
  if (["", ".", ".."].includes(id)) throw new Problem(404, { type: "urn:visage:not-found", detail: t("error.name", { name: id }) });
  return encodeURIComponent(id);
}

export const gallery = (name, rest = "") => `/v1/collections/${segment(name)}${rest}`;
export const personPath = (name, id, rest = "") => gallery(name, `/persons/${segment(id)}${rest}`);
export const facePath = (name, id, face, rest = "") => personPath(name, id, `/faces/${segment(face)}${rest}`);
