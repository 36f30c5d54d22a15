// Live albums: the questions that stay asked, each a link to the images that fitted it, the newest first.

import * as api from "./api.js";
import { byId, element } from "./elements.js";

/** Show the albums, where there are any; ``where`` is the filter that is set. */
export async function show(where) {
  const list = byId("albums");
  try {
    const { alerts } = await api.alerts();
    list.replaceChildren(...alerts.map((alert) => albumOf(alert, where)));
    byId("albums-box").hidden = alerts.length === 0;
  } catch {
    byId("albums-box").hidden = true; // what else the page asks says why the service does not answer
  }
}

function albumOf({ question, matches, album, where: filter, language }, where) {
  const title = filter ? `${question} · ${filter}` : question;
  const link = element("a", { href: `?${new URLSearchParams({ where: album })}`, title, dir: "auto" }, question);
  if (language) link.lang = language;
  if (album === where) link.setAttribute("aria-current", "page");
  return element("li", {}, link, element("span", { className: "count" }, matches.toLocaleString()));
}
