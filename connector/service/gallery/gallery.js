// The gallery's beginning: one state in, one page out. Every change of state goes through ``go``, and so through the address.

import * as alerts from "./alerts.js";
import * as answer from "./answer.js";
import * as api from "./api.js";
import { byId, mayFit } from "./elements.js";
import * as filters from "./filters.js";
import { watchArrows } from "./grid.js";
import { addressOf, watchForImages } from "./image.js";
import * as map from "./map.js";
import * as notices from "./notices.js";
import * as removal from "./removal.js";
import * as selection from "./selection.js";
import { EMPTY, PAGE, TIMES, both, isAsking, questionOf, readAddress, whereOf, withChoice, withLiteral, withTerms, withText, writeAddress } from "./state.js";
import * as terms from "./terms.js";
import * as timeline from "./timeline.js";
import * as upload from "./upload.js";
import * as viewer from "./viewer.js";
import { Wall } from "./wall.js";

let state = EMPTY;
let answered = null; // the question that the answer's images are for
let walled = null; // the list that the wall shows
let spot = ""; // the time of the first image in sight, as it stands in the address
let left = 0; // how far the wall was scrolled when a question was asked
let filtered = null; // the filter that the facets' counts are for
let learned = Promise.resolve(); // once the collection's fields are known
let mayWrite = false;
const known = new Map(); // id -> hit: images of terms and links that may not be in the answer

const wall = new Wall({
  addressOf: (id) => writeAddress({ ...state, open: id }),
  open: (id) => go({ ...state, open: id }),
  nudge,
  failed: showFailure,
  looked,
});

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
  const asked = isAsking(next);
  const back = isAsking(state) && !asked;
  if (!isAsking(state)) left = scrollY;
  state = next;
  document.body.dataset.stage = asked ? "asking" : whereOf(state) ? "browsing" : "start";
  document.title = state.text ? `${state.text} · polyglance` : "polyglance";
  byId("words").value = state.text;
  byId("where").value = state.where;
  byId("by").value = state.by;
  byId("wall").hidden = asked;
  byId("grid").hidden = !asked;
  byId("order").hidden = asked;
  byId("sorting").hidden = !asked;
  byId("reading").hidden = !state.text || Boolean(state.image);
  byId("sort").value = state.sort;
  byId("mode").value = state.mode;
  terms.show(state, { known, understood: asked && questionOf(state) === answered ? answer.understood : [], go });
  renderFilters();
  if (asked && questionOf(state) !== answered) ask();
  else if (!asked && !isOnWall()) browse();
  else settleView();
  if (back && isOnWall()) scrollTo({ top: left, behavior: "instant" });
  if (!asked) wall.draw();
}

function settleView() {
  refreshSides();
  renderViewer();
}

// ---- the collection ----------------------------------------------------------------------------------------------

const listOf = ({ by, ...rest }) => JSON.stringify([whereOf({ by, ...rest }), by]);

/** Whether the wall shows this already: another place in the same list is no other list. */
const isOnWall = () => walled?.list === listOf(state) && [walled.from, spot].includes(state.from);

async function browse() {
  answer.stop();
  answered = null;
  begin();
  walled = { list: listOf(state), from: state.from };
  spot = state.from;
  const field = TIMES[state.by];
  const from = state.from ? `${field} <= ${JSON.stringify(state.from)}` : "";
  byId("newer").hidden = !from;
  setBusy(true);
  await wall.show({ where: whereOf(state, { also: from }), order: `-${field}` });
  setBusy(false);
  if (walled?.list === listOf(state)) await tellOfCollection();
}

async function tellOfCollection() {
  const asked = walled;
  const count = await api.count(whereOf(state)).catch(() => null);
  if (asked !== walled || isAsking(state) || count === null) return;
  const number = `${count.toLocaleString()} ${count === 1 ? "image" : "images"}`;
  const dated = state.by === "taken" ? await api.count(both(whereOf(state), `exists(${TIMES.taken})`)).catch(() => count) : count;
  byId("status").textContent = dated === count ? number : `${dated.toLocaleString()} of ${number} say when they were taken`;
  if (!count) notices.showNone({ filtered: Boolean(whereOf(state)), clear: clearFilters, mayWrite });
  settleView();
}

/** Keep the place in the address, so that a link and a reload lead there. */
function looked(hit, index) {
  const next = index ? hit.payload[TIMES[state.by]] ?? "" : walled.from;
  if (next === spot || isAsking(state) || state.open) return;
  spot = next;
  clearTimeout(looked.timer); // browsers allow so many changes of the address and no more
  looked.timer = setTimeout(() => {
    if (isAsking(state) || state.open || !isOnWallNow()) return;
    state = { ...state, from: spot };
    history.replaceState(history.state, "", writeAddress(state));
  }, 250);
}

const isOnWallNow = () => walled?.list === listOf(state);

// ---- the answer --------------------------------------------------------------------------------------------------

/** What every new list and answer begins with. */
function begin() {
  viewer.hide();
  notices.hide();
  filters.hideProblem();
  byId("status").textContent = "";
}

function ask() {
  begin();
  answered = questionOf(state);
  byId("newer").hidden = true;
  return answer.ask(state);
}

function showAnswered(said) {
  byId("status").textContent = said;
  for (const hit of answer.hits) known.set(hit.id, hit);
  const { hits } = answer;
  const filteredBy = { filtered: Boolean(whereOf(state)), clear: clearFilters };
  if (!hits.length && answer.understood.length) notices.showUnmatched(answer.understood, { literal: (words) => go(withLiteral(state, words)) });
  else if (!hits.length) notices.showNothing(filteredBy);
  else if (!hits.some(mayFit)) notices.showUnsure(filteredBy);
  terms.show(state, { known, understood: answer.understood, go });
  settleView();
}

function showFailure(error) {
  byId("more").hidden = true;
  byId("status").textContent = "";
  setBusy(false);
  if (error instanceof answer.LostImage) return notices.showLostImage();
  if (filters.isProblem(error)) return showFilterProblem(error);
  if (isAsking(state)) answer.clear();
  return notices.showError(error, { again: askAgain });
}

function showFilterProblem(error) {
  filters.showProblem(error, state);
  setFiltersOpen(true);
  if (isAsking(state) && answer.hits.length) byId("status").textContent = "The filter cannot be read; these images are from before.";
  else notices.showUnreadFilter();
  if (filtered === null) refreshFacets({ ...state, where: "" });
}

function askAgain() {
  answered = walled = null;
  render(state);
}

function setBusy(busy) {
  byId("progress").hidden = !busy;
  byId("results").setAttribute("aria-busy", String(busy));
}

// ---- what is asked -----------------------------------------------------------------------------------------------

/** More or less like images. An image of one's own cannot be part of a query: the stored ones take its place. */
function nudge(sign, hits) {
  for (const hit of hits) known.set(hit.id, hit);
  const base = sign === "more" ? { ...state, image: "" } : state;
  selection.clear();
  go(withTerms(base, sign, hits.slice(0, MIXED).map(({ id }) => id)));
  scrollTo({ top: 0 });
}

const MIXED = 60; // a query has at most 64 parts

async function takeImage(file) {
  go({ ...state, text: "", terms: [], image: await addressOf(file), open: "", from: "", shown: PAGE });
}

// ---- filters -----------------------------------------------------------------------------------------------------

function renderFilters() {
  const count = state.chosen.length + (state.where ? 1 : 0);
  byId("clear").hidden = !count;
  byId("filters-count").textContent = count || "";
}

/** Count anew beside the images; called once the filter is known to be readable. */
function refreshSides() {
  refreshFacets(state);
  timeline.refresh(state, { choose: (month) => go({ ...state, month, from: "", open: "", shown: PAGE }) });
  map.refresh(state, { choose: (box) => go({ ...state, box, from: "", open: "", shown: PAGE }) });
}

function refreshFacets(counted) {
  if (whereOf(counted) === filtered) return;
  filtered = whereOf(counted);
  alerts.show(counted.where);
  learned.then(() => filters.refresh(counted, { choose: (choice, on) => go(withChoice(state, choice, on)) }));
}

const clearFilters = () => go({ ...state, chosen: [], where: "", month: "", box: null, from: "", shown: PAGE });

function setFiltersOpen(open) {
  document.body.dataset.filters = open ? "open" : "closed";
  byId("filters-toggle").setAttribute("aria-expanded", String(open));
}

// ---- the large view ----------------------------------------------------------------------------------------------

async function renderViewer() {
  if (!state.open) return closeViewer();
  const hit = found(state.open) ?? (await fetchOpen(state.open));
  if (!hit || hit.id !== state.open) return;
  const [before, after] = await Promise.all([beside(hit.id, -1), beside(hit.id, 1)]);
  if (hit.id === state.open) viewer.show(hit, { first: !before, last: !after });
}

const found = (id) => (isAsking(state) ? answer.hits.find((hit) => hit.id === id) : wall.listing?.at(wall.indexOf(id))) ?? known.get(id) ?? null;

async function beside(id, by) {
  if (!isAsking(state)) return wall.beside(id, by);
  const hits = answer.visible();
  const place = hits.findIndex((hit) => hit.id === id);
  return place < 0 ? null : hits[place + by] ?? null;
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
  const { id } = byId("viewer").dataset;
  viewer.hide();
  if (!id) return;
  if (isAsking(state)) byId("grid").querySelector(`[data-id="${CSS.escape(id)}"] .image`)?.focus();
  else if (wall.indexOf(id) >= 0) wall.go(wall.indexOf(id));
}

function leaveViewer() {
  if (history.state?.opened) history.back(); // the step that opened it
  else slide({ ...state, open: "" }); // a link led here
}

async function stepViewer(by) {
  const next = await beside(state.open, by);
  if (next && state.open) slide({ ...state, open: next.id });
}

// ---- what may write ----------------------------------------------------------------------------------------------

async function remove(hits) {
  if (!mayWrite || !hits.length) return;
  const open = hits.some(({ id }) => id === state.open);
  const next = open ? (await beside(state.open, 1)) ?? (await beside(state.open, -1)) : null;
  selection.clear();
  await removal.remove(hits);
  if (open && next) slide({ ...state, open: next.id });
  else if (open) leaveViewer();
}

function hide(ids, hidden) {
  wall.hide(ids, hidden);
  answer.hide(ids, hidden);
}

/** Images were added: they are shown at once where one looks at the newest, else when one asks for them. */
function showAdded() {
  learned = learnCollection().catch(() => null);
  if (!isAsking(state) && !state.from) showNewest();
  else byId("upload-show").hidden = false;
}

function showNewest() {
  filtered = answered = walled = null;
  byId("upload-show").hidden = true;
  if (isAsking(state) || state.from || whereOf(state)) go(EMPTY);
  else render(state);
  scrollTo({ top: 0 });
}

// ---- wiring ------------------------------------------------------------------------------------------------------

function watchForm() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("words").value.trim();
    go({ ...withText(state, text), image: text ? "" : state.image, open: "", from: "", shown: PAGE });
    scrollTo({ top: 0 });
  });
  byId("expression").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ ...state, where: byId("where").value.trim(), open: "", from: "", shown: PAGE });
  });
  byId("where").addEventListener("input", filters.hideProblem);
}

function watchButtons() {
  byId("clear").addEventListener("click", clearFilters);
  byId("filters-toggle").addEventListener("click", () => setFiltersOpen(document.body.dataset.filters !== "open"));
  byId("map-toggle").addEventListener("click", () => go({ ...state, map: !state.map }));
  byId("map-world").addEventListener("click", () => go({ ...state, box: null, from: "", shown: PAGE }));
  byId("by").addEventListener("change", () => go({ ...state, by: byId("by").value, month: "", from: "" }));
  for (const name of ["sort", "mode"]) byId(name).addEventListener("change", () => go({ ...state, [name]: byId(name).value, open: "", shown: PAGE }));
  byId("upload-show").addEventListener("click", showNewest);
  byId("newer").addEventListener("click", () => { go({ ...state, from: "" }); scrollTo({ top: 0 }); });
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
  const { collections, may_write } = await api.collections();
  mayWrite = may_write;
  document.body.dataset.may = mayWrite ? "write" : "read";
  const here = collections.find((collection) => collection.current) ?? collections[0];
  if (!here) return;
  byId("holdings").textContent = `Say what one of ${here.points.toLocaleString()} images shows, or words about it: from captions, tags, names, or written in it.`;
  filters.learnFields(here.fields ?? here.indexes ?? {});
}

function start() {
  watchForm();
  watchButtons();
  watchKeys();
  watchForImages({ input: byId("file"), overlay: byId("drop"), take: takeImage, add: (files) => upload.add(files) });
  answer.prepare({
    tileOf: (hit) => ({ address: writeAddress({ ...state, open: hit.id }), open: wall.open, nudge }),
    answered: showAnswered,
    failed: showFailure,
    shown: (shown) => { state = { ...state, shown }; history.replaceState(history.state, "", writeAddress(state)); },
    busy: setBusy,
  });
  viewer.prepare({
    step: stepViewer,
    nudge: (sign, hit) => nudge(sign, [hit]),
    remove: (hit) => remove([hit]),
    close: leaveViewer,
    choose: (choice) => go(withChoice(state, choice, true)),
  });
  selection.prepare({ nudge, remove, hitOf: found });
  removal.prepare({ hide, failed: showFailure });
  upload.prepare({ finished: showAdded });
  addEventListener("popstate", () => render(readAddress(new URL(location.href))));
  learned = learnCollection().catch(() => null); // the first question says what is wrong, in place
  render(readAddress(new URL(location.href)));
}

start();
