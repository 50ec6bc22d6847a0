// Whose picture is this file? By the folder it lies in, or by its name without a number that counts their pictures.
// What is not beyond doubt keeps persons apart: pictures of two under one name spoil every search, and nothing tells.

const ENDING = /\.[^.]+$/;
// "anna_01", "anna 2", "anna-3", "anna (2)". A number that touches the name, as in EMP1001, is a part of it.
const NUMBERED = /^(.*[^\s_.-])(?:[\s_.-]+(\d+)|[\s_.-]*\((\d+)\))$/su;
const CODE = /^(?:\p{Lu}{1,4}|\P{L}*|\p{sc=Latin}{1,2})$/u; // EMP, 1001, K: numbers after these name persons as often as pictures
const LETTERS = { ß: "ss", æ: "ae", œ: "oe", ø: "o", ł: "l", đ: "d", ð: "d", þ: "th", ı: "i", ё: "е", ς: "σ" };
const WORDS = new Set((
  "img image images photo photos pic pics picture pictures dsc dscn dscf pxl scan screenshot cam camera frame crop "
  + "face faces selfie portrait avatar person people persons user users employee employees staff member worker student "
  + "pupil customer client guest visitor suspect patient id no nr number unknown test sample file copy "
  + "foto fotos bild bilder gesicht mitarbeiter kunde gast schuler besucher visage personne employe eleve imagen cara "
  + "persona empleado alumno cliente immagine volto viso dipendente studente imagem rosto pessoa funcionario aluno "
  + "фото лицо человек сотрудник ученик гость 写真 顔 人物 社員 人 照片 人脸 员工 学生 图片 사진 얼굴 사람 직원").split(" ").map(fold));

/** Map place → files: who is in them. A place is the folder, or the folder and the name: its last part is the name's,
 *  see `nameOf`. `by`: "folder" (the innermost), "top" (the outermost) or "file"; a file that lies in no folder of its
 *  own counts by its name. `answer(one, several)`: whether files whose names differ in a number show one person, of
 *  whom that is not beyond doubt; `one` is the place they would share, `several` those that they would have. */
export function sorted(files, by, answer = () => "different") {
  const shared = sharedFolder(files);
  const people = new Map();
  const families = new Map();
  const give = (place, file) => { if (!people.has(place)) people.set(place, []); people.get(place).push(file); };
  for (const file of files) {
    const parts = file.path.normalize("NFC").split("/").slice(shared); // macOS writes é as e and an accent
    if (by !== "file" && parts.length > 1) {
      give(parts.slice(0, by === "top" ? 1 : -1).join("/"), file);
      continue;
    }
    const stem = parts.at(-1).replace(ENDING, "") || parts.at(-1);
    const [, base = stem, plain, marked] = NUMBERED.exec(stem) ?? [];
    const folder = parts.slice(0, -1).map((part) => `${part}/`).join("");
    const place = `${folder}${spoken(base)}`;
    if (!families.has(place)) families.set(place, []);
    families.get(place).push({ file, base, own: `${folder}${stem}`, number: plain ?? marked, marked: marked !== undefined });
  }
  const folders = new Set(people.keys());
  const apart = (place) => (folders.has(place) ? `./${place}` : place); // ada.jpg beside the folder ada
  for (const [place, family] of families) {
    const several = [...new Set(family.map(({ own }) => apart(own)))];
    const one = several.length > 1 && (isCounted(family) || answer(apart(place), several) !== "different");
    for (const { file, own } of family) give(apart(one ? place : own), file);
  }
  return new Map([...people].sort(([a], [b]) => nameOf(a).localeCompare(nameOf(b)) || a.localeCompare(b)));
}

/** What the person of a place is called. */
export const nameOf = (place) => spoken(place.split("/").at(-1));

/** Whether there are folders within folders, of which either may be the person's. */
export function isNested(files) {
  const shared = sharedFolder(files);
  return files.some((file) => file.path.split("/").length - shared > 2);
}

function spoken(text) {
  return text.replaceAll("_", " ").replace(/\s+/g, " ").trim() || text;
}

/** Beyond doubt: after a name the numbers begin at 0 or 1, or at the second picture, and go on without large gaps. */
function isCounted(family) {
  const numbered = family.filter(({ number }) => number !== undefined);
  const [low, high] = numbered.reduce(([least, most], { number }) => [Math.min(least, number), Math.max(most, number)], [Infinity, 0]);
  const copies = numbered.every(({ marked }) => marked); // as systems call a second file of the same name
  const first = family.length > numbered.length ? 99 : copies ? 2 : 1;
  const word = fold(family[0].base.split(/[^\p{L}\p{M}]+/u).filter(Boolean).at(-1) ?? "");
  return low <= first && high <= Math.max(99, 2 * family.length) && !WORDS.has(word) && (copies || !CODE.test(family[0].base));
}

/** How many folders all files have in common, but for the one that may be a person's. */
function sharedFolder(files) {
  const folders = files.map((file) => file.path.split("/").slice(0, -1));
  let depth = 0;
  while (folders.every((parts) => parts.length > depth && parts[depth] === folders[0][depth])) depth += 1;
  return folders.some((parts) => parts.length > depth) || depth === 0 ? depth : depth - (depth > 1 ? 1 : 0);
}

/** The same for names that may be one, spelt in two ways: capitals, accents, widths, spaces and signs are left out. */
export function fold(name) {
  const plain = name.normalize("NFKD").toLowerCase().replace(/[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]/g, "");
  return plain.replace(/[ßæœøłđðþıёς]/g, (letter) => LETTERS[letter]).replace(/[^\p{L}\p{M}\p{N}]+/gu, "") || name;
}

/** The same id for the same name at every import, so that an import that is repeated makes nobody twice; another for
 *  every other name, be it another in accents or capitals only. Names that an id cannot spell end in a hash of theirs. */
export function idOf(name) {
  const exact = name.replaceAll(" ", "_");
  if (/^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$/.test(exact) && exact.replaceAll("_", " ") === name) return exact;
  const plain = name.normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
  const slug = plain.replace(/[^A-Za-z0-9.:-]+/g, "_").replace(/^[^A-Za-z0-9]+|_+$/g, "").slice(0, 100);
  return `${slug || "person"}-${hash(name.normalize("NFC"))}`;
}

/** The id that this page gave before it told capitals apart. */
export function formerIdOf(name) {
  const plain = name.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").trim().toLowerCase();
  const slug = plain.replace(/[^a-z0-9.:-]+/g, "_").replace(/^[^a-z0-9]+|_+$/g, "").slice(0, 100);
  if (plain.replace(/\s+/g, "_") === slug) return slug;
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name.normalize("NFC"))) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return `${slug || "person"}-${value.toString(16).padStart(8, "0")}`;
}

/** FNV-1a, 48 of its 64 bits: among a million names two alike are one chance in five hundred, and `plan.js` looks. */
export function hash(text) {
  let value = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) value = ((value ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return (value >> 16n).toString(16).padStart(12, "0");
}
