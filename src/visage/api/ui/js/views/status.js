// Status: what /metrics and /info say, read every few seconds; the history lives as long as the view.

import { h, replace, svg } from "../dom.js";
import { bytes, milliseconds, number, t } from "../texts.js";
import { json, text } from "../api.js";
import { failure, pill, skeleton } from "../parts.js";
import { between, buckets, parse, quantile, sum } from "../prometheus.js";

const EVERY = 2000;
const KEPT = 90; // readings: three minutes
// What only watches the service is no work of it.
const WATCHING = /^\/(health|ready|metrics|info|models|ui|docs|redoc|openapi|static)\b/;
const working = ({ route }) => !WATCHING.test(route) && route !== "/" && route !== "(none)";

export async function view({ signal }) {
  const history = [];
  let before = null;
  const room = h("div", { class: "stack" }, skeleton(4));
  const fault = h("div", {});
  const state = h("span", { class: "live", role: "status" });
  let info = null;

  async function read() {
    const [page, now] = await Promise.all([text("/metrics", { signal }), info ?? json("GET", "/info", { signal })]);
    info = now.visage?.ready === false ? null : now; // engines are known once the service is ready
    const metrics = parse(page);
    const here = {
      at: performance.now() / 1000, metrics,
      requests: sum(metrics, "visage_requests_total", working), faces: sum(metrics, "visage_faces_total"), images: sum(metrics, "visage_images_total"),
      errors: sum(metrics, "visage_requests_total", (labels) => working(labels) && labels.status >= "500"),
      latencies: buckets(metrics, "visage_request_seconds", working), cpu: sum(metrics, "process_cpu_seconds_total"),
    };
    const since = before ?? here;
    const seconds = Math.max(0.001, here.at - since.at);
    const rate = (name) => (before ? Math.max(0, here[name] - since[name]) / seconds : 0);
    const recent = before ? between(since.latencies, here.latencies) : [];
    history.push({
      requests: rate("requests"), faces: rate("faces"), errors: rate("errors"), cpu: rate("cpu"),
      p50: quantile(recent, 0.5), p95: quantile(recent, 0.95), p99: quantile(recent, 0.99),
      queue: sum(metrics, "visage_queue_depth"), inside: sum(metrics, "visage_requests_inside"), memory: sum(metrics, "process_resident_memory_bytes"),
    });
    if (history.length > KEPT) history.shift();
    before = here;
    show(here, now);
  }

  function show({ metrics, latencies, requests, faces, images, errors }, now) {
    const last = history.at(-1);
    const whole = (q) => { const value = quantile(latencies, q); return value === null ? "–" : milliseconds(value * 1000); };
    const lately = (name) => [...history].reverse().find((entry) => entry[name] !== null)?.[name] ?? null;
    const ms = (value) => (value === null ? "–" : milliseconds(value * 1000));
    replace(state, h("i", { class: sum(metrics, "visage_ready") ? "good" : "warn" }), t(sum(metrics, "visage_ready") ? "status.ready" : "status.loading"));
    const held = holding();
    replace(room,
      h("div", { class: "meters" },
        meter(t("status.rps"), number(last.requests, 1), t("status.total", { n: requests }), "requests"),
        meter(t("status.latency"), ms(lately("p95")), t("status.p95"), "p95"),
        meter(t("status.fps"), number(last.faces, 1), t("status.faces", { faces, images }), "faces"),
        meter(t("status.inside"), number(last.inside), t("status.queue", { n: last.queue }), "inside"),
        last.memory > 0 && meter(t("status.memory"), bytes(last.memory), t("status.cpu", { n: number(last.cpu, 2) }), "memory"),
        meter(t("status.errors"), number(last.errors, 1), t("status.total", { n: errors }), "errors")),
      h("div", { class: "split even" },
        h("section", { class: "panel", "aria-label": t("status.latencies") }, h("div", { class: "panel-head" }, h("h2", {}, t("status.latencies"))),
          table([t("status.quantile"), t("status.lately"), t("status.start")], [["50 %", ms(lately("p50")), whole(0.5)], ["95 %", ms(lately("p95")), whole(0.95)], ["99 %", ms(lately("p99")), whole(0.99)]])),
        h("section", { class: "panel", "aria-label": t("status.stages") }, h("div", { class: "panel-head" }, h("h2", {}, t("status.stages"))), stages(metrics))),
      h("section", { class: "panel", "aria-label": t("status.models") }, h("div", { class: "panel-head" }, h("h2", {}, t("status.models")), h("span", { class: "muted small" }, `visage ${now.visage?.version ?? now.version ?? ""}`)), models(metrics, now)),
      h("section", { class: "panel", "aria-label": t("status.routes") }, h("div", { class: "panel-head" }, h("h2", {}, t("status.routes"))), routes(metrics)));
    held();
  }

  /** Tables are made anew with every reading; whoever reads one keeps the focus and the place. */
  function holding() {
    const tables = () => [...room.querySelectorAll(".table-room")];
    const places = new Map(tables().map((element) => [element.getAttribute("aria-label"), [element.scrollTop, element.scrollLeft]]));
    const focused = room.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    return () => {
      for (const element of tables()) {
        const label = element.getAttribute("aria-label");
        [element.scrollTop, element.scrollLeft] = places.get(label) ?? [0, 0];
        if (label === focused) element.focus({ preventScroll: true });
      }
    };
  }

  function meter(name, value, more, series) {
    return h("section", { class: "panel meter", "aria-label": name }, h("h2", {}, name), h("p", { class: "meter-value figure" }, value), h("p", { class: "muted small figure" }, more), sparkline(history.map((entry) => entry[series])));
  }

  async function beat() {
    while (!signal.aborted) {
      if (!document.hidden) {
        try { await read(); replace(fault); } catch (error) {
          if (error.name === "AbortError") return;
          before = null;
          replace(fault, failure(error));
          if (!history.length) replace(room);
        }
      } else before = null;
      await new Promise((done) => { const timer = setTimeout(done, EVERY); signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true }); });
    }
  }

  beat();
  return h("div", { class: "page" }, h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("status.title")), h("p", { class: "lead" }, t("status.lead"))), state), fault, room);
}

/** A line over its area; gaps where nothing was measured are bridged. */
export function sparkline(values) {
  const width = 240;
  const height = 44;
  const known = values.map((value, index) => [index, value]).filter(([, value]) => value !== null);
  const most = Math.max(...known.map(([, value]) => value), 1e-9);
  const slots = Math.max(15, values.length); // a young history is drawn wider
  const x = (index) => width - (values.length - 1 - index) * width / (slots - 1);
  const y = (value) => height - 2 - value / most * (height - 6);
  const line = known.map(([index, value]) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  const chart = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (line.length > 1) chart.append(svg("path", { class: "area", d: `M${x(known[0][0]).toFixed(1)},${height}L${line.join("L")}L${x(known.at(-1)[0]).toFixed(1)},${height}Z` }), svg("path", { class: "line", d: `M${line.join("L")}`, "vector-effect": "non-scaling-stroke" }));
  return chart;
}

function table(head, rows) {
  return h("div", { class: "table-room", tabindex: "0", role: "region", "aria-label": head[0] }, h("table", {}, h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, cell)))),
    h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", { class: cell instanceof Node ? "" : "figure" }, cell)))))));
}

function stages(metrics) {
  const names = [...new Set((metrics.get("visage_stage_seconds_count") ?? []).map(({ labels }) => labels.stage))];
  if (!names.length) return h("p", { class: "muted pad" }, t("status.nothing"));
  return table([t("status.stage"), t("status.mean"), "95 %"], names.map((name) => {
    const keep = ({ stage }) => stage === name;
    const count = sum(metrics, "visage_stage_seconds_count", keep);
    const high = quantile(buckets(metrics, "visage_stage_seconds", keep), 0.95);
    return [name, count ? milliseconds(1000 * sum(metrics, "visage_stage_seconds_sum", keep) / count) : "–", high === null ? "–" : milliseconds(high * 1000)];
  }));
}

function models(metrics, info) {
  const rows = (metrics.get("visage_model_info") ?? []).map(({ labels }) => {
    const engine = info.visage?.engines?.[labels.name];
    const memory = (metrics.get("visage_model_in_memory") ?? []).find((entry) => entry.labels.model === labels.name);
    const waiting = sum(metrics, "visage_queue_depth", ({ model }) => model === labels.name);
    return [labels.name, t(`role.${labels.role}`), engine ? h("span", { title: engine.why }, pill(engine.engine)) : info.visage?.inference_backend ?? "–", memory ? pill(t(memory.value ? "status.inmemory" : "status.resting"), memory.value ? "good" : "") : "–", number(waiting), h("code", { title: labels.sha256 }, labels.sha256.slice(0, 60))];
  });
  return rows.length ? table([t("status.model"), t("status.role"), t("status.engine"), t("status.where"), t("status.waiting"), "SHA-256"], rows) : h("p", { class: "muted pad" }, t("status.nomodels"));
}

function routes(metrics) {
  const counts = new Map();
  for (const { labels, value } of metrics.get("visage_requests_total") ?? []) {
    if (!working(labels)) continue;
    const key = `${labels.method} ${labels.route}`;
    const row = counts.get(key) ?? { all: 0, bad: 0, route: labels.route };
    row.all += value;
    if (labels.status >= "400") row.bad += value;
    counts.set(key, row);
  }
  if (!counts.size) return h("p", { class: "muted pad" }, t("status.nothing"));
  return table([t("status.route"), t("status.requests"), t("status.refused"), "50 %", "95 %"], [...counts].sort((a, b) => b[1].all - a[1].all).slice(0, 60).map(([name, { all, bad, route }]) => {
    const own = buckets(metrics, "visage_request_seconds", (labels) => labels.route === route);
    return [h("code", {}, name), number(all), number(bad), ...[0.5, 0.95].map((q) => { const value = quantile(own, q); return value === null ? "–" : milliseconds(value * 1000); })];
  }));
}
