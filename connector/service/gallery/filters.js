// The filters: an expression, whose errors are shown where they are, and the values that images have.

import * as api from "./api.js";
import { byId, element } from "./elements.js";
import { sameChoice, whereOf, whereShift } from "./state.js";

const ALWAYS = ["folder", "place", "format", "camera", "tags", "tenant"];
const COUNTED = new Set(["keyword", "integer", "bool"]);
const FEW = 8;
const MANY = 60;

let fields = ALWAYS;
const unfolded = new Set(); // fields of which many values are shown
let waiting = null;

/** Learn which of the user's own fields can be counted, from the collection's indexes. */
export function learnFields(indexes) {
  const own = Object.entries(indexes).filter(([name, kind]) => name.startsWith("meta.") && COUNTED.has(kind));
  fields = [...ALWAYS, ...own.map(([name]) => name)];
}

/** Ask anew for the values of every field, and show them; ``choose`` is told of every tick. */
export async function refresh(state, { choose }) {
  waiting?.abort();
  waiting = new AbortController();
  const { signal } = waiting;
  const groups = await Promise.all(fields.map((field) => groupOf(field, { state, signal, choose })));
  if (signal.aborted) return;
  byId("facets").replaceChildren(...groups.filter(Boolean));
}

async function groupOf(field, { state, signal, choose }) {
  const limit = unfolded.has(field) ? MANY : FEW;
  const where = whereOf(state, { without: field }); // a field's own choices do not hide its other values
  const answer = await api.facets(field, { where, limit: limit + 1, signal }).catch(() => null);
  const chosen = state.chosen.filter((choice) => choice.field === field);
  const counts = answer?.counts ?? [];
  if (!chosen.length && !isWorthShowing(counts)) return null;
  const missing = chosen.filter(({ value }) => !counts.slice(0, limit).some((count) => count.value === value));
  const values = [...missing.map(({ value }) => ({ value, count: null })), ...counts.slice(0, limit)];
  const rows = values.map(({ value, count }) => row({ field, value }, { count, chosen, choose }));
  const rest = counts.length > limit && limit < MANY ? unfolder(field, { state, choose }) : null;
  return element("fieldset", { className: "facet", "data-field": field }, element("legend", {}, titleOf(field)), ...rows, rest);
}

// One value tells nothing, and values that are each their image's own are names, not kinds.
const isWorthShowing = (counts) => counts.length > 1 && counts[0].count > 1;

function row(choice, { count, chosen, choose }) {
  const box = element("input", { type: "checkbox", checked: chosen.some((other) => sameChoice(other, choice)) });
  box.addEventListener("change", () => choose(choice, box.checked));
  const shown = choice.value === "" ? "(top)" : String(choice.value);
  const number = count === null ? null : element("span", { className: "count" }, count.toLocaleString());
  return element("label", { className: "choice" }, box, element("span", { className: "what", dir: "auto", title: shown }, shown), number);
}

function unfolder(field, { state, choose }) {
  const button = element("button", { type: "button", className: "unfold" }, "More values");
  button.addEventListener("click", () => { unfolded.add(field); refresh(state, { choose }); });
  return button;
}

const titleOf = (field) => {
  const name = field.replace(/^meta\./, "").replaceAll("_", " ");
  return name.charAt(0).toUpperCase() + name.slice(1);
};

/** Show what is wrong with the expression below it, with a mark under the place. */
export function showProblem(error, state) {
  const box = byId("where-error");
  const column = error.position - whereShift(state);
  const at = Math.min(Math.max(column, 1), state.where.length + 1);
  const sentence = error.message.split("\n")[0].replace(/\s*\(column \d+ of the filter\)/, "");
  const mark = element("pre", { "aria-hidden": "true" }, `${state.where}\n${" ".repeat(at - 1)}^`);
  box.replaceChildren(element("p", {}, sentence), mark, element("p", { className: "where-at" }, `At character ${at}.`));
  box.hidden = false;
  byId("where").setAttribute("aria-invalid", "true");
}

export function hideProblem() {
  byId("where-error").hidden = true;
  byId("where").removeAttribute("aria-invalid");
}

/** Whether a refusal is about the filter's text. */
export const isProblem = (error) => error.status === 422 && error.position !== null && error.message.includes("of the filter)");
