// Adding images to the collection: chosen or dropped, sent a few at a time, each with its own outcome.

import * as api from "./api.js";
import { byId, element } from "./elements.js";

const AT_ONCE = 2;

const waiting = []; // files still to be sent
let sending = 0;
let sent = 0;
let added = 0;
let refused = []; // { name, message }
let done = () => {};

/** Wire the button and the report; ``finished`` is called when images were added. */
export function prepare({ finished }) {
  done = finished;
  byId("upload-files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = ""; // the same files may be chosen again
  });
  byId("upload-close").addEventListener("click", () => { byId("upload").hidden = true; });
}

/** Send files to the collection. */
export function add(files) {
  if (!files.length) return;
  if (!sending && !waiting.length) [sent, added, refused] = [0, 0, []];
  waiting.push(...files);
  show();
  while (sending < AT_ONCE && waiting.length) send();
}

async function send() {
  const file = waiting.shift();
  sending += 1;
  try {
    await api.add(file);
    added += 1;
  } catch (error) {
    refused.push({ name: file.name, message: error.message });
  }
  sending -= 1;
  sent += 1;
  show();
  if (waiting.length) return send();
  if (!sending && added) done();
}

function show() {
  const total = sent + sending + waiting.length;
  const number = `${added.toLocaleString()} of ${total.toLocaleString()} ${total === 1 ? "image" : "images"} added`;
  byId("upload").hidden = false;
  byId("upload-status").textContent = refused.length ? `${number}, ${refused.length.toLocaleString()} not` : number;
  byId("upload-progress").max = total;
  byId("upload-progress").value = sent;
  byId("upload-progress").hidden = sent === total;
  byId("upload-close").hidden = sent !== total;
  byId("upload-refused").replaceChildren(...refused.slice(0, 20).map(({ name, message }) =>
    element("li", {}, element("strong", { dir: "auto" }, name), ` ${message}`)));
}
