// What is asked, as chips that can be taken away: images to be like or unlike, an image of one's own,
// a month, a place, and what was read in the text.

import * as api from "./api.js";
import { byId, element, icon, nameOf } from "./elements.js";
import { drawInto, fileOf } from "./image.js";
import { PAGE, withLiteral, withoutTerm } from "./state.js";
import { nameOf as monthName } from "./timeline.js";

const learning = new Set(); // ids that are asked for

/** Show them; ``known`` holds images by id, ``understood`` what was read in the text, ``go`` leads to another state. */
export function show(state, { known, understood = [], go }) {
  const chips = state.terms.map(({ sign, id }) => chip({
    sign,
    label: `${sign === "more" ? "More" : "Less"} like ${known.has(id) ? nameOf(known.get(id)) : "this"}`,
    image: element("img", { alt: "", ...(known.has(id) ? { src: api.here(known.get(id).thumbnail_url) } : {}) }),
    remove: () => go(withoutTerm(state, id)),
  }));
  if (state.image) chips.unshift(imageChip(state, go));
  for (const { kind, words, shown } of understood) {
    chips.push(chip({ sign: "plain", label: shown, image: icon(kind === "date" ? "date" : "map"), title: `Read in “${words}”`, remove: () => go(withLiteral(state, words)) }));
  }
  if (state.month) chips.push(chip({ sign: "plain", label: monthName(state.month), remove: () => go({ ...state, month: "", from: "", shown: PAGE }) }));
  if (state.box) chips.push(chip({ sign: "plain", label: "On the map", remove: () => go({ ...state, box: null, from: "", shown: PAGE }) }));
  for (const { id } of state.terms) learn(id, known).then((found) => { if (found) show(state, { known, understood, go }); });
  byId("terms").replaceChildren(...chips);
}

/** A link may name images that no answer has shown yet. */
async function learn(id, known) {
  if (known.has(id) || learning.has(id)) return null;
  learning.add(id);
  const found = await api.point(id).catch(() => null); // the question says what is wrong, in place
  if (found) known.set(id, found);
  return found;
}

function imageChip(state, go) {
  const canvas = element("canvas", { width: 64, height: 64 });
  const file = fileOf(state.image);
  if (file) drawInto(canvas, file);
  return chip({ sign: "more", label: "Like your image", image: canvas, remove: () => go({ ...state, image: "", shown: PAGE }) });
}

function chip({ sign, label, image = null, title = "", remove }) {
  const button = element("button", { type: "button", className: "icon", "aria-label": `Without: ${label}` }, icon("close"));
  button.addEventListener("click", remove);
  return element("li", { className: `chip ${sign}`, title }, image, element("span", { dir: "auto" }, label), button);
}
