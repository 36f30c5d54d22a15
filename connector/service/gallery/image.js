// An image as the question: dropped, pasted, chosen, or read from the address, where a small copy of it stands.

const SHORT_EDGE = 224; // what the published towers look at; more would only lengthen the link
const originals = new Map(); // small copy -> the file itself, for as long as this page lives

/** The name by which a file stands in the address; "" where the browser cannot read it (HEIC, TIFF). */
export async function addressOf(file) {
  const small = await smallCopy(file).catch(() => null);
  const name = small ? asText(new Uint8Array(await small.arrayBuffer())) : `kept-${crypto.randomUUID()}`;
  originals.set(name, file);
  return name;
}

/** The file behind an address; null where it could not travel in one. */
export function fileOf(name) {
  if (originals.has(name)) return originals.get(name);
  if (name.startsWith("kept-")) return null;
  try {
    return new File([asBytes(name)], "image.webp", { type: "image/webp" });
  } catch {
    return null; // a link that was cut short
  }
}

/** Draw a file into a canvas, cropped to fill it; nothing is drawn of what the browser cannot read. */
export async function drawInto(canvas, file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return;
  const scale = Math.max(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  canvas.getContext("2d").drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}

async function smallCopy(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SHORT_EDGE / Math.min(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/webp", quality: 0.8 });
}

const asText = (bytes) =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const asBytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));

/** Call ``take`` with each image that is dropped, pasted or chosen to be asked by, and ``add`` with those to be kept. */
export function watchForImages({ input, overlay, take, add }) {
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = ""; // the same file may be chosen again
  });
  addEventListener("paste", (event) => {
    const file = imageIn(event.clipboardData);
    if (file) event.preventDefault();
    if (file) take(file);
  });
  watchDrops({ overlay, take, add });
}

function watchDrops({ overlay, take, add }) {
  let depth = 0; // dragenter and dragleave come once for every element below the pointer
  const show = (now) => { depth = now; overlay.hidden = depth === 0; };
  const guard = (act) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    act(event);
  };
  addEventListener("dragenter", guard((event) => { show(depth + 1); point(overlay, event.target); }));
  addEventListener("dragover", guard(() => {}));
  addEventListener("dragleave", guard(() => show(Math.max(0, depth - 1))));
  addEventListener("drop", guard((event) => {
    show(0);
    if (isForKeeping(event.target)) return filesIn(event.dataTransfer).then(add);
    const file = imageIn(event.dataTransfer);
    return file ? take(file) : null;
  }));
}

const isForKeeping = (target) => Boolean(target.closest?.("[data-drop='add']"));

function point(overlay, target) {
  for (const zone of overlay.querySelectorAll("[data-drop]")) zone.classList.toggle("over", zone.contains(target));
}

const imageIn = (transfer) => [...(transfer?.files ?? [])][0] ?? null;

/** All files that were dropped, those in folders too. */
async function filesIn(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before the first await: they go
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at most
    if (!some.length) return (await Promise.all(found.map(filesOf))).flat();
    found.push(...some);
  }
}
