// The ingestions into this collection: how far, how fast, and what could not be taken. Asked again while one runs.

import * as api from "./api.js";
import { byId, element } from "./elements.js";
import * as notices from "./notices.js";

const AGAIN_MS = 2000;
const PAGE = 60;
const STATES = {
  running: "Running",
  done: "Done",
  stopped: "Stopped",
  failed: "Failed",
  broken: "No sign of life",
};
const STAGES = { list: "Listing", read: "Reading", decode: "Decoding", embed: "Embedding", upsert: "Writing" };
const opened = readOpened(); // "run reason" of the rejects that are shown

function readOpened() {
  const given = new URL(location.href).searchParams;
  return { run: given.get("run") ?? "", reason: given.get("reason") ?? "" };
}

async function refresh() {
  try {
    const { collection, ingestions } = await api.ingestions();
    notices.hide();
    show(collection, ingestions);
    if (ingestions.some(({ state }) => state === "running")) setTimeout(refresh, AGAIN_MS);
  } catch (error) {
    byId("lead").textContent = "";
    notices.showError(error, { again: refresh });
  }
}

function show(collection, runs) {
  byId("lead").textContent = runs.length ? leadOf(collection, runs) : "";
  if (!runs.length) return notices.showNoIngestion();
  const focused = document.activeElement?.dataset?.key; // the list is made anew: what had the focus keeps it
  const kept = new Map([...byId("runs").children].map((one) => [one.dataset.run, one.querySelector(".rejects")]));
  byId("runs").replaceChildren(...runs.map((run) => card(run, kept.get(run.id))));
  if (focused) byId("runs").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  return null;
}

function leadOf(collection, runs) {
  const running = runs.filter(({ state }) => state === "running").length;
  const last = runs.length === 1 ? "One source" : `${runs.length} sources`;
  return `${last} into ${collection}${running ? `; ${running} running now` : "; none is running"}.`;
}

function card(run, rejects) {
  const made = element("li", { className: `run ${run.state}`, "data-run": run.id },
    element("div", { className: "head" },
      element("h2", { dir: "ltr" }, readable(run.source)),
      element("span", { className: "state" }, STATES[run.state])),
    bar(run),
    element("p", { className: "pace" }, paceOf(run)),
    run.error ? element("p", { className: "problem" }, run.error) : null,
    counts(run),
    stages(run),
    reasons(run));
  if (rejects && opened.run === run.id) made.append(rejects);
  else if (opened.run === run.id) showRejects(made, run.id, opened.reason);
  return made;
}

const doneOf = ({ stored, unchanged, rejected }) => stored + unchanged + rejected;

function bar(run) {
  const label = `${doneOf(run).toLocaleString()} of ${run.listed.toLocaleString()}${run.listed_all ? "" : " so far"}`;
  const shown = element("progress", { max: Math.max(run.listed, 1), "aria-label": `Images done: ${label}` });
  shown.value = doneOf(run);
  return element("div", { className: "bar-line" }, shown, element("span", {}, label));
}

function paceOf({ state, rate, eta_s: eta, started_at: started, updated_at: updated }) {
  if (state === "running") {
    const left = eta === null ? "" : ` · about ${asSpan(eta)} to go`;
    return rate ? `${rate.toLocaleString(undefined, { maximumFractionDigits: 1 })} images a second${left}` : "Beginning";
  }
  const took = (new Date(updated) - new Date(started)) / 1000;
  return `${new Date(started).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}, took ${asSpan(took)}`;
}

function counts({ stored, unchanged, rejected }) {
  const rows = [["Stored", stored], ["Unchanged", unchanged], ["Rejected", rejected]];
  return element("dl", { className: "counts" }, ...rows.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value.toLocaleString()))));
}

function stages({ busy, bottleneck }) {
  const rows = Object.entries(busy);
  if (!rows.length) return null;
  return element("ul", { className: "stages", "aria-label": "How busy each stage was" }, ...rows.map(([name, share]) => {
    const meter = element("progress", { max: 1, "aria-label": `${STAGES[name] ?? name} busy` });
    meter.value = share;
    const slowest = name === bottleneck ? element("em", {}, "the others wait for it") : null;
    return element("li", {}, element("span", {}, STAGES[name] ?? name), meter, element("span", {}, `${Math.round(share * 100)} %`), slowest);
  }));
}

function reasons(run) {
  const rows = Object.entries(run.reasons);
  if (!rows.length) return null;
  return element("div", { className: "reasons", role: "group", "aria-label": "Rejected, by reason" }, ...rows.map(([reason, count]) => {
    const pressed = opened.run === run.id && opened.reason === reason;
    const button = element("button", { type: "button", className: "plain", "aria-pressed": String(pressed), "data-key": `${run.id} ${reason}` },
      reason.replaceAll("_", " "), element("span", { className: "count" }, count.toLocaleString()));
    button.addEventListener("click", () => choose(run.id, pressed ? "" : reason));
    return button;
  }));
}

/** Show the rejects of one reason, or none; the address says which, so it can be shared. */
function choose(run, reason) {
  Object.assign(opened, reason ? { run, reason } : { run: "", reason: "" });
  const said = reason ? `?${new URLSearchParams(opened)}` : location.pathname;
  history.replaceState(null, "", said);
  document.querySelectorAll(".rejects").forEach((one) => one.remove());
  refresh();
}

async function showRejects(made, run, reason, offset = 0) {
  const list = made.querySelector(".rejects") ?? element("ul", { className: "rejects", "aria-label": `Rejected: ${reason.replaceAll("_", " ")}` });
  made.append(list);
  try {
    const { rejects, reasons: counts } = await api.rejects({ run, reason, limit: PAGE, offset });
    list.append(...rejects.map(reject));
    if (offset + rejects.length < counts[reason]) list.append(further(made, run, reason, offset + PAGE));
  } catch (error) {
    list.append(element("li", { className: "problem" }, error.message));
  }
}

function further(made, run, reason, offset) {
  const button = element("button", { type: "button", className: "plain" }, "Show more");
  const line = element("li", { className: "further" }, button);
  button.addEventListener("click", () => { line.remove(); showRejects(made, run, reason, offset); });
  return line;
}

function reject({ uri, stage, detail, attempt, thumbnail_url: address }) {
  const image = element("img", { alt: "", loading: "lazy", decoding: "async", src: api.here(address) });
  const frame = element("div", { className: "reject-image" }, image);
  image.addEventListener("error", () => { frame.classList.add("none"); image.remove(); }, { once: true });
  const tried = attempt > 1 ? `, tried ${attempt} times` : "";
  return element("li", {}, frame, element("div", { className: "why" },
    element("code", { dir: "ltr" }, readable(uri)), element("p", { dir: "auto" }, `${detail} (${stage}${tried})`)));
}

function readable(uri) {
  try { return decodeURIComponent(uri.replace(/^file:\/\//, "")); } catch { return uri; }
}

function asSpan(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

refresh();
