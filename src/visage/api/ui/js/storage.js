// Storage may be forbidden (private windows, policies): then what is chosen lasts as long as the page.

export function stored(name, where = () => localStorage) {
  try { return where().getItem(name); } catch { return null; }
}

export function store(name, value, where = () => localStorage) {
  try {
    if (value === null) where().removeItem(name);
    else where().setItem(name, value);
  } catch { /* see above */ }
}
