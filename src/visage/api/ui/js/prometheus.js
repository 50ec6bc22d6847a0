// Prometheus' text format, as far as a dashboard needs it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** name → [{labels, value}] */
export function parse(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const found = LINE.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    if (!metrics.has(found[1])) metrics.set(found[1], []);
    metrics.get(found[1]).push({ labels, value: Number(found[3].replace("Inf", "Infinity")) });
  }
  return metrics;
}

export function sum(metrics, name, keep = () => true) {
  return (metrics.get(name) ?? []).reduce((total, { labels, value }) => (keep(labels) ? total + value : total), 0);
}

/** A histogram's cumulated counts, [[upper bound, count], …] by rising bound. */
export function buckets(metrics, name, keep = () => true) {
  const counts = new Map();
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    if (!keep(labels)) continue;
    const bound = Number(labels.le.replace("Inf", "Infinity"));
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

/** What came between two readings of one histogram; a restart (fewer than before) begins anew. */
export function between(before, after) {
  const old = new Map(before);
  const fresh = after.map(([bound, count]) => [bound, count - (old.get(bound) ?? 0)]);
  return fresh.some(([, count]) => count < 0) ? after : fresh;
}

/** The q-quantile by linear interpolation within its bucket (as histogram_quantile does), or null of an empty one. */
export function quantile(histogram, q) {
  const total = histogram.at(-1)?.[1] ?? 0;
  if (total === 0) return null;
  const rank = q * total;
  const place = histogram.findIndex(([, count]) => count >= rank);
  const [bound, count] = histogram[place];
  const [low, before] = place ? histogram[place - 1] : [0, 0];
  if (bound === Infinity) return low;
  return count === before ? bound : low + (bound - low) * (rank - before) / (count - before);
}
