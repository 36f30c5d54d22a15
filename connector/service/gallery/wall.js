// A list without end on the page: only the rows that are near to be seen are in the document.

import { here } from "./api.js";
import { byId, element, sound } from "./elements.js";
import { blank, frame } from "./grid.js";
import { Rows, range, ratioOf } from "./layout.js";
import { Listing } from "./listing.js";
import * as selection from "./selection.js";

const AHEAD = 700; // pixels above and below the window that are drawn too
const READ_AHEAD = 6; // windows' heights below the window that are known already
const FAST = 4; // pixels in a millisecond: of what passes by faster no image is fetched
const SETTLED_MS = 120;
const TALLEST = 2_000_000; // pixels: browsers cannot scroll through more than some millions, so a longer list is moved along

export class Wall {
  /** ``open`` and ``nudge`` are what tiles do; ``failed`` is told of errors, ``looked`` of the first image in sight. */
  constructor({ addressOf, open, nudge, failed, looked }) {
    Object.assign(this, { addressOf, open, nudge, failed, looked });
    this.list = byId("wall");
    this.tiles = new Map(); // index -> its element
    this.focus = 0; // the tile that Tab comes to
    this.base = 0; // pixels of the list that lie above its scrolled part
    this.drawing = 0;
    this.place = this.painted = 0;
    addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.resize()).observe(this.list.parentElement);
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("focusin", (event) => this.settle(event.target.closest(".card")));
  }

  /** Begin with another list. */
  show({ where, order }) {
    this.listing?.stop();
    this.clear();
    this.rows = new Rows(this.measures());
    this.listing = new Listing({ where, order, grown: (images) => this.grow(images), filled: (page) => this.fill(page) });
    this.listing.isHidden = this.rows.isHidden;
    this.hidden = new Map(); // id -> where it was
    this.base = this.focus = 0;
    return this.more();
  }

  get isShown() {
    return !this.list.hidden && Boolean(this.listing);
  }

  /** Take images off the wall, or put them back where they were. */
  hide(ids, hidden) {
    if (!this.listing) return;
    for (const id of ids) {
      this.listing.gone[hidden ? "add" : "delete"](id);
      if (hidden) this.hidden.set(id, this.listing.indexOf(id));
    }
    const places = ids.map((id) => this.hidden.get(id) ?? -1).filter((place) => place >= 0);
    this.rows.hide(places, hidden);
    if (!hidden) for (const place of places) this.listing.drop(place);
    this.clear();
    this.draw();
  }

  /** The image ``by`` places from another one, past those that are hidden; null at an end. */
  async beside(id, by) {
    let index = this.listing.indexOf(id);
    if (index < 0) return null;
    do index += by; while (index >= 0 && index < this.rows.length && this.rows.isHidden(index));
    return index < 0 ? null : this.listing.reach(index);
  }

  indexOf = (id) => this.listing?.indexOf(id) ?? -1;

  /** Move the focus to an image, wherever it is. */
  go(index) {
    const aim = Math.min(Math.max(index, 0), this.rows.length - 1);
    const { top, height } = this.rows.box(aim);
    const y = top - this.base + this.offset();
    const head = 90; // the page's head covers what is above
    if (y < scrollY + head) scrollTo({ top: y - head - 20 });
    else if (y + height > scrollY + innerHeight) scrollTo({ top: y + height - innerHeight + 20 });
    this.focus = aim;
    this.paint();
    this.tiles.get(aim)?.querySelector("a").focus({ preventScroll: true });
  }

  // ---- what is drawn ---------------------------------------------------------------------------------------------

  grow(images) {
    this.rows.add(images.map(({ payload }) => ratioOf(sound(payload))));
    this.draw();
  }

  fill({ first, count }) {
    for (const index of range(first, first + count)) this.take(index);
    this.draw();
  }

  /** Draw with the next frame. */
  draw() {
    this.drawing ||= requestAnimationFrame(() => {
      this.drawing = 0;
      if (this.isShown) this.paint();
    });
  }

  paint() {
    this.shift();
    const { first, end, seen } = this.sight();
    for (const index of this.tiles.keys()) {
      if ((index < first || index >= end) && !this.tiles.get(index).contains(document.activeElement)) this.take(index);
    }
    for (let index = first; index < end; index++) {
      if (!this.tiles.has(index) && !this.rows.isHidden(index)) this.put(index);
    }
    const rest = this.listing.done ? 0 : innerHeight;
    this.list.style.height = `${Math.ceil(Math.min(this.rows.height - this.base, TALLEST) + rest)}px`;
    const top = this.listing.at(seen);
    if (top) this.looked(top, seen);
    if (this.rows.height - this.base - (scrollY - this.offset()) < READ_AHEAD * innerHeight) this.more();
    this.load();
  }

  /** Fetch the thumbnails in the document, unless they pass by too fast to be seen. */
  load() {
    clearTimeout(this.settled);
    const now = performance.now();
    const speed = Math.abs(scrollY - this.place) / (now - this.painted);
    [this.place, this.painted] = [scrollY, now];
    if (speed > FAST) {
      this.settled = setTimeout(() => this.load(), SETTLED_MS);
      return;
    }
    for (const image of this.list.querySelectorAll("img:not([src])")) image.src = image.dataset.src;
  }

  /** The images that are drawn, and the first that is really seen. */
  sight() {
    const top = scrollY - this.offset() + this.base;
    const { first, end } = this.rows.between(top - AHEAD, top + innerHeight + AHEAD);
    return { first, end, seen: this.rows.between(top + 90, top + 90).first };
  }

  /** Move the list along below the window where it is too long to be scrolled through in one piece. */
  shift() {
    const y = scrollY - this.offset();
    const half = TALLEST / 2;
    const by = y > TALLEST * 0.75 ? half : y < TALLEST * 0.1 ? -Math.min(this.base, half) : 0;
    if (!by) return;
    const aim = scrollY - by; // now: a shorter page is scrolled back by the browser
    this.base += by;
    this.clear();
    this.list.style.height = `${Math.min(this.rows.height - this.base, TALLEST) + innerHeight}px`;
    scrollTo({ top: aim, behavior: "instant" });
  }

  put(index) {
    const hit = this.listing.at(index);
    const box = this.rows.box(index);
    const tile = hit ? this.tile(hit, index) : element("li", { className: "card waiting" });
    tile.style.cssText = `left:${box.left}px;top:${box.top - this.base}px;width:${box.width}px;height:${box.height}px`;
    this.tiles.set(index, tile);
    this.list.append(tile);
  }

  tile(hit, index) {
    const image = blank(hit);
    image.dataset.src = here(hit.thumbnail_url);
    const made = element("li", { className: "card", "data-id": hit.id, "data-index": index, "aria-posinset": index + 1, "aria-setsize": this.listing.done ? this.rows.length : -1 },
      frame(hit, { image, address: this.addressOf(hit.id), open: this.open, nudge: this.nudge, range: () => this.extend(index) }));
    for (const control of made.querySelectorAll("a, button")) control.tabIndex = index === this.focus ? 0 : -1;
    selection.mark(made);
    return made;
  }

  take(index) {
    const tile = this.tiles.get(index);
    tile?.querySelector("img")?.removeAttribute("src"); // else it would be fetched all the same
    tile?.remove();
    this.tiles.delete(index);
  }

  clear() {
    for (const index of [...this.tiles.keys()]) this.take(index);
  }

  more() {
    return this.listing.grow().catch((error) => { if (error.name !== "AbortError") this.failed(error); });
  }

  resize() {
    if (!this.isShown || this.measures().width === this.rows.width) return;
    const { seen } = this.sight();
    this.rows.measure(this.measures());
    this.clear();
    scrollTo({ top: Math.max(0, this.rows.box(seen).top - this.base + (seen ? this.offset() : 0)) });
    this.draw();
  }

  measures() {
    const style = getComputedStyle(this.list);
    return { width: this.list.parentElement.clientWidth, row: parseFloat(style.getPropertyValue("--row")), gap: parseFloat(style.getPropertyValue("--gap")) };
  }

  offset = () => this.list.getBoundingClientRect().top + scrollY;

  // ---- keys ------------------------------------------------------------------------------------------------------

  settle(tile) {
    if (!tile?.dataset.index) return;
    for (const control of this.tiles.get(this.focus)?.querySelectorAll("a, button") ?? []) control.tabIndex = -1;
    this.focus = Number(tile.dataset.index);
    for (const control of tile.querySelectorAll("a, button")) control.tabIndex = 0;
  }

  key(event) {
    const here = Number(document.activeElement.closest?.(".card")?.dataset.index ?? NaN);
    if (Number.isNaN(here) || event.altKey || event.metaKey || event.ctrlKey) return;
    const aim = this.aim(event.key, here);
    if (aim === null) return;
    event.preventDefault();
    this.go(aim);
    if (event.shiftKey) this.extend(this.focus);
  }

  aim(key, here) {
    const beside = (by) => {
      let index = here + by;
      while (index > 0 && index < this.rows.length - 1 && this.rows.isHidden(index)) index += by;
      return index;
    };
    switch (key) {
      case "ArrowLeft": return beside(-1);
      case "ArrowRight": return beside(1);
      case "ArrowUp": return this.rows.neighbour(here, -1);
      case "ArrowDown": return this.rows.neighbour(here, 1);
      case "Home": return 0;
      case "End": return this.rows.length - 1;
      default: return null;
    }
  }

  /** Select everything from the tile that was selected last to this one. */
  async extend(index) {
    const anchor = Math.max(0, this.listing.indexOf(selection.anchor()));
    const [first, last] = [Math.min(anchor, index), Math.max(anchor, index)];
    const wanted = range(first, Math.min(last + 1, first + selection.MOST)).filter((each) => !this.rows.isHidden(each));
    const hits = [];
    for (const each of wanted) hits.push(await this.listing.reach(each));
    selection.add(hits.filter(Boolean));
  }
}
