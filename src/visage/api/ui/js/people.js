// Whose picture is this file? By the folder it lies in, or by its name without the number at its end.

const ENDING = /\.[^.]+$/;
const COUNT = /[\s_.-]*(?:\(\d+\)|\d+)$/;

/** Map name → files; `by` is "folder" or "file". A file that lies in no folder of its own counts by its name. */
export function sorted(files, by) {
  const shared = sharedFolder(files);
  const people = new Map();
  for (const file of files) {
    const parts = file.path.split("/").slice(shared);
    const stem = parts.at(-1).replace(ENDING, "");
    const name = by === "folder" && parts.length > 1 ? parts.at(-2) : stem.replace(COUNT, "") || stem;
    const said = (name.replaceAll("_", " ").trim() || stem).normalize("NFC"); // macOS writes é as e and an accent
    if (!people.has(said)) people.set(said, []);
    people.get(said).push(file);
  }
  return new Map([...people].sort(([a], [b]) => a.localeCompare(b)));
}

/** How many folders all files have in common, but for the one that may be a person's. */
function sharedFolder(files) {
  const folders = files.map((file) => file.path.split("/").slice(0, -1));
  let depth = 0;
  while (folders.every((parts) => parts.length > depth && parts[depth] === folders[0][depth])) depth += 1;
  return folders.some((parts) => parts.length > depth) || depth === 0 ? depth : depth - (depth > 1 ? 1 : 0);
}

/** The same id for the same name at every import, so that an import that is repeated makes nobody twice. */
export function idOf(name) {
  const plain = name.normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
  const slug = plain.trim().toLowerCase().replace(/[^a-z0-9.:-]+/g, "_").replace(/^[^a-z0-9]+|_+$/g, "").slice(0, 100);
  const lossless = plain.trim().toLowerCase().replace(/\s+/g, "_") === slug;
  return lossless ? slug : `${slug || "person"}-${hash(name.normalize("NFC"))}`;
}

/** FNV-1a, 32 bits: only to tell names apart that look alike as ids. */
function hash(text) {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value.toString(16).padStart(8, "0");
}
