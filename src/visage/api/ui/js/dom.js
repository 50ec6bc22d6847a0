// Elements from data. Text is always set as text, so nothing that a server or a file name says can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** h("button", {class: "x", onclick: f, "aria-label": "…"}, "text", child, null) */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

let last = 0;
/** An id for `for` and `aria-…`. */
export const fresh = (stem) => `${stem}-${++last}`;

const PATHS = {
  sun: "M12 4V2M12 22v-2M4 12H2M22 12h-2M5.6 5.6 4.2 4.200M19.8 19.800l-1.4-1.400M18.4 5.600l1.4-1.400M4.2 19.800l1.4-1.400M12 16.500a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9Z",
  moon: "M20 14.500A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.500Z",
  auto: "M12 3a9 9 0 1 0 0 18ZM12 3a9 9 0 0 1 0 18",
  key: "M15.5 14a5 5 0 1 0-4.8-3.600L4 17v3h3.200v-2h2v-2h2l1.2-1.300a5 5 0 0 0 3.1.3ZM16.5 8h.01",
  picture: "M4 6a2 2 0 0 1 2-2h12a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2ZM4 16l4.5-4.5 4 4L15 13l5 5M15.5 9h.01",
  camera: "M4 8a2 2 0 0 1 2-2h1.500L9 4h6l1.5 2H18a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2ZM12 16a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7Z",
  copy: "M9 9V6a2 2 0 0 1 2-2h7a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-3M6 9h7a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2Z",
  check: "M5 12.5 10 17.5 19.5 7",
  cross: "M6 6l12 12M18 6 6 18",
  warning: "M12 4 2.5 20h19ZM12 10v4.500M12 17.200h.01",
  plus: "M12 5v14M5 12h14",
  trash: "M5 7h14M10 11v6M14 11v6M6.5 7l.8 11.200A2 2 0 0 0 9.3 20h5.400a2 2 0 0 0 2-1.800L17.5 7M9 7V5a1 1 0 0 1 1-1h4a1 1 0 0 1 1 1v2",
  folder: "M3.5 7a2 2 0 0 1 2-2h4l2 2.500h7a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2Z",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM16 16l4.5 4.5",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 20.500a7.5 7.5 0 0 1 15 0",
  people: "M9 12a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 19.500a6.5 6.5 0 0 1 13 0M16 5.500a3.5 3.5 0 0 1 0 6.500M18 14a6.5 6.5 0 0 1 3.5 5.5",
  download: "M12 4v11M7 10.5 12 15.500l5-5M5 20h14",
  upload: "M12 16V5M7 9.5 12 4.500l5 5M5 20h14",
  back: "M14.5 6 8.5 12l6 6",
  next: "M9.5 6l6 6-6 6",
  swap: "M7 8h12M15.5 4.5 19 8l-3.5 3.500M17 16H5M8.5 12.5 5 16l3.5 3.5",
  pause: "M9 6v12M15 6v12",
  play: "M8 5.500v13l10.5-6.500Z",
  edit: "M4.5 19.500l1-4.500L16 4.500l3.5 3.500L9 18.500Z",
};

export function icon(name, size = 20) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }));
}
