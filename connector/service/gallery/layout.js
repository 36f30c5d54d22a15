// Where each image of a long list lies: rows that fill the width, every image in its own shape.
//
// An image costs four bytes here, and a row sixteen, so that a million of them can lie ready.

const NARROWEST = 0.45; // a strip or a tower of an image is shown whole inside a tile of this shape at most
const WIDEST = 3.2;

/** The shape of an image's tile, width by height. */
export const ratioOf = ({ width, height }) => (width && height ? Math.min(Math.max(width / height, NARROWEST), WIDEST) : 1);

export class Rows {
  /** ``width`` of the list, ``row`` for the height of a row that is about right, ``gap`` between tiles; all in pixels. */
  constructor({ width, row, gap }) {
    this.length = 0;
    this.ratios = new Float32Array(1024); // below zero: the image is hidden
    this.measure({ width, row, gap });
  }

  /** Lay everything out for another width. */
  measure({ width, row, gap }) {
    Object.assign(this, { width, row, gap });
    this.starts = []; // of each row, the first image
    this.tops = [];
    this.heights = [];
    this.lay(0);
  }

  /** Add images at the end, by their shapes. */
  add(ratios) {
    if (this.length + ratios.length > this.ratios.length) {
      const larger = new Float32Array(2 * (this.length + ratios.length));
      larger.set(this.ratios);
      this.ratios = larger;
    }
    this.ratios.set(ratios, this.length);
    this.length += ratios.length;
    this.lay(Math.max(0, this.starts.length - 1)); // the last row may not have been full
  }

  /** Take images out of the rows, or put them back. */
  hide(indexes, hidden) {
    for (const index of indexes) this.ratios[index] = Math.abs(this.ratios[index]) * (hidden ? -1 : 1);
    if (indexes.length) this.lay(this.rowOf(Math.min(...indexes)));
  }

  isHidden = (index) => this.ratios[index] < 0;

  get height() {
    const last = this.starts.length - 1;
    return last < 0 ? 0 : this.tops[last] + this.heights[last];
  }

  /** The images from ``first`` to before ``end`` whose rows meet the stretch from ``top`` to ``bottom``. */
  between(top, bottom) {
    const first = lastNotAbove(this.tops, top);
    const last = lastNotAbove(this.tops, bottom);
    return { first: this.starts[first] ?? 0, end: this.starts[last + 1] ?? this.length };
  }

  rowOf = (index) => lastNotAbove(this.starts, index);

  /** Where an image lies. */
  box(index) {
    const row = this.rowOf(index);
    const height = this.heights[row];
    let left = 0;
    for (let each = this.starts[row]; each < index; each++) {
      if (this.ratios[each] > 0) left += this.ratios[each] * height + this.gap;
    }
    return { left, top: this.tops[row], width: this.ratios[index] * height, height };
  }

  /** The image that one finds by going a row up or down. */
  neighbour(index, by) {
    const row = this.rowOf(index) + by;
    if (row < 0 || row >= this.starts.length) return index;
    const { left, width } = this.box(index);
    const ofRow = range(this.starts[row], this.starts[row + 1] ?? this.length).filter((each) => !this.isHidden(each));
    const far = (each) => { const box = this.box(each); return Math.abs(box.left + box.width / 2 - left - width / 2); };
    return ofRow.length ? ofRow.reduce((best, each) => (far(each) < far(best) ? each : best)) : index;
  }

  lay(row) {
    let start = this.starts[row] ?? 0;
    let top = this.tops[row] ?? 0;
    this.starts.length = this.tops.length = this.heights.length = row;
    while (start < this.length) {
      const { end, height } = this.fill(start);
      this.starts.push(start);
      this.tops.push(top);
      this.heights.push(height);
      top += height ? height + this.gap : 0;
      start = end;
    }
  }

  fill(start) {
    let shapes = 0;
    let count = 0;
    for (let end = start; end < this.length; end++) {
      if (this.ratios[end] < 0) continue;
      shapes += this.ratios[end];
      count += 1;
      const height = (this.width - this.gap * (count - 1)) / shapes;
      if (height <= this.row) return { end: end + 1, height: Math.max(height, 1) };
    }
    return { end: this.length, height: count ? this.row : 0 };
  }
}

export const range = (first, end) => Array.from({ length: Math.max(0, end - first) }, (_, each) => first + each);

/** The last place in a rising list whose value is not above ``value``; 0 where there is none. */
export function lastNotAbove(list, value, valueOf = (each) => each) {
  let low = 0;
  let high = list.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (valueOf(list[middle]) <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
