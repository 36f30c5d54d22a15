// The timeline: a bar for each month in which there are images, as high as there are many. A bar is a filter.

import * as api from "./api.js";
import { byId, element } from "./elements.js";
import { range } from "./layout.js";
import { TIMES, both, inMonth, whereOf } from "./state.js";

const MOST = 60; // years that are looked at one by one, the latest
const FEW = 3; // years whose months are shown at once

let shown = null; // what the bars are for
let waiting = null;

/** Count anew where the filter is another; ``choose`` is told of the month that is clicked. */
export async function refresh(state, { choose }) {
  const where = whereOf(state, { without: "month" });
  const year = state.month.slice(0, 4);
  const wanted = JSON.stringify([where, state.by, year]);
  if (wanted === shown) return mark(state.month);
  shown = wanted;
  waiting?.abort();
  waiting = new AbortController();
  const { signal } = waiting;
  const bars = await barsFor({ where, by: state.by, year, signal }).catch(() => null);
  if (signal.aborted) return;
  if (!bars) shown = null; // asked again with the next change
  draw(bars ?? [], { year, choose });
  mark(state.month);
}

async function barsFor({ where, by, year, signal }) {
  const counted = (periods) => Promise.all(periods.map(async (period) => ({ period, count: await api.count(both(where, inMonth(by, period)), signal) })));
  if (year) return counted(monthsOf(year));
  const [first, last] = await Promise.all(["", "-"].map((sign) => edgeOf(where, `${sign}${TIMES[by]}`, { by, signal })));
  if (!first || !last) return [];
  const span = range(Math.max(first, last - MOST + 1), last + 1).map(String);
  const years = (await counted(span)).filter(({ count }) => count);
  return years.length > FEW ? years : counted(years.flatMap(({ period }) => monthsOf(period)));
}

const monthsOf = (year) => range(1, 13).map((month) => `${year}-${String(month).padStart(2, "0")}`);

async function edgeOf(where, order, { by, signal }) {
  const { images } = await api.images({ where, order_by: order, limit: 1, fields: TIMES[by] }, signal);
  const year = Number(images[0]?.payload[TIMES[by]]?.slice(0, 4));
  return Number.isInteger(year) && year > 0 ? year : null;
}

function draw(bars, { year, choose }) {
  const tallest = Math.max(1, ...bars.map(({ count }) => count));
  const first = bars.findIndex(({ count }) => count);
  const last = bars.findLastIndex(({ count }) => count);
  const worth = bars.slice(Math.max(0, first), last + 1);
  const back = year ? [barFor({ period: "", label: "All years" }, { choose })] : [];
  byId("timeline").replaceChildren(...back, ...worth.map((bar) => barFor({ ...bar, label: shortName(bar.period), share: bar.count / tallest }, { choose })));
  byId("timeline").closest("nav").hidden = !worth.length || (worth.length === 1 && !year);
}

function barFor({ period, label, count = null, share = 0 }, { choose }) {
  const number = count === null ? "" : `: ${count.toLocaleString()} ${count === 1 ? "image" : "images"}`;
  const name = `${period ? nameOf(period) : label}${number}`;
  const button = element("button", { type: "button", className: period ? "period" : "period all", title: name, "aria-label": name, "data-period": period, disabled: count === 0 },
    ...(period ? [element("span", { className: "column" })] : []), element("span", { className: "label" }, label));
  button.style.setProperty("--share", share.toFixed(3));
  button.addEventListener("click", () => choose(button.getAttribute("aria-pressed") === "true" ? upper(period) : period));
  return element("li", {}, button);
}

const upper = (period) => (period.length > 4 ? period.slice(0, 4) : "");

function mark(month) {
  for (const button of byId("timeline").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(Boolean(month) && button.dataset.period === month));
  }
}

const asDate = (period) => new Date(`${period.length > 4 ? period : `${period}-01`}-15T12:00:00Z`);

/** "May 2024" for "2024-05", and the year for a year. */
export const nameOf = (period) =>
  period.length > 4 ? asDate(period).toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" }) : period;

function shortName(period) {
  if (period.length === 4) return period;
  const month = asDate(period).toLocaleDateString("en", { month: "short", timeZone: "UTC" });
  return period.endsWith("-01") ? `${month} ${period.slice(2, 4)}` : month;
}
