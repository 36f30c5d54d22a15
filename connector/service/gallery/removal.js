// Removing images: they vanish at once, and for some seconds it can be undone; only then the service is told.

import * as api from "./api.js";
import { byId } from "./elements.js";

const SECONDS = 8;

let pending = null; // { ids, timer }

/** Wire the bar; ``hide`` takes images off the page or puts them back, ``failed`` is told why they could not be removed. */
export function prepare({ hide, failed }) {
  Object.assign(wired, { hide, failed });
  byId("undo").addEventListener("click", undo);
  addEventListener("pagehide", () => settle({ keepalive: true })); // what was not undone holds
  addEventListener("keydown", (event) => {
    if (!pending || event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.target.closest?.("input, textarea")) return;
    event.preventDefault();
    undo();
  });
}

const wired = { hide: () => {}, failed: () => {} };

/** Remove images from the collection, soon. */
export async function remove(hits) {
  await settle();
  const ids = hits.map(({ id }) => id);
  wired.hide(ids, true);
  pending = { ids, timer: setTimeout(settle, SECONDS * 1000) };
  byId("removed-count").textContent = `${ids.length === 1 ? "1 image" : `${ids.length.toLocaleString()} images`} removed from the collection`;
  byId("removed").hidden = false;
}

function undo() {
  if (!pending) return;
  clearTimeout(pending.timer);
  wired.hide(pending.ids, false);
  put(null);
}

async function settle({ keepalive = false } = {}) {
  if (!pending) return;
  const { ids, timer } = pending;
  clearTimeout(timer);
  put(null);
  try {
    await api.remove(ids, { keepalive });
  } catch (error) {
    wired.hide(ids, false);
    wired.failed(error);
  }
}

function put(next) {
  pending = next;
  byId("removed").hidden = true;
}
