// The colours: what the system prefers, until the reader chooses. Runs before the first paint, so nothing flashes.
(() => {
  const KEPT = "polyglance-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const kept = () => {
    try { return localStorage.getItem(KEPT); } catch { return null; } // a browser may forbid storage
  };
  const keep = (theme) => {
    try { localStorage.setItem(KEPT, theme); } catch { /* then it holds for this page */ }
  };
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

  if (["dark", "light"].includes(kept())) root.dataset.theme = kept();

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    show();
  });
})();
