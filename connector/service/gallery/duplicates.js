// The duplicates page: a search for them, its groups side by side with what speaks for each, and what the reader decides.

import * as api from "./api.js";
import { byId, element, icon } from "./elements.js";
import * as notices from "./notices.js";
import * as removal from "./removal.js";

const AGAIN_MS = 1000;
const PAGE = 20;
const KINDS = {
  identical: ["Identical bytes", "The same file in several places, byte for byte."],
  same_image: ["Same image", "One image in several forms: recompressed, resized, slightly cropped, turned, watermarked, in another format. The pixels decide."],
  same_moment: ["Same moment", "Taken within seconds by one camera, and near in what they show. Often the best is kept."],
  look_alikes: ["Look-alikes", "Near by their vectors alone. They may be different images of like things."],
};
const OF_COPIES = ["identical", "same_image"]; // kinds of which all but the best may go
let search = null; // the last one that is done
let kind = new URL(location.href).searchParams.get("kind") ?? "";
let offset = 0;

async function refresh() {
  try {
    const [{ searches }, { may_write: mayWrite }] = await Promise.all([api.duplicates(), api.collections()]);
    document.body.dataset.may = mayWrite ? "write" : "read";
    notices.hide();
    const [last] = searches;
    showProgress(last);
    const done = searches.find(({ state }) => state === "done");
    if (done?.id !== search?.id) show(done);
    say(last, done);
    if (last?.state === "running") setTimeout(refresh, AGAIN_MS);
  } catch (error) {
    byId("lead").textContent = "";
    notices.showError(error, { again: refresh });
  }
}

function say(last, done) {
  if (last?.state === "failed") return notices.showError({ message: last.error, status: 500 }, { again: look });
  if (!done) {
    byId("lead").textContent = last?.state === "running" ? "The first search runs." : "Nobody has looked for duplicates yet. Nothing is deleted by looking.";
    return null;
  }
  const unread = done.unread ? ` ${done.unread.toLocaleString()} could not be read again.` : "";
  const among = done.where ? ` among ${done.where}` : "";
  byId("lead").textContent = `${done.images.toLocaleString()} images${among} were looked through on ${when(done.updated_at)}.${unread}`;
  return null;
}

const when = (moment) => new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

function showProgress(last) {
  const running = last?.state === "running";
  byId("going").hidden = !running;
  byId("look").hidden = running;
  byId("look").textContent = last ? "Look again" : "Look for duplicates";
  if (!running) return;
  const bar = byId("progress");
  if (last.total) Object.assign(bar, { max: last.total, value: last.done });
  else bar.removeAttribute("value");
  byId("stage").textContent = last.total ? `${last.stage}: ${last.done.toLocaleString()} of ${last.total.toLocaleString()}` : last.stage;
  byId("cancel").onclick = () => act(() => api.stopDuplicates(last.id));
}

function show(done) {
  search = done ?? null;
  byId("kinds").hidden = !search;
  byId("groups").replaceChildren();
  byId("more").hidden = true;
  if (!search) return;
  const found = Object.keys(KINDS).filter((each) => each in search.groups);
  if (!found.includes(kind)) kind = found.find((each) => search.groups[each]) ?? found[0];
  byId("kinds").replaceChildren(...found.map((each) => {
    const count = element("span", { className: "count" }, search.groups[each].toLocaleString());
    const button = element("button", { type: "button", className: "plain", "aria-pressed": String(each === kind) }, KINDS[each][0], count);
    button.addEventListener("click", () => choose(each));
    return button;
  }));
  const [, about] = KINDS[kind];
  byId("about").textContent = search.groups[kind] ? about : `${about} None was found.`;
  offset = 0;
  if (search.groups[kind]) showPage();
}

function choose(wanted) {
  kind = wanted;
  history.replaceState(null, "", `?${new URLSearchParams({ kind })}`);
  show(search);
  byId("kinds").querySelector('[aria-pressed="true"]').focus();
}

async function showPage() {
  const asked = { id: search.id, kind };
  byId("more").hidden = true;
  try {
    const { groups, next } = await api.duplicateGroups(search.id, { kind, limit: PAGE, offset });
    if (asked.id !== search.id || asked.kind !== kind) return; // the reader went on
    byId("groups").append(...groups.map(card));
    offset = next ?? 0;
    byId("more").hidden = next === null;
  } catch (error) {
    notices.showError(error, { again: showPage });
  }
}

function card(group) {
  const left = new Map(group.images.map((image) => [image.id, image]));
  const members = element("div", { className: "members" }, ...group.images.map((image) => member(image, group, left)));
  const heading = element("h2", {}, `${group.size.toLocaleString()} images `, element("small", {}, reasonOf(group)));
  const head = element("div", { className: "head" }, heading);
  const made = element("li", { className: "group", "data-group": group.id }, head, members);
  if (OF_COPIES.includes(group.kind)) {
    const others = () => [...left.values()].filter(({ id }) => id !== group.best);
    const button = element("button", { type: "button", className: "plain writes" }, icon("remove"), "Remove the others");
    button.addEventListener("click", () => removal.remove(others()));
    head.append(button);
  }
  return made;
}

const reasonOf = ({ kind: of, reason }) => (OF_COPIES.includes(of) ? `keep the first: ${reason}` : `the first is the best: ${reason}`);

function member(image, group, left) {
  const best = image.id === group.best;
  const shown = element("img", { alt: nameOf(image), loading: "lazy", decoding: "async", src: api.here(image.thumbnail_url) });
  const frame = element("a", { className: "frame", href: api.here(image.image_url), target: "_blank", rel: "noopener" }, shown);
  shown.addEventListener("error", () => { frame.classList.add("none"); frame.replaceChildren("cannot be shown"); }, { once: true });
  if (best) frame.append(element("span", { className: "keep" }, OF_COPIES.includes(group.kind) ? "Keep" : "Best"));
  const caption = element("figcaption", {}, element("code", { dir: "ltr", title: readable(image.uri) }, nameOf(image)),
    element("p", {}, factsOf(image)), element("p", {}, evidenceOf(image)));
  const made = element("figure", { className: best ? "best" : "", "data-image": image.id }, frame, caption);
  if (!best) made.append(element("div", { className: "deeds writes" }, notSame(image, group, left, made), removeOne(image)));
  return made;
}

function notSame(image, group, left, made) {
  const button = element("button", { type: "button", className: "plain", "aria-label": `${nameOf(image)} is not the same` }, "Not the same");
  button.addEventListener("click", () => act(async () => {
    const others = [...left.keys()].filter((id) => id !== image.id);
    await api.notSame(image.id, others.slice(0, 100));
    left.delete(image.id);
    const card = made.closest(".group");
    made.remove();
    if (left.size < 2) card.remove();
  }));
  return button;
}

function removeOne(image) {
  const button = element("button", { type: "button", className: "plain", "aria-label": `Remove ${nameOf(image)}` }, "Remove");
  button.addEventListener("click", () => removal.remove([image]));
  return button;
}

/** Hide images, or show them again; a group of which one is left goes with them. */
function hide(ids, away) {
  for (const id of ids) {
    for (const figure of document.querySelectorAll(`[data-image="${CSS.escape(id)}"]`)) figure.classList.toggle("away", away);
  }
  for (const group of document.querySelectorAll(".group")) {
    group.hidden = group.querySelectorAll("figure:not(.away)").length < 2;
  }
}

async function look() {
  await act(() => api.lookForDuplicates());
  refresh();
}

async function act(deed) {
  try {
    await deed();
  } catch (error) {
    notices.showError(error, { again: refresh });
  }
}

const readable = (uri) => { try { return decodeURIComponent(uri.replace(/^file:\/\//, "")); } catch { return uri; } };
const nameOf = ({ uri, id }) => readable(uri).split(/[/#]/).filter(Boolean).slice(-2).join("/") || id;

function factsOf({ width, height, format, bytes }) {
  const size = width && height ? `${width} × ${height}` : null;
  return [size, format, bytes ? asBytes(bytes) : null].filter(Boolean).join(" · ");
}

function asBytes(count) {
  const [size, unit] = count < 1e6 ? [count / 1e3, "kB"] : [count / 1e6, "MB"];
  return `${size.toLocaleString(undefined, { maximumFractionDigits: size < 10 ? 1 : 0 })} ${unit}`;
}

/** Why it stands here, in a few words. */
function evidenceOf({ evidence }) {
  if (!evidence) return "";
  const said = [];
  const { pixels, seconds, cosine } = evidence;
  if (pixels?.same) {
    said.push(`${Math.round(pixels.agreement * 100)} % of the tiles agree`);
    if (pixels.turns) said.push(`turned by ${90 * pixels.turns}°`);
    if (pixels.overlap < 0.995) said.push(`shows ${Math.round(pixels.overlap * 100)} % of the area`);
    if (pixels.overlay) said.push(pixels.overlay === "first" ? "has a watermark" : "without the watermark");
  }
  if (seconds !== null) said.push(`${seconds.toLocaleString()} s apart`);
  if (cosine !== null) said.push(`cosine ${cosine.toFixed(3)}`);
  return said.join(", ");
}

byId("look").addEventListener("click", look);
byId("more").addEventListener("click", showPage);
removal.prepare({ hide, failed: (error) => notices.showError(error, { again: refresh }) });
refresh();
