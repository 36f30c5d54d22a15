// The map: where the images were taken, over the outlines of land (land.svg). Nothing is fetched from elsewhere.
//
// Of very many images a sample is drawn, and numbers are then estimates and say "about".

import * as api from "./api.js";
import { byId, element, sound } from "./elements.js";
import { both, whereOf } from "./state.js";

const SAMPLE = 1_000;
const APART = 46; // pixels between clusters, about
const WORLD = Object.freeze({ top: 85, left: -180, bottom: -60, right: 180 });
const LEAST = 0.02; // degrees: below this the outlines say nothing more

let shown = null;
let waiting = null;

/** Draw anew where the filter is another; ``choose`` is told of the stretch that is clicked, null for the whole world. */
export async function refresh(state, { choose }) {
  const frame = byId("map");
  frame.hidden = !state.map;
  byId("map-toggle").setAttribute("aria-expanded", String(state.map));
  if (!state.map) return;
  const where = both(whereOf(state), "exists(location)");
  if (where === shown) return;
  shown = where;
  waiting?.abort();
  waiting = new AbortController();
  const { signal } = waiting;
  try {
    const [total, images] = await Promise.all([api.count(where, signal), api.sample({ where, limit: SAMPLE }, signal)]);
    draw({ box: state.box ?? WORLD, total, places: images.map(({ payload }) => sound(payload).location).filter(Boolean), choose });
    byId("map-world").hidden = !state.box;
  } catch (error) {
    if (signal.aborted) return;
    shown = null;
    byId("map-status").textContent = "The places cannot be read just now.";
  }
}

function draw({ box, total, places, choose }) {
  const view = padded(box);
  const svg = byId("map-drawing");
  svg.setAttribute("viewBox", [view.left, -view.top, view.right - view.left, view.top - view.bottom].join(" "));
  byId("map-land").setAttribute("transform", "translate(-180 -90) scale(0.1)");
  byId("map-status").textContent = total
    ? `${total.toLocaleString()} ${total === 1 ? "image has" : "images have"} a place${total > places.length ? `; ${places.length.toLocaleString()} of them, at random, are drawn` : ""}`
    : "No image here has a place.";
  const about = places.length ? total / places.length : 1;
  byId("map-clusters").replaceChildren(...clusters(places, view).map((cluster) => bubble(cluster, { view, about, choose })));
}

/** A stretch as wide as the map is, and not quite filled. */
function padded({ top, left, bottom, right }) {
  const ratio = (WORLD.right - WORLD.left) / (WORLD.top - WORLD.bottom);
  const height = Math.max(top - bottom, (right - left) / ratio, LEAST) * (right - left >= 360 ? 1 : 1.15);
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  return { top: y + height / 2, bottom: y - height / 2, left: x - (height * ratio) / 2, right: x + (height * ratio) / 2 };
}

function clusters(places, view) {
  const size = (view.right - view.left) / Math.max(4, Math.floor(byId("map").clientWidth / APART));
  const cells = new Map();
  for (const { lat, lon } of places) {
    const name = `${Math.floor((lon - view.left) / size)} ${Math.floor((view.top - lat) / size)}`;
    const here = { count: 1, lat, lon, top: lat, bottom: lat, left: lon, right: lon };
    cells.set(name, cells.has(name) ? together(cells.get(name), here) : here);
  }
  return merged([...cells.values()].sort((a, b) => b.count - a.count), 0.8 * size);
}

/** Clusters without those that a larger one would cover: it takes them in. */
function merged(cells, near) {
  const kept = [];
  for (const cell of cells) {
    const larger = kept.find((each) => Math.hypot(each.lat / each.count - cell.lat / cell.count, each.lon / each.count - cell.lon / cell.count) < near);
    if (larger) Object.assign(larger, together(larger, cell));
    else kept.push(cell);
  }
  return kept;
}

const together = (a, b) => ({
  count: a.count + b.count, lat: a.lat + b.lat, lon: a.lon + b.lon,
  top: Math.max(a.top, b.top), bottom: Math.min(a.bottom, b.bottom), left: Math.min(a.left, b.left), right: Math.max(a.right, b.right),
});

function bubble({ count, lat, lon, ...edges }, { view, about, choose }) {
  const number = Math.round(count * about);
  const said = `${about > 1 ? "About " : ""}${number.toLocaleString()} ${number === 1 ? "image" : "images"} near ${degrees(lat / count, "N", "S")}, ${degrees(lon / count, "E", "W")}`;
  const button = element("button", { type: "button", className: "bubble", title: said, "aria-label": said }, short(number));
  button.style.left = `${((lon / count - view.left) / (view.right - view.left)) * 100}%`;
  button.style.top = `${Math.min(97, ((view.top - lat / count) / (view.top - view.bottom)) * 100)}%`; // Antarctica lies below the map
  button.style.setProperty("--size", `${Math.round(26 + 8 * Math.min(4, Math.log10(number)))}px`);
  button.addEventListener("click", () => choose(around(edges)));
  return element("li", {}, button);
}

const degrees = (value, plus, minus) => `${Math.abs(value).toFixed(1)}° ${value < 0 ? minus : plus}`;
const short = (number) => new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(number);

/** The stretch of a cluster, a little wider, in whole hundredths of a degree. */
function around({ top, left, bottom, right }) {
  const rim = Math.max(LEAST, (right - left) / 20, (top - bottom) / 20);
  const cut = (value, least, most) => Math.min(Math.max(Number(value.toFixed(2)), least), most);
  return { top: cut(top + rim, -90, 90), left: cut(left - rim, -180, 180), bottom: cut(bottom - rim, -90, 90), right: cut(right + rim, -180, 180) };
}
