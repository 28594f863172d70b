// The theme of Airflow around this frame: before anything is drawn, and again whenever somebody switches it.
(function () {
  "use strict";
  var own = document.documentElement;
  var outside = null;
  try {
    if (window.parent !== window) outside = window.parent.document.documentElement;
  } catch (e) { /* a frame of somebody else's page: as on its own */ }

  function dark() {
    if (outside && outside.classList.contains("dark")) return true;
    if (outside && outside.classList.contains("light")) return false;
    var chosen = null;
    try { chosen = JSON.parse(localStorage.getItem("theme")); } catch (e) { chosen = localStorage.getItem("theme"); }
    if (chosen === "dark" || chosen === "light") return chosen === "dark";
    return window.matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function follow() {
    var now = dark() ? "dark" : "light";
    if (own.classList.contains(now)) return;
    own.classList.remove("dark", "light");
    own.classList.add(now);
    document.dispatchEvent(new CustomEvent("theme", { detail: now }));
  }

  follow();
  if (outside) new MutationObserver(follow).observe(outside, { attributes: true, attributeFilter: ["class"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow);
})();
