// The collection as a long list that is read page by page. Only what is looked at stays in memory: of a page that has
// gone, its cursor is kept, and it is read again when somebody comes back.

import * as api from "./api.js";
import { lastNotAbove } from "./layout.js";

const LENGTH = 96; // images on a page
const LONGEST = 384; // and on one of those that are read right after each other, by somebody who scrolls fast
const SOON_MS = 500;
const KEPT = 10; // pages whose images are in memory

export class Listing {
  /** ``grown`` is told of images at the end, ``filled`` of a page that is in memory again. */
  constructor({ where, order, grown, filled }) {
    Object.assign(this, { where, order, grown, filled });
    this.pages = []; // { cursor, first, count, hits, used }
    this.next = null; // the cursor of the page after these
    this.done = false;
    this.length = 0;
    this.gone = new Set(); // ids that are removed, or about to be
    this.stopped = new AbortController();
    this.growing = null;
  }

  /** Read one page more; resolves when it is there. */
  grow() {
    if (this.done) return Promise.resolve();
    this.growing ??= this.read(this.next, this.due()).then(({ images, next }) => {
      this.grownAt = performance.now();
      if (images.length) this.pages.push({ cursor: this.next, first: this.length, count: images.length, hits: images, used: performance.now() });
      this.length += images.length;
      this.next = next;
      this.done = !next;
      this.forget();
      this.grown(images);
    }).finally(() => { this.growing = null; });
    return this.growing;
  }

  /** How many images to read next. */
  due() {
    const soon = this.length > 2 * LENGTH && performance.now() - this.grownAt < SOON_MS;
    this.limit = soon ? Math.min(LONGEST, 2 * this.limit) : LENGTH;
    return this.limit;
  }

  /** The image at a place; null while it is read again. */
  at(index) {
    const page = this.pageOf(index);
    if (!page) return null;
    page.used = performance.now();
    if (!page.hits) this.refill(page);
    return page.hits?.[index - page.first] ?? null;
  }

  /** The same, once it is there. */
  async reach(index) {
    while (index >= this.length && !this.done) await this.grow();
    const page = this.pageOf(index);
    if (page && !page.hits) await this.refill(page);
    return this.at(index);
  }

  /** The place of an image that is in memory; -1 where it is not. */
  indexOf(id) {
    for (const { hits, first } of this.pages) {
      const place = hits?.findIndex((hit) => hit?.id === id) ?? -1;
      if (place >= 0) return first + place;
    }
    return -1;
  }

  /** Read a page again when it is next looked at: something in it came back. */
  drop(index) {
    this.pageOf(index).hits = null;
  }

  stop() {
    this.stopped.abort();
  }

  pageOf = (index) => (index >= 0 && index < this.length ? this.pages[lastNotAbove(this.pages, index, ({ first }) => first)] : undefined);

  read(cursor, limit) {
    return api.images({ where: this.where, order_by: this.order, cursor, limit }, this.stopped.signal);
  }

  /** Images that were removed meanwhile are no longer in a page that is read again: their places stay empty. */
  refill(page) {
    page.reading ??= this.read(page.cursor, page.count).then(({ images }) => {
      const left = images.filter(({ id }) => !this.gone.has(id));
      page.hits = Array.from({ length: page.count }, (_, place) => (this.isHidden(page.first + place) ? null : left.shift() ?? null));
      page.used = performance.now();
      this.forget();
      this.filled(page);
    }).catch(() => null).finally(() => { page.reading = null; });
    return page.reading;
  }

  isHidden = () => false;

  forget() {
    const held = this.pages.filter(({ hits }) => hits);
    if (held.length <= KEPT) return;
    const oldest = held.reduce((least, page) => (page.used < least.used ? page : least));
    oldest.hits = null;
  }
}
