// The tiles of images, and the answers: rows that fill the width, every image in its own shape.

import * as api from "./api.js";
import { element, icon, isPlainClick, matchOf, nameOf, sound } from "./elements.js";
import { ratioOf } from "./layout.js";
import { reasonLine } from "./marks.js";
import * as selection from "./selection.js";

/** One tile of an answer, with its name below it; see ``frame``. */
export function card(hit, actions) {
  const tile = element("li", { className: "card", "data-id": hit.id }, frame(hit, { ...actions, image: thumbnail(hit) }), caption(hit), reasonLine(hit));
  tile.style.setProperty("--ratio", ratioOf(sound(hit.payload)).toFixed(3));
  selection.mark(tile);
  return tile;
}

/** An image and its buttons. ``address`` is where its large view lives; ``range`` selects all up to it. */
export function frame(hit, { image, address, open, nudge, range }) {
  const link = element("a", { className: "image", href: address, title: nameOf(hit) }, image);
  link.addEventListener("click", (event) => {
    if (event.shiftKey || (selection.isOn() && isPlainClick(event))) {
      event.preventDefault();
      return event.shiftKey && selection.anchor() ? range() : selection.toggle(hit);
    }
    if (!isPlainClick(event)) return;
    event.preventDefault();
    open(hit.id);
  });
  const nudges = element("div", { className: "nudges" }, nudgeButton("more", hit, nudge), nudgeButton("less", hit, nudge));
  return element("div", { className: "frame" }, link, selection.checkFor(hit, range), nudges);
}

/** The line between the images that fit and those that are merely near. */
export const divider = () => element("li", { className: "divider" }, element("span", {}, "Near, and yet unlikely to fit"));

function thumbnail(hit) {
  const image = blank(hit);
  image.loading = "lazy";
  image.src = api.here(hit.thumbnail_url);
  return image;
}

const WAITS_S = [1, 3, 9, 27]; // until a thumbnail is asked for again that the service was too busy to make

/** The element of a thumbnail that is not fetched yet; where there is none, the image's name takes its place. */
export function blank(hit) {
  const image = element("img", { alt: nameOf(hit), decoding: "async" });
  image.addEventListener("error", () => fetchAgain(image, hit), { once: true });
  return image;
}

async function fetchAgain(image, hit) {
  image.classList.add("unseen"); // a browser draws a torn page there
  for (const wait of WAITS_S) {
    const refusal = await api.refusal(image.src);
    const renewed = refusal?.status === 401 && (await api.renew(hit));
    if (refusal && !renewed) {
      if (refusal.status && refusal.status < 500 && refusal.status !== 429) break;
      await new Promise((resolve) => { setTimeout(resolve, 1000 * Math.max(wait, refusal.retryAfter)); });
    }
    if (!image.isConnected) return; // the wall went on
    image.src = api.here(hit.thumbnail_url);
    if (await image.decode().then(() => true, () => false)) return image.classList.remove("unseen");
  }
  image.closest(".card")?.classList.add("lost");
  image.replaceWith(icon("image"), element("span", { className: "missing", dir: "auto" }, nameOf(hit)));
}

function nudgeButton(sign, hit, nudge) {
  const label = sign === "more" ? "More like this" : "Less like this";
  const button = element("button", { type: "button", className: "icon", title: label, "aria-label": `${label}: ${nameOf(hit)}` }, icon(sign));
  button.addEventListener("click", () => nudge(sign, [hit]));
  return button;
}

function caption(hit) {
  const match = matchOf(hit);
  const shown = match && element("span", { className: "score", title: match.means }, match.text);
  if (match?.share !== null && match) shown.style.setProperty("--share", match.share);
  if (match?.share !== null && match) shown.classList.add("calibrated");
  return element("p", { className: "caption" }, element("span", { className: "name", dir: "auto", title: hit.fault ?? "" }, captionOf(hit)), shown);
}

const captionOf = (hit) => hit.fault ? `${nameOf(hit)}: ${hit.fault}` : nameOf(hit);

/** Arrow keys move through the tiles as they lie on the page. */
export function watchArrows(grid) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  grid.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    const here = document.activeElement.closest?.(".card");
    if (!step || !here || event.altKey || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    neighbour(here, step)?.querySelector(".image").focus();
  });
}

function neighbour(here, [across, down]) {
  const tiles = [...here.parentElement.querySelectorAll(".card")];
  if (across) return tiles[tiles.indexOf(here) + across] ?? null;
  const middle = (tile) => { const box = tile.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; };
  const [x, y] = middle(here);
  const beyond = tiles.filter((tile) => (middle(tile)[1] - y) * down > here.offsetHeight / 2);
  const distance = (tile) => { const [tx, ty] = middle(tile); return Math.abs(ty - y) * 4 + Math.abs(tx - x); };
  return beyond.length ? beyond.reduce((best, tile) => (distance(tile) < distance(best) ? tile : best)) : null;
}
