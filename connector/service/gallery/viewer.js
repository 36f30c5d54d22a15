// One image, large, with what is known of it. The address decides which; this only shows it.

import { here, refusal, renew } from "./api.js";
import { marked, wordsIn } from "./marks.js";
import { byId, element, matchOf, nameOf, sound } from "./elements.js";

const dialog = byId("viewer");
let shown = null;

/** Wire the dialog once: ``step`` goes through the images, ``nudge`` asks for more or less, ``close`` leaves. */
export function prepare({ step, nudge, remove, close, choose }) {
  byId("viewer-back").addEventListener("click", () => step(-1));
  byId("viewer-next").addEventListener("click", () => step(1));
  byId("viewer-close").addEventListener("click", close);
  byId("viewer-more").addEventListener("click", () => nudge("more", shown));
  byId("viewer-less").addEventListener("click", () => nudge("less", shown));
  byId("viewer-remove").addEventListener("click", () => remove(shown));
  byId("viewer-link").addEventListener("click", copyLink);
  byId("viewer-facts").addEventListener("click", (event) => {
    const choice = event.target.closest("button")?.choice;
    if (choice) choose(choice);
  });
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
    if (event.key === "Delete") remove(shown);
  });
  watchSwipes(byId("viewer-image"), step);
}

export function show(hit, { first, last }) {
  shown = hit;
  dialog.dataset.id = hit.id;
  byId("viewer-name").replaceChildren(...marked(nameOf(hit), wordsIn(hit, "filename", "meta.name", "meta.title")));
  byId("viewer-match").textContent = matchLine(hit);
  byId("viewer-back").disabled = first;
  byId("viewer-next").disabled = last;
  byId("viewer-link-label").textContent = "Copy link";
  byId("viewer-facts").replaceChildren(...facts(hit));
  showImage(hit);
  if (!dialog.open) dialog.showModal();
}

export function hide() {
  shown = null;
  delete dialog.dataset.id;
  if (dialog.open) dialog.close();
}

function showImage(hit) {
  const image = byId("viewer-image");
  byId("viewer-original").href = here(hit.image_url);
  image.alt = nameOf(hit);
  image.hidden = false;
  byId("viewer-none").hidden = true;
  image.onerror = () => { // HEIC and TIFF: few browsers show them
    image.onerror = () => sayNone(hit);
    image.src = here(hit.thumbnail_url);
  };
  image.src = here(hit.image_url);
}

async function sayNone(hit) {
  const image = byId("viewer-image");
  image.hidden = true;
  const said = await refusal(here(hit.image_url)) ?? await refusal(here(hit.thumbnail_url));
  if (said?.status === 401 && (await renew(hit)) && shown === hit) return showImage(hit);
  if (shown !== hit || !image.hidden) return;
  byId("viewer-none").textContent = `This image cannot be shown${said ? `: ${said.message}` : "."}`;
  byId("viewer-none").hidden = false;
}

function matchLine(hit) {
  const match = matchOf(hit);
  return match ? `${match.text} ${match.means}` : "";
}

async function copyLink() {
  const done = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  byId("viewer-link-label").textContent = done ? "Copied" : "Copy it from the address bar";
}

function watchSwipes(image, step) {
  let from = null;
  image.addEventListener("touchstart", (event) => { from = event.touches.length === 1 ? event.touches[0].clientX : null; }, { passive: true });
  image.addEventListener("touchend", (event) => {
    const moved = from === null ? 0 : event.changedTouches[0].clientX - from;
    if (Math.abs(moved) > 60) step(moved > 0 ? -1 : 1);
  }, { passive: true });
}

function facts(hit) {
  const payload = sound(hit.payload);
  const rows = [
    ["Damaged", hit.fault],
    ["Title", payload.title && marked(asText(payload.title), wordsIn(hit, "title"))],
    ["Description", payload.description && marked(asText(payload.description), wordsIn(hit, "description"))],
    ["Other languages", payload.languages && marked(asText(payload.languages), wordsIn(hit, "languages"))],
    ["Text in it", payload.ocr_text && marked(asText(payload.ocr_text), wordsIn(hit, "ocr"))],
    ["Taken", payload.taken_at && asTime(payload.taken_at)],
    ["Camera", payload.camera && chooser("camera", payload.camera, hit)],
    ["Lens", payload.lens],
    ["Exposure", payload.exposure && asText(payload.exposure)],
    ["Where", payload.place?.length && [marked(asText(payload.place), wordsIn(hit, "place"))].flat()],
    ["Place", payload.location && `${payload.location.lat.toFixed(5)}, ${payload.location.lon.toFixed(5)}`],
    ["Size", sizeOf(payload)],
    ["Folder", [payload.folder ?? []].flat().filter(Boolean).map((folder) => chooser("folder", folder, hit))],
    ["Tags", payload.tags?.length && payload.tags.map((tag) => chooser("tags", tag, hit))],
    ...Object.entries(payload.meta ?? {}).map(([name, value]) => [name.replaceAll("_", " "), marked(asText(value), wordsIn(hit, `meta.${name}`, name))]),
    ["Ingested", payload.ingested_at && asTime(payload.ingested_at)],
    ["Address", payload.uri && element("code", {}, ...marked(payload.uri, wordsIn(hit, "filename", "folder")))],
  ];
  return rows.filter(([, value]) => (Array.isArray(value) ? value.length : value || value === 0)).map(([name, value]) =>
    element("div", {}, element("dt", { dir: "auto" }, name), element("dd", { dir: "auto" }, ...[value].flat())));
}

function chooser(field, value, hit) {
  const shown = marked(String(value), wordsIn(hit, field));
  const button = element("button", { type: "button", className: "value", title: `Only ${field} ${value}` }, ...shown);
  button.choice = { field, value };
  return button;
}

function sizeOf({ width, height, bytes, format }) {
  const pieces = [width && `${width} × ${height}`, bytes && asBytes(bytes), format?.toUpperCase()];
  return pieces.filter(Boolean).join(" · ");
}

const asBytes = (bytes) =>
  bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

function asTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? String(text) : time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

function asText(value) {
  if (value === null || typeof value !== "object") return String(value ?? "");
  if (Array.isArray(value)) return value.map(asText).join(", ");
  return Object.entries(value).map(([name, inner]) => `${name.replaceAll("_", " ")} ${asText(inner)}`).join(", ");
}
