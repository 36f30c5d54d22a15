// The images that are selected, on the wall and among answers: by their button, with Shift, and by key.

import { byId, element, icon, nameOf } from "./elements.js";

export const MOST = 5_000; // images that can be selected together

const chosen = new Map(); // id -> hit, in the order they were selected
let last = ""; // where Shift begins

export const anchor = () => last;
export const hits = () => [...chosen.values()];
export const isEmpty = () => !chosen.size;

/** Whether a click selects instead of opening. */
export const isOn = () => document.body.dataset.selecting === "on";

/** The button of a tile that selects its image; ``range`` selects all up to it. */
export function checkFor(hit, range) {
  const button = element("button", { type: "button", className: "icon check", "aria-label": `Select: ${nameOf(hit)}`, "aria-pressed": String(chosen.has(hit.id)) }, icon("check"));
  button.addEventListener("click", (event) => { if (event.shiftKey && last) range(); else toggle(hit); });
  return button;
}

export function toggle(hit) {
  if (!chosen.delete(hit.id)) chosen.set(hit.id, hit);
  last = hit.id;
  show();
}

export function add(more) {
  for (const hit of more) if (chosen.size < MOST) chosen.set(hit.id, hit);
  show();
}

export function clear() {
  chosen.clear();
  last = "";
  setOn(false);
}

export function setOn(on) {
  document.body.dataset.selecting = on || chosen.size ? "on" : "off";
  byId("select").setAttribute("aria-pressed", String(isOn()));
  show();
}

/** Show of a tile whether its image is selected. */
export function mark(tile) {
  const on = chosen.has(tile.dataset.id);
  tile.classList.toggle("selected", on);
  tile.querySelector(".check")?.setAttribute("aria-pressed", String(on));
}

function show() {
  if (chosen.size) document.body.dataset.selecting = "on";
  for (const tile of document.querySelectorAll(".card[data-id]")) mark(tile);
  byId("selected").hidden = !chosen.size;
  byId("selected-count").textContent = `${chosen.size.toLocaleString()} selected`;
  byId("select").setAttribute("aria-pressed", String(isOn()));
}

/** Wire the bar and the keys: x or Space selects, Delete removes, Esc lets go. */
export function prepare({ nudge, remove, hitOf }) {
  byId("select").addEventListener("click", () => (isOn() ? clear() : setOn(true)));
  byId("selected-clear").addEventListener("click", clear);
  byId("selected-more").addEventListener("click", () => nudge("more", hits()));
  byId("selected-less").addEventListener("click", () => nudge("less", hits()));
  byId("selected-remove").addEventListener("click", () => remove(hits()));
  addEventListener("keydown", (event) => {
    if (event.target.closest?.("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    const tile = event.target.closest?.(".card[data-id]");
    const hit = tile && hitOf(tile.dataset.id);
    if (event.key === "Escape" && isOn()) clear();
    else if (event.key === "Delete" && (hit || chosen.size)) remove(chosen.size ? hits() : [hit]);
    else if (hit && (event.key === "x" || (event.key === " " && event.target.closest("a")))) toggle(hit);
    else if (hit && (event.key === "+" || event.key === "-")) nudge(event.key === "+" ? "more" : "less", [hit]);
    else return;
    event.preventDefault();
  });
}
