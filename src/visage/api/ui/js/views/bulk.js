// Import a folder: sub-folders or file names become persons, as a plan shows before anything is sent. The pictures go
// person by person; what is repeated makes nobody twice, since the same name always has the same id.

import { h, icon, replace } from "../dom.js";
import { number, t } from "../texts.js";
import { Problem, gallery, json, persistent, personPath } from "../api.js";
import { button, dropzone, empty, pill, segmented } from "../parts.js";
import { base64 } from "../pictures.js";
import { enrolmentOptions, reasonsOf } from "../outcomes.js";
import { plan } from "./plan.js";

const AT_ONCE = 2; // persons on their way
const IN_ONE = 6; // pictures of one request
const MOST_SHOWN = 200;

export function bulk({ collection, signal, refresh }) {
  const room = h("div", { class: "stack" });
  const modes = enrolmentOptions(segmented);

  function start() {
    replace(room, dropzone(shown, { label: t("import.drop"), hint: t("import.hint"), folder: true }), h("p", { class: "help" }, t("import.help")));
  }

  function shown(files) {
    const view = plan({ collection, signal, files, modes, go: run, other: start });
    replace(room, view);
    view.querySelector("h2").focus();
  }

  /** `people`: the plan's, each `{name, id, status, files}`. */
  function run(people) {
    const stop = new AbortController();
    signal.addEventListener("abort", () => stop.abort(), { once: true });
    const tally = { persons: 0, enrolled: 0, refused: 0, failed: 0, done: 0 };
    const total = people.reduce((sum, { files }) => sum + files.length, 0);
    const log = [];
    let paused = null;
    let go = null;
    const rows = h("tbody");
    const progress = h("progress", { max: total, value: 0, "aria-label": t("import.progress") });
    const words = h("p", { class: "figure", role: "status" });
    const pausing = button(t("pause"), { glyph: "pause", onclick: () => {
      if (paused) { go(); paused = null; } else paused = new Promise((done) => { go = done; });
      replace(pausing, icon(paused ? "play" : "pause", 18), h("span", {}, t(paused ? "resume" : "pause")));
    } });
    const stopping = button(t("stop"), { kind: "danger quiet", onclick: () => { stop.abort(); go?.(); } });
    const figures = h("dl", { class: "figures" });
    const after = h("div", { class: "row end wrap" });
    replace(room, h("section", { class: "panel padded stack" }, h("div", { class: "row between wrap" }, h("h2", { tabindex: "-1", class: "quiet-focus" }, t("import.running")), h("div", { class: "row" }, pausing, stopping)), progress, words, figures,
      h("div", { class: "table-room", tabindex: "0", role: "region", "aria-label": t("import.table") }, h("table", {}, h("thead", {}, h("tr", {}, ["person", "pictures", "import.outcome"].map((key) => h("th", { scope: "col" }, t(key))))), rows)), after));

    room.querySelector("h2").focus(); // the button that was pressed is gone

    function paint() {
      progress.value = tally.done;
      words.textContent = t("import.state", { done: tally.done, n: total });
      replace(figures, ["persons", "enrolled", "refused", "failed"].map((key) => h("div", {}, h("dt", {}, t(key === "persons" ? key : `outcome.${key}`)), h("dd", { class: "figure" }, number(tally[key])))));
    }

    async function one({ name, id, status, files: own }) {
      const found = [];
      let there = status === "there";
      let taken = false;
      for (let place = 0; place < own.length; place += IN_ONE) {
        await paused;
        if (stop.signal.aborted) return;
        const some = own.slice(place, place + IN_ONE);
        let entries;
        try {
          const answer = await send(name, id, some, there);
          there = taken = true;
          entries = answer.images;
        } catch (error) {
          if (error.name === "AbortError") return;
          entries = error instanceof Problem && error.kind === "nothing-enrolled" && error.body.images ? error.body.images : some.map(() => ({ status: "failed", reasons: [error.message] }));
        }
        some.forEach((file, index) => {
          const entry = entries[index] ?? { status: "failed", reasons: [] };
          found.push(entry);
          tally[entry.status] = (tally[entry.status] ?? 0) + 1;
          tally.done += 1;
          log.push([file.path, name, id, entry.status, reasonsOf(entry).join("; ")]);
        });
        paint();
      }
      if (taken) tally.persons += 1;
      const kept = found.filter((entry) => entry.status === "enrolled").length;
      const why = [...new Set(found.flatMap(reasonsOf))];
      if (rows.childElementCount >= MOST_SHOWN) rows.lastElementChild.remove();
      rows.prepend(h("tr", {}, h("th", { scope: "row" }, there ? h("a", { href: `#/collections/${encodeURIComponent(collection.name)}/persons/${encodeURIComponent(id)}` }, name) : name), h("td", { class: "figure" }, `${number(kept)} / ${number(found.length)}`), h("td", {}, pill(t(kept === found.length ? "import.all" : kept ? "import.some" : "import.nothing"), kept === found.length ? "good" : kept ? "warn" : "bad"), why.length > 0 && h("p", { class: "muted small" }, why.join("; ")))));
      paint();
    }

    async function send(name, id, some, there) {
      const images = await Promise.all(some.map(base64));
      const how = { quality: modes.quality.value, faces: modes.faces.value, images };
      const more = () => persistent("POST", personPath(collection.name, id, "/faces"), { body: how, signal: stop.signal });
      if (there) return more();
      try {
        return await persistent("POST", gallery(collection.name, "/persons"), { body: { id, name, ...how }, signal: stop.signal });
      } catch (error) {
        if (!(error instanceof Problem) || error.kind !== "already-there") throw error;
        // Somebody came since the plan was made: the same person, as far as the name tells, or nobody's business.
        const held = await json("GET", personPath(collection.name, id), { signal: stop.signal });
        if (held.name?.normalize("NFC") !== name) throw new Error(t("plan.late", { id, name: held.name || held.id }));
        return more();
      }
    }

    const queue = [...people];
    const work = async () => { while (queue.length && !stop.signal.aborted) await one(queue.shift()); };
    paint();
    Promise.all(Array.from({ length: AT_ONCE }, work)).then(() => {
      pausing.remove();
      stopping.remove();
      room.querySelector("h2").textContent = t(stop.signal.aborted ? "import.stopped" : "import.done");
      replace(after, button(t("import.report"), { glyph: "download", onclick: () => save(log) }), button(t("import.again"), { onclick: start }));
      if (!rows.childElementCount) rows.closest(".table-room").replaceWith(empty("folder", t("import.nobody"), ""));
      refresh();
    });
  }

  function save(log) {
    const cell = (text) => { const safe = /^[=+\-@]/.test(text) ? `'${text}` : text; return `"${safe.replaceAll('"', '""')}"`; }; // no formula for a spreadsheet
    const csv = [["file", "person", "id", "status", "reasons"], ...log].map((row) => row.map(cell).join(",")).join("\r\n");
    const url = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
    h("a", { href: url, download: `${collection.name}-import.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  start();
  return room;
}
