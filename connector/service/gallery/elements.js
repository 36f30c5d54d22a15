// Small pieces of the page. Text is always set as text, so nothing in an image's metadata can become markup.

export const byId = (id) => document.getElementById(id);

/** A new element: properties by name, data- and aria- names as attributes, then its children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** One of the page's icons. */
export function icon(name) {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  drawn.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  drawn.append(use);
  return drawn;
}

const TEXTS = ["uri", "folder", "filename", "format", "taken_at", "camera", "lens", "ingested_at"];
const NUMBERS = ["width", "height", "bytes"];
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** The payload without what is of the wrong type: anybody may change a point in Qdrant's dashboard. */
export function sound(payload) {
  const fits = ([name, value]) => {
    if (TEXTS.includes(name)) return typeof value === "string";
    if (NUMBERS.includes(name)) return typeof value === "number";
    if (name === "tags") return Array.isArray(value);
    if (name === "location") return isObject(value) && [value.lat, value.lon].every(Number.isFinite);
    return name !== "meta" || isObject(value);
  };
  return Object.fromEntries(Object.entries(payload).filter(fits));
}

/** What a person calls the image: its own name where the metadata has one, else the file's. */
export function nameOf(hit) {
  const { meta, filename } = sound(hit.payload);
  return String(meta?.name ?? meta?.title ?? filename ?? (hit.uri || hit.id));
}

/** How well an image fits: a share where the service calibrates it, else the cosine. */
export function matchOf(hit) {
  if (hit.relevance !== null && hit.relevance !== undefined) {
    return { text: `${Math.round(hit.relevance * 100)} %`, share: hit.relevance, means: "sure that it fits" };
  }
  if (hit.score === null || hit.score === undefined) return null;
  return { text: hit.score.toFixed(2), share: null, means: "cosine between question and image" };
}

const UNLIKELY = 0.1; // a relevance below it: of a hundred questions that no image answers, 18 come as near

/** Whether an image may fit; where the service cannot tell, it may. */
export const mayFit = ({ relevance }) => relevance === null || relevance === undefined || relevance >= UNLIKELY;

/** Whether a click asks for what a link does by itself: another tab, another window, a download. */
export const isPlainClick = (event) =>
  event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
