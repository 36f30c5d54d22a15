// What is asked, as a value. The address is its only store, so every state can be linked to, left and come back to.
//
//   ?q=TEXT  &more=ID  &less=ID  &is=folder="trips"  &where=width >= 1024  &open=ID  &shown=96   #image=BASE64URL
//
// An image stands in the fragment, which browsers do not send: links carry it, the server's log does not.

export const PAGE = 48;

export const EMPTY = Object.freeze({ text: "", image: "", terms: [], chosen: [], where: "", open: "", shown: PAGE });

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

/** Whether anything is asked: a text, an image or a term. */
export const isAsking = (state) => Boolean(state.text || state.image || state.terms.length);

/** What the answer depends on; states of one question differ only in what is open and how much is shown. */
export const questionOf = (state) => JSON.stringify([state.text, state.image, state.terms, state.chosen, state.where]);

export const sameChoice = (a, b) => a.field === b.field && a.value === b.value;

/** The filter as the service reads it: the expression comes first, so an error's column is the expression's own. */
export function whereOf({ where, chosen }, { without = "" } = {}) {
  const fields = [...new Set(chosen.map(({ field }) => field))].filter((field) => field !== without);
  const parts = fields.map((field) => `${field} in (${valuesOf(field, chosen).join(", ")})`);
  const expression = where.trim();
  if (!expression) return parts.join(" and ");
  return parts.length ? `(${expression}) and ${parts.join(" and ")}` : expression;
}

/** How far whereOf moved the expression to the right. */
export const whereShift = ({ chosen }) => (chosen.length ? 1 : 0);

const valuesOf = (field, chosen) => chosen.filter((choice) => choice.field === field).map(({ value }) => quoted(value));

// The filter language knows JSON's escapes save \b, \f and \r.
const quoted = (value) =>
  JSON.stringify(value).replace(/(?<!\\)((?:\\\\)*)\\([bfr])/g, (_, before, letter) =>
    before + { b: "\\u0008", f: "\\u000c", r: "\\u000d" }[letter]);

/** One more or one less like an image; what was said of it before no longer holds. */
export function withTerm(state, sign, id) {
  const others = state.terms.filter((term) => term.id !== id);
  return { ...state, terms: [...others, { sign, id }], open: "", shown: PAGE };
}

export const withoutTerm = (state, id) => ({ ...state, terms: state.terms.filter((term) => term.id !== id), shown: PAGE });

export function withChoice(state, choice, on) {
  const others = state.chosen.filter((other) => !sameChoice(other, choice));
  return { ...state, chosen: on ? [...others, choice] : others, open: "", shown: PAGE };
}
