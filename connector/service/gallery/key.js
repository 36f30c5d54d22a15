// The service's key, where it wants one: asked for once, and kept as long as this tab is open.

import { element } from "./elements.js";

const KEPT = "polyglance-key";
let held = read();
let asking = null;

function read() {
  try { return sessionStorage.getItem(KEPT) ?? ""; } catch { return ""; } // a browser may forbid storage
}

/** The headers that carry the key. */
export const headers = () => (held ? { Authorization: `Bearer ${held}` } : {});

/** A key other than the one that was refused; "" where the reader has none. Many may wait for one answer. */
export async function another(refused) {
  if (held && refused !== held) return held;
  asking ??= ask({ wrong: Boolean(refused) }).finally(() => { asking = null; });
  return asking;
}

export const current = () => held;

function keep(key) {
  held = key;
  try { sessionStorage.setItem(KEPT, key); } catch { /* then it holds for this page */ }
}

function ask({ wrong }) {
  const input = element("input", { id: "key", type: "password", autocomplete: "current-password", required: true, "aria-describedby": "key-help" });
  const form = element("form", { method: "dialog" },
    element("h2", { id: "key-title" }, "The service wants a key"),
    element("p", { id: "key-help", className: wrong ? "bad" : "" },
      wrong ? "That key is not one of the service's. Whoever runs it has set them in serve.api_keys." : "Whoever runs it can tell you one. It is kept until this tab is closed."),
    element("label", { htmlFor: "key" }, "Key"),
    input,
    element("button", { className: "go", type: "submit" }, "Go on"));
  const dialog = element("dialog", { className: "key", "aria-labelledby": "key-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "given" ? input.value.trim() : "";
      if (given) keep(given);
      dialog.remove();
      resolve(given);
    });
    form.addEventListener("submit", () => { dialog.returnValue = "given"; });
  });
}
