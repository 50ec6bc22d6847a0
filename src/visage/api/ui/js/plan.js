// Who an import would enrol, and under which id: made of files alone, of who is in the collection, and of what the user
// answered. Nothing is sent before it was shown. Where two may be one, they are two until somebody says otherwise.

import { fold, formerIdOf, hash, idOf, nameOf, sorted } from "./people.js";

/** The kinds of doubts, in the order in which they are asked. */
export const KINDS = ["count", "folder", "spelling", "taken", "named"];

/**
 * `{persons, doubts}`. `answers`: Map of a doubt's key, or of a kind for all of it, → "different" (else), "one", or
 * "one:ID" for one of several in the collection. `there`: who is in the collection (`listed`), null while that is unknown.
 * A person: `{key, name, places, files, id, status, into, doubts}`; `status` is "new", "there" or null, `into` the name
 * that a person who is there has in the collection. A doubt: `{key, kind, choice, there}`.
 */
export function planned(files, by, answers, there) {
  const doubts = new Map();
  const ask = (key, kind, known = []) => {
    const choice = answers.get(key) ?? answers.get(kind) ?? "different";
    doubts.set(key, { key, kind, choice, there: known });
    return choice;
  };
  const persons = gathered(files, by, ask);
  const named = new Map();
  for (const { name } of persons) named.set(name, (named.get(name) ?? 0) + 1);
  const used = new Set();
  for (const person of persons) {
    const about = (kind, known) => { const key = `${kind}:${person.key}`; person.doubts.push(key); return ask(key, kind, known); };
    Object.assign(person, identified(person, named.get(person.name) > 1, there, about));
    for (let n = 2; person.status !== "there" && used.has(person.id); n += 1) person.id = `${person.id.slice(0, 100)}-${hash(`${person.key}/${n}`)}`;
    used.add(person.id);
  }
  for (const person of persons) person.doubts = person.doubts.map((key) => doubts.get(key));
  return { persons, doubts: [...doubts.values()] };
}

/** Persons by name: those that may be one, in spelling or from several folders, stand together, the doubtful first. */
function gathered(files, by, ask) {
  const counted = new Map(); // place → the doubt whether its number counts pictures
  const places = sorted(files, by, (one, several) => {
    const key = `count:${one}`;
    for (const place of [one, ...several]) counted.set(place, key);
    return ask(key, "count");
  });
  const alike = new Map();
  for (const [place, own] of places) {
    const key = fold(nameOf(place));
    if (!alike.has(key)) alike.set(key, []);
    alike.get(key).push({ key: place, name: nameOf(place), places: [place], files: own, doubts: counted.has(place) ? [counted.get(place)] : [] });
  }
  const persons = [];
  for (const [folded, group] of alike) {
    if (group.length > 1) {
      const key = `name:${folded}`;
      const folders = new Set(group.map(({ key: place }) => place.slice(0, place.lastIndexOf("/") + 1)));
      const choice = ask(key, group.every(({ name }) => name === group[0].name) && folders.size > 1 ? "folder" : "spelling");
      for (const person of group) person.doubts.push(key);
      if (choice !== "different") { persons.push(joined(group)); continue; }
    }
    persons.push(...group);
  }
  const doubtful = (person) => (person.doubts.length ? 0 : 1);
  return persons.sort((a, b) => doubtful(a) - doubtful(b)); // stable: else as `sorted` has them
}

/** One person of several, called as most of their pictures are. */
function joined(group) {
  const most = group.reduce((best, other) => (other.files.length > best.files.length ? other : best));
  return {
    key: most.key, name: most.name, places: group.flatMap(({ places }) => places), files: group.flatMap(({ files }) => files),
    doubts: [...new Set(group.flatMap(({ doubts }) => doubts))],
  };
}

/** `{id, status, into}` of a person; `repeated`: others of the import have the same name, so the folders tell. */
function identified(person, repeated, there, about) {
  const own = idOf(repeated ? person.key : person.name);
  if (!there) return { id: own, status: null };
  const is = (id) => there.names.get(id) === person.name;
  let free = own;
  for (let n = 1; there.names.has(free) && !is(free); n += 1) free = `${own.slice(0, 100)}-${hash(`${person.name}/${n}`)}`;
  const known = [free, ...(repeated ? [] : [formerIdOf(person.name)])].find(is);
  if (known) return { id: known, status: "there" };
  if (free !== own) {
    const into = there.names.get(own);
    const choice = about("taken", [{ id: own, name: into }]);
    return choice === "different" ? { id: free, status: "new" } : { id: own, status: "there", into: into || own };
  }
  const others = there.ids.get(person.name) ?? [];
  if (others.length) {
    const choice = about("named", others.map((id) => ({ id, name: person.name })));
    if (choice !== "different") return { id: others.find((id) => choice === `one:${id}`) ?? others[0], status: "there" };
  }
  return { id: own, status: "new" };
}

/** Who is in the collection, by id and by name; `page(cursor)` gets a page of them, `tell(count)` hears how many so far. */
export async function listed(page, tell = () => {}) {
  const names = new Map();
  const ids = new Map();
  let cursor = null;
  do {
    const found = await page(cursor);
    for (const { id, name } of found.items) {
      const said = (name ?? "").normalize("NFC");
      names.set(id, said);
      if (said) ids.set(said, [...(ids.get(said) ?? []), id]);
    }
    tell(names.size);
    cursor = found.next;
  } while (cursor);
  return { names, ids };
}
