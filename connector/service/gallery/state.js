// What is asked, as a value. The address is its only store, so every state can be linked to, left and come back to.
//
//   ?q=TEXT  &more=ID  &less=ID  &is=folder="trips"  &where=width >= 1024  &open=ID  &shown=96   #image=BASE64URL
//   &literal=im Juli 2023  &sort=recent  &mode=words  &by=taken  &month=2024-05  &box=49,9.5,46.4,17.2  &map=1
//   &from=2024-05-03T10:12:00Z
//
// Without a question the page shows the collection, the newest first: ``by`` says newest by which time, ``from`` where
// in it one is.
// An image stands in the fragment, which browsers do not send: links carry it, the server's log does not.

export const PAGE = 48;

export const TIMES = Object.freeze({ added: "ingested_at", taken: "taken_at" }); // fields that images are in the order of
const WHEN = Object.freeze({ added: "ingested_at", taken: "taken_on" }); // and those whose months are meant

export const EMPTY = Object.freeze({
  text: "", image: "", terms: [], chosen: [], where: "", open: "", shown: PAGE, by: "added", month: "", box: null, map: false, from: "",
  literal: "", sort: "", mode: "",
});

const SORTS = ["recent", "newest"]; // beside the best first
const MODES = ["visual", "words"]; // beside both together

export function readAddress(address) {
  const given = address.searchParams;
  const terms = [...given].filter(([name]) => name === "more" || name === "less");
  return {
    text: given.get("q") ?? "",
    image: new URLSearchParams(address.hash.slice(1)).get("image") ?? "",
    terms: terms.map(([sign, id]) => ({ sign, id })),
    chosen: given.getAll("is").map(readChoice).filter(Boolean),
    where: given.get("where") ?? "",
    open: given.get("open") ?? "",
    shown: Math.min(Math.max(Number(given.get("shown")) || PAGE, PAGE), 20 * PAGE),
    by: given.get("by") === "taken" ? "taken" : "added",
    month: /^\d{4}(-\d\d)?$/.test(given.get("month") ?? "") ? given.get("month") : "",
    box: readBox(given.get("box")),
    map: given.has("map"),
    literal: given.get("literal") ?? "",
    sort: SORTS.includes(given.get("sort")) ? given.get("sort") : "",
    mode: MODES.includes(given.get("mode")) ? given.get("mode") : "",
    from: Number.isNaN(Date.parse(given.get("from"))) ? "" : given.get("from"),
  };
}

export function writeAddress(state) {
  const parameters = new URLSearchParams();
  if (state.text) parameters.set("q", state.text);
  for (const { sign, id } of state.terms) parameters.append(sign, id);
  for (const { field, value } of state.chosen) parameters.append("is", `${field}=${JSON.stringify(value)}`);
  if (state.where) parameters.set("where", state.where);
  if (state.open) parameters.set("open", state.open);
  if (state.shown > PAGE) parameters.set("shown", state.shown);
  if (state.by !== "added") parameters.set("by", state.by);
  if (state.month) parameters.set("month", state.month);
  if (state.box) parameters.set("box", [state.box.top, state.box.left, state.box.bottom, state.box.right].join());
  if (state.map) parameters.set("map", 1);
  if (state.text && state.literal) parameters.set("literal", state.literal);
  if (state.sort) parameters.set("sort", state.sort);
  if (state.mode) parameters.set("mode", state.mode);
  if (state.from) parameters.set("from", state.from);
  const search = parameters.size ? `?${parameters}` : location.pathname;
  return state.image ? `${search}#image=${state.image}` : search;
}

function readChoice(text) {
  const at = text.indexOf("=");
  try {
    return at > 0 ? { field: text.slice(0, at), value: JSON.parse(text.slice(at + 1)) } : null;
  } catch {
    return null; // an address that was typed by hand
  }
}

function readBox(text) {
  const edges = (text ?? "").split(",").map(Number);
  const [top, left, bottom, right] = edges;
  const fits = text && edges.length === 4 && edges.every(Number.isFinite) && top <= 90 && bottom >= -90 && top > bottom && left >= -180 && right <= 180 && left < right;
  return fits ? { top, left, bottom, right } : null;
}

/** Whether anything is asked: a text, an image or a term. */
export const isAsking = (state) => Boolean(state.text || state.image || state.terms.length);

/** What the answer depends on; states of one question differ only in what is open and how much is shown. */
export const questionOf = (state) =>
  JSON.stringify([state.text, state.literal, state.image, state.terms, state.sort, state.mode, whereOf(state)]);

export const sameChoice = (a, b) => a.field === b.field && a.value === b.value;

/** Another text: what was taken back of the one before is of that one. */
export const withText = (state, text) => ({ ...state, text, literal: text === state.text ? state.literal : "" });

/** Words of the text that no date or place is to be read in any more. */
export const withLiteral = (state, words) => ({ ...state, literal: [state.literal, words].filter(Boolean).join(" · "), open: "", shown: PAGE });

/** The filter as the service reads it: the expression comes first, so an error's column is the expression's own. */
export function whereOf({ where, chosen, by, month, box }, { without = "", also = "" } = {}) {
  const fields = [...new Set(chosen.map(({ field }) => field))].filter((field) => field !== without);
  const parts = fields.map((field) => `${field} in (${valuesOf(field, chosen).join(", ")})`);
  if (month && without !== "month") parts.push(inMonth(by, month));
  if (box && without !== "box") parts.push(inBox(box));
  if (also) parts.push(also);
  return both(where.trim(), parts.join(" and "));
}

/** An expression and one of ours. */
export const both = (expression, ours) => (expression && ours ? `(${expression}) and ${ours}` : expression || ours);

/** The images of a month, "2024-05", or of a year. */
export const inMonth = (by, month) => `${WHEN[by]} in ${JSON.stringify(month)}`;

export const inBox = ({ top, left, bottom, right }) => `within(location, top=${top}, left=${left}, bottom=${bottom}, right=${right})`;

/** How far whereOf moved the expression to the right. */
export const whereShift = (state) => (whereOf(state, { also: state.from }) === state.where.trim() ? 0 : 1);

const valuesOf = (field, chosen) => chosen.filter((choice) => choice.field === field).map(({ value }) => quoted(value));

// The filter language knows JSON's escapes save \b, \f and \r.
const quoted = (value) =>
  JSON.stringify(value).replace(/(?<!\\)((?:\\\\)*)\\([bfr])/g, (_, before, letter) =>
    before + { b: "\\u0008", f: "\\u000c", r: "\\u000d" }[letter]);

/** More or less like some images; what was said of them before no longer holds. */
export function withTerms(state, sign, ids) {
  const others = state.terms.filter((term) => !ids.includes(term.id));
  return { ...state, terms: [...others, ...ids.map((id) => ({ sign, id }))], open: "", shown: PAGE, from: "" };
}

export const withoutTerm = (state, id) => ({ ...state, terms: state.terms.filter((term) => term.id !== id), shown: PAGE });

export function withChoice(state, choice, on) {
  const others = state.chosen.filter((other) => !sameChoice(other, choice));
  return { ...state, chosen: on ? [...others, choice] : others, open: "", shown: PAGE, from: "" };
}
