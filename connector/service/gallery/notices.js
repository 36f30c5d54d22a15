// What is said in place of images: why there are none, and what to do about it.

import { byId, element } from "./elements.js";

export const hide = () => { byId("notice").hidden = true; };

/** Said of a collection, or a part of it, without images. */
export function showNone({ filtered, clear, mayWrite }) {
  if (filtered) return showNothing({ filtered, clear });
  say({
    title: "There is no image yet",
    text: mayWrite ? "Drop images here to add them." : "Images that are ingested into this collection are shown here.",
    advice: element("span", {}, "Or fill it with ", command("polyglance ingest ~/Pictures")),
    kind: "empty",
  });
}

export function showNothing({ filtered, clear }) {
  if (!filtered) {
    return say({ title: "Nothing fits", text: "No image of the collection answers this. Other words may find more.", kind: "empty" });
  }
  return say({
    title: "No image passes the filters",
    text: "Every image of the collection is left out by what is ticked or written under Filters.",
    kind: "empty",
    buttons: [["Clear all filters", clear]],
  });
}

/** Said where no image is of the date or place that was read in the text. */
export function showUnmatched(understood, { literal }) {
  const all = understood.map(({ shown }) => shown).join(", ");
  say({
    title: "No image is from there or then",
    text: `Read in the text: ${all}. Take it back to search by the words as they stand.`,
    kind: "empty",
    buttons: understood.map(({ words }) => [`Take back “${words}”`, () => literal(words)]),
  });
}

/** Said above images that are near and yet may not fit. */
export function showUnsure({ filtered, clear }) {
  say({
    title: "Nothing seems to fit",
    text: filtered
      ? "No image that passes the filters is likely to show or say this. The nearest ones are below."
      : "No image is likely to show or say this; the nearest ones are below. Say what can be seen or read in it, in other words or another language, or go by an image that comes close.",
    kind: "unsure",
    buttons: filtered ? [["Clear all filters", clear]] : [],
  });
}

export function showUnreadFilter() {
  say({ title: "The filter cannot be read", text: "What is wrong with it is said beside it, with a mark at the place.", kind: "empty" });
}

export function showNoIngestion() {
  say({
    title: "Nothing was ingested yet",
    text: "What runs, ran and was rejected is shown here, from the run files on this machine.",
    advice: element("span", {}, "Begin with ", command("polyglance ingest ~/Pictures")),
    kind: "empty",
  });
}

export function showLostImage() {
  say({
    title: "The image is not in this link",
    text: "Your browser cannot read its format, so it could not travel in the address. Drop the image here again.",
    kind: "empty",
  });
}

export function showError(error, { again }) {
  const [title, advice] = adviceFor(error);
  const small = error.requestId ? `Request ${error.requestId}` : "";
  say({ title, text: error.message, advice, small, kind: "error", buttons: [["Try again", again]] });
}

function adviceFor({ status, code, retryAfter }) {
  if (status === 404 && code !== "not_found") return ["There is no collection yet", element("span", {}, "Fill one with ", command("polyglance ingest ~/Pictures"))];
  if (status === 429) return ["Very busy", `Many people ask at once. Try again in ${Math.max(1, Math.ceil(retryAfter))} s.`];
  if (status === 401 || status === 403) return ["The service wants a key", null];
  if (status === 413) return ["The image is too large", null];
  if (status === 422) return ["That cannot be asked", null];
  if (status === 0) return ["No answer", element("span", {}, "Start it again with ", command("polyglance serve"))];
  return ["The search did not work", "What was asked is kept; it may work in a moment."];
}

const command = (text) => element("code", {}, text);

function say({ title, text, advice = null, small = "", kind, buttons = [] }) {
  const notice = byId("notice");
  notice.className = `notice ${kind}`;
  notice.replaceChildren(
    element("h2", {}, title),
    element("p", { dir: "auto" }, text),
    ...(advice ? [element("p", {}, advice)] : []),
    ...buttons.map(([label, act]) => button(label, act)),
    ...(small ? [element("p", { className: "small" }, small)] : []),
  );
  notice.hidden = false;
}

function button(label, act) {
  const made = element("button", { type: "button", className: "plain" }, label);
  made.addEventListener("click", act);
  return made;
}
