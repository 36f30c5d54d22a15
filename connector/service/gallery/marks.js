// Why an image is an answer: the words that were found in its texts, marked where they stand.

import { element } from "./elements.js";

const BEFORE = 12; // characters shown before the first word found in a longer text: a tile has room for some 25
const AFTER = 60;
const NAMES = { ocr: "text in it", filename: "name", languages: "other languages" };

/** Text as nodes, each of the words in a ``<mark>``. */
export function marked(text, words) {
  if (!words.length) return [text];
  const longest = [...words].sort((a, b) => b.length - a.length).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pieces = text.split(new RegExp(`(${longest.join("|")})`, "giu"));
  return pieces.map((piece, at) => (at % 2 ? element("mark", {}, piece) : piece)).filter(Boolean);
}

/** The words found in a field of an image, for whoever shows that field. */
export const wordsIn = (hit, ...fields) => (hit.reasons ?? []).filter(({ field }) => fields.includes(field)).flatMap(({ words }) => words);

/** The reasons as a line: each field, and the place in its text that was found. Null where nothing was read. */
export function reasonLine(hit) {
  const read = (hit.reasons ?? []).filter(({ words }) => words.length);
  if (!read.length) return null;
  return element("p", { className: "matched" }, ...read.flatMap((reason, at) => [at ? " · " : "", ...found(hit, reason)]));
}

function found(hit, { field, words }) {
  const label = element("span", { className: "field" }, NAMES[field] ?? field.replace(/^meta\./, "").replaceAll("_", " "));
  return [label, " ", element("bdi", {}, ...marked(excerpt(textOf(hit.payload, field), words), words))];
}

/** What stands in a field, as one text. */
function textOf(payload, field) {
  if (field === "ocr") return flat(payload.ocr_text);
  if (field === "caption") return flat(payload.meta?.caption);
  return flat(field.startsWith("meta.") ? payload.meta?.[field.slice(5)] : payload[field]);
}

function flat(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? Object.values(value).map(flat).filter(Boolean).join(", ") : String(value);
}

/** The text from shortly before its first word on, cut between words where it has any. */
function excerpt(text, words) {
  const at = Math.min(...words.map((word) => text.toLowerCase().indexOf(word.toLowerCase())).filter((place) => place >= 0));
  if (!Number.isFinite(at)) return words.join(" ");
  const before = at > BEFORE ? `…${text.slice(at - BEFORE, at).replace(/^\S*\s+|^[\udc00-\udfff]/, "")}` : text.slice(0, at);
  const after = text.length > at + AFTER ? `${text.slice(at, at + AFTER).replace(/[\ud800-\udbff]$/, "")}…` : text.slice(at);
  return before + after;
}
