// The gallery's beginning: one state in, one page out. Every change of state goes through ``go``, and so through the address.

import * as api from "./api.js";
import { byId, element, icon, mayFit, nameOf } from "./elements.js";
import * as filters from "./filters.js";
import { card, divider, watchArrows } from "./grid.js";
import * as notices from "./notices.js";
import { addressOf, drawInto, fileOf, watchForImages } from "./image.js";
import { EMPTY, PAGE, isAsking, questionOf, readAddress, whereOf, withChoice, withTerm, withoutTerm, writeAddress } from "./state.js";
import * as viewer from "./viewer.js";

let state = EMPTY;
let hits = []; // the answer so far, in order
let exhausted = false; // the collection has no more to give
let answered = null; // the question that ``hits`` answer
let filtered = null; // the filter that the facets' counts are for
let waiting = null;
let learned = Promise.resolve(); // once the collection's fields are known
const learning = new Set(); // ids that are asked for
const known = new Map(); // id -> hit: images of terms and links that may not be in the answer

// ---- state -------------------------------------------------------------------------------------------------------

/** Go to another state, as a step that the browser's back button undoes. */
function go(next) {
  history.pushState({ opened: Boolean(next.open) }, "", writeAddress(next));
  render(next);
}

/** Go to another state in place of this one. */
function slide(next) {
  history.replaceState(history.state, "", writeAddress(next));
  render(next);
}

function render(next) {
  state = next;
  document.body.dataset.stage = isAsking(state) || whereOf(state) ? "asking" : "start";
  document.title = state.text ? `${state.text} · polyglance` : "polyglance";
  byId("words").value = state.text;
  byId("where").value = state.where;
  renderTerms();
  renderFilters();
  if (questionOf(state) !== answered) ask();
  else renderViewer();
}

// ---- the answer --------------------------------------------------------------------------------------------------

async function ask() {
  waiting?.abort();
  waiting = new AbortController();
  answered = questionOf(state);
  exhausted = false;
  viewer.hide();
  notices.hide();
  filters.hideProblem();
  if (!isAsking(state)) return showUnasked();
  setBusy(true);
  await fill({ signal: waiting.signal, upTo: state.shown, fresh: true });
}

function showUnasked() {
  setBusy(false);
  showHits([], { fresh: true });
  byId("status").textContent = whereOf(state) ? "Filters are set; now say what to look for." : "";
  if (whereOf(state)) refreshFacets(state);
  renderViewer();
}

/** Fetch pages until ``upTo`` images are there. */
async function fill({ signal, upTo, fresh }) {
  const begun = performance.now();
  try {
    let start = fresh ? 0 : hits.length;
    while (start < upTo) {
      const page = await api.search(state, { limit: PAGE, offset: start, image: imageAsked(), signal });
      showHits(page.hits, { fresh: start === 0 });
      exhausted = page.hits.length < PAGE;
      start += PAGE;
      if (exhausted) break;
    }
    showDone(performance.now() - begun);
  } catch (error) {
    if (error.name !== "AbortError") showFailure(error);
  } finally {
    if (!signal.aborted) setBusy(false);
  }
}

class LostImage extends Error {}

function imageAsked() {
  if (!state.image) return null;
  const file = fileOf(state.image);
  if (!file) throw new LostImage();
  return file;
}

function showHits(more, { fresh }) {
  const before = fresh ? [] : hits;
  hits = [...before, ...more];
  for (const hit of more) known.set(hit.id, hit);
  const tiles = more.map(tile);
  const turn = hits.findLastIndex(mayFit) + 1 - before.length; // where the images begin that hardly fit
  const divided = !fresh && byId("grid").querySelector(".divider");
  if (!divided && hits.some(mayFit) && turn >= 0 && turn < more.length) tiles.splice(turn, 0, divider());
  if (fresh) byId("grid").replaceChildren(...tiles);
  else byId("grid").append(...tiles);
  byId("more").hidden = true;
}

const tile = (hit) => card(hit, {
  address: writeAddress({ ...state, open: hit.id }),
  open: (id) => go({ ...state, open: id }),
  nudge,
});

function showDone(milliseconds) {
  byId("more").hidden = exhausted || !hits.length;
  byId("status").textContent = hits.length ? statusLine(milliseconds) : "No images";
  if (!hits.length) notices.showNothing({ filtered: Boolean(whereOf(state)), clear: clearFilters });
  else if (!hits.some(mayFit)) notices.showUnsure({ filtered: Boolean(whereOf(state)), clear: clearFilters });
  renderTerms();
  refreshFacets(state);
  renderViewer();
}

function statusLine(milliseconds) {
  const fitting = hits.filter(mayFit).length;
  const number = hits.length === 1 ? "1 image" : `${hits.length.toLocaleString()} images`;
  const said = fitting === hits.length ? `${number}, best first` : `${fitting.toLocaleString()} of ${number} may fit`;
  return `${said} · ${Math.round(milliseconds)} ms`;
}

function showFailure(error) {
  byId("more").hidden = true;
  byId("status").textContent = "";
  if (error instanceof LostImage) return notices.showLostImage();
  if (filters.isProblem(error)) return showFilterProblem(error);
  showHits([], { fresh: true });
  return notices.showError(error, { again: askAgain });
}

function showFilterProblem(error) {
  filters.showProblem(error, state);
  setFiltersOpen(true);
  if (hits.length) byId("status").textContent = "The filter cannot be read; these images are from before.";
  else notices.showUnreadFilter();
  if (filtered === null) refreshFacets({ ...state, where: "" });
}

function askAgain() {
  answered = null;
  render(state);
}

function setBusy(busy) {
  byId("progress").hidden = !busy;
  byId("results").setAttribute("aria-busy", String(busy));
}

function showMore() {
  if (byId("more").hidden || exhausted || waiting?.signal.aborted) return;
  byId("more").hidden = true;
  setBusy(true);
  state = { ...state, shown: hits.length + PAGE };
  history.replaceState(history.state, "", writeAddress(state));
  fill({ signal: waiting.signal, upTo: state.shown, fresh: false });
}

// ---- what is asked -----------------------------------------------------------------------------------------------

function renderTerms() {
  const chips = state.terms.map(({ sign, id }) => chip({
    sign,
    label: `${sign === "more" ? "More" : "Less"} like ${known.has(id) ? nameOf(known.get(id)) : "this"}`,
    image: element("img", { alt: "", ...(known.has(id) ? { src: api.here(known.get(id).thumbnail_url) } : {}) }),
    remove: () => go(withoutTerm(state, id)),
  }));
  if (state.image) chips.unshift(imageChip());
  for (const { id } of state.terms) learnTerm(id);
  byId("terms").replaceChildren(...chips);
}

/** A link may name images that no answer has shown yet. */
async function learnTerm(id) {
  if (known.has(id) || learning.has(id)) return;
  learning.add(id);
  const found = await api.point(id).catch(() => null); // the question says what is wrong, in place
  if (found) known.set(id, found);
  if (found) renderTerms();
}

function imageChip() {
  const canvas = element("canvas", { width: 64, height: 64 });
  const file = fileOf(state.image);
  if (file) drawInto(canvas, file);
  return chip({ sign: "more", label: "Like your image", image: canvas, remove: () => go({ ...state, image: "", shown: PAGE }) });
}

function chip({ sign, label, image, remove }) {
  const button = element("button", { type: "button", className: "icon", "aria-label": `Without: ${label}` }, icon("close"));
  button.addEventListener("click", remove);
  return element("li", { className: `chip ${sign}` }, image, element("span", { dir: "auto" }, label), button);
}

/** More or less like an image. An image of one's own cannot be part of a query: the stored one takes its place. */
function nudge(sign, hit) {
  known.set(hit.id, hit);
  const base = sign === "more" ? { ...state, image: "" } : state;
  go(withTerm(base, sign, hit.id));
  scrollTo({ top: 0 });
}

async function takeImage(file) {
  go({ ...state, text: "", terms: [], image: await addressOf(file), open: "", shown: PAGE });
}

// ---- filters -----------------------------------------------------------------------------------------------------

function renderFilters() {
  const count = state.chosen.length + (state.where ? 1 : 0);
  byId("clear").hidden = !count;
  byId("filters-count").textContent = count || "";
}

/** Count the fields' values again where the filter is another; called once the filter is known to be readable. */
function refreshFacets(counted) {
  if (whereOf(counted) === filtered) return;
  filtered = whereOf(counted);
  learned.then(() => filters.refresh(counted, { choose: (choice, on) => go(withChoice(state, choice, on)) }));
}

const clearFilters = () => go({ ...state, chosen: [], where: "", shown: PAGE });

function setFiltersOpen(open) {
  document.body.dataset.filters = open ? "open" : "closed";
  byId("filters-toggle").setAttribute("aria-expanded", String(open));
}

// ---- the large view ----------------------------------------------------------------------------------------------

async function renderViewer() {
  if (!state.open) return closeViewer();
  const place = hits.findIndex(({ id }) => id === state.open);
  const hit = hits[place] ?? known.get(state.open) ?? (await fetchOpen(state.open));
  if (hit && hit.id === state.open) viewer.show(hit, { first: place <= 0, last: place < 0 || place === hits.length - 1 });
}

async function fetchOpen(id) {
  try {
    const found = await api.point(id);
    known.set(id, found);
    return found;
  } catch (error) {
    notices.showError(error, { again: () => renderViewer() });
    return null;
  }
}

function closeViewer() {
  const left = byId("viewer").dataset.id;
  viewer.hide();
  if (left) byId("grid").querySelector(`[data-id="${CSS.escape(left)}"] .image`)?.focus();
}

function leaveViewer() {
  if (history.state?.opened) history.back(); // the step that opened it
  else slide({ ...state, open: "" }); // a link led here
}

function stepViewer(by) {
  const next = hits[hits.findIndex(({ id }) => id === state.open) + by];
  if (next) slide({ ...state, open: next.id });
}

// ---- wiring ------------------------------------------------------------------------------------------------------

function watchForm() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("words").value.trim();
    go({ ...state, text, image: text ? "" : state.image, open: "", shown: PAGE });
  });
  byId("expression").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ ...state, where: byId("where").value.trim(), open: "", shown: PAGE });
  });
  byId("where").addEventListener("input", filters.hideProblem);
}

function watchButtons() {
  byId("more").addEventListener("click", showMore);
  byId("clear").addEventListener("click", clearFilters);
  byId("filters-toggle").addEventListener("click", () => setFiltersOpen(document.body.dataset.filters !== "open"));
  const onTheWay = () => hits.every(mayFit); // what hardly fits is fetched when it is asked for
  new IntersectionObserver(([seen]) => { if (seen.isIntersecting && onTheWay()) showMore(); }, { rootMargin: "600px" }).observe(byId("more"));
}

function watchKeys() {
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, dialog");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    byId("words").focus();
    byId("words").select();
  });
  watchArrows(byId("grid"));
}

async function learnCollection() {
  const { collections } = await api.collections();
  const here = collections.find((collection) => collection.current) ?? collections[0];
  if (!here) return;
  byId("holdings").textContent = `Say what one of ${here.points.toLocaleString()} images shows. Names and folders are not searched, only what can be seen.`;
  filters.learnFields(here.fields ?? here.indexes ?? {});
}

function begin() {
  watchForm();
  watchButtons();
  watchKeys();
  watchForImages({ input: byId("file"), overlay: byId("drop"), take: takeImage });
  viewer.prepare({
    step: stepViewer,
    nudge,
    close: leaveViewer,
    choose: (choice) => go(withChoice(state, choice, true)),
  });
  addEventListener("popstate", () => render(readAddress(new URL(location.href))));
  learned = learnCollection().catch(() => null); // the first question says what is wrong, in place
  render(readAddress(new URL(location.href)));
}

begin();
