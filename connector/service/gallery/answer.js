// The answer to a question: its images, best first, and what is said of them.

import * as api from "./api.js";
import { byId, mayFit } from "./elements.js";
import { card, divider } from "./grid.js";
import { fileOf } from "./image.js";
import * as selection from "./selection.js";
import { PAGE } from "./state.js";

export let hits = []; // the answer so far, in order
export let understood = []; // what of the text became a filter
let state = null;
let exhausted = false; // the collection has no more to give
let waiting = null;
let wired = null;

/** The image that was asked by cannot travel in a link. */
export class LostImage extends Error {}

/** Wire it once: ``tileOf`` says what an image's tile does; ``answered``, ``failed``, ``shown`` and ``busy`` are told. */
export function prepare(actions) {
  wired = actions;
  byId("more").addEventListener("click", more);
  const onTheWay = () => hits.every(mayFit); // what hardly fits is fetched when it is asked for
  new IntersectionObserver(([seen]) => { if (seen.isIntersecting && onTheWay()) more(); }, { rootMargin: "600px" }).observe(byId("more"));
}

/** Ask anew. */
export async function ask(asked) {
  stop();
  state = asked;
  waiting = new AbortController();
  exhausted = false;
  wired.busy(true);
  await fill({ signal: waiting.signal, upTo: state.shown, fresh: true });
}

/** Take no more of the answer that is on its way. */
export function stop() {
  waiting?.abort();
  byId("more").hidden = true;
}

export function clear() {
  show([], { fresh: true });
}

/** Take images out, or put them back. */
export function hide(ids, hidden) {
  for (const tile of byId("grid").querySelectorAll(".card")) if (ids.includes(tile.dataset.id)) tile.hidden = hidden;
}

/** Images that are to be seen, in order. */
export const visible = () => {
  const hidden = new Set([...byId("grid").querySelectorAll(".card[hidden]")].map((tile) => tile.dataset.id));
  return hits.filter(({ id }) => !hidden.has(id));
};

/** Fetch pages until ``upTo`` images are there. */
async function fill({ signal, upTo, fresh }) {
  const begun = performance.now();
  try {
    let start = fresh ? 0 : hits.length;
    while (start < upTo) {
      const page = await api.search(state, { limit: PAGE, offset: start, image: imageAsked(), signal });
      understood = page.understood;
      show(page.hits, { fresh: start === 0 });
      exhausted = page.hits.length < PAGE;
      start += PAGE;
      if (exhausted) break;
    }
    byId("more").hidden = exhausted || !hits.length;
    wired.answered(statusLine(performance.now() - begun));
  } catch (error) {
    if (error.name !== "AbortError") wired.failed(error);
  } finally {
    if (!signal.aborted) wired.busy(false);
  }
}

function imageAsked() {
  if (!state.image) return null;
  const file = fileOf(state.image);
  if (!file) throw new LostImage();
  return file;
}

function show(more, { fresh }) {
  const before = fresh ? [] : hits;
  hits = [...before, ...more];
  const tiles = more.map((hit) => card(hit, { ...wired.tileOf(hit), range: () => extend(hit) }));
  const turn = hits.findLastIndex(mayFit) + 1 - before.length; // where the images begin that hardly fit
  const divided = !fresh && byId("grid").querySelector(".divider");
  if (!divided && hits.some(mayFit) && turn >= 0 && turn < more.length) tiles.splice(turn, 0, divider());
  if (fresh) byId("grid").replaceChildren(...tiles);
  else byId("grid").append(...tiles);
  byId("more").hidden = true;
}

function statusLine(milliseconds) {
  if (!hits.length) return "No images";
  const fitting = hits.filter(mayFit).length;
  const number = hits.length === 1 ? "1 image" : `${hits.length.toLocaleString()} images`;
  const said = fitting === hits.length ? `${number}, ${hits.every(({ score }) => score === 0) ? "latest" : "best"} first` : `${fitting.toLocaleString()} of ${number} may fit`;
  return `${said} · ${Math.round(milliseconds)} ms`;
}

function more() {
  if (byId("more").hidden || exhausted || waiting?.signal.aborted) return;
  byId("more").hidden = true;
  wired.busy(true);
  state = { ...state, shown: hits.length + PAGE };
  wired.shown(state.shown);
  fill({ signal: waiting.signal, upTo: state.shown, fresh: false });
}

/** Select everything from the image that was selected last to this one. */
function extend(hit) {
  const shown = visible();
  const places = [shown.findIndex(({ id }) => id === selection.anchor()), shown.indexOf(hit)].sort((a, b) => a - b);
  selection.add(shown.slice(Math.max(0, places[0]), places[1] + 1));
}
