// The list as one types: the server finds and sorts, so that an address says all and works without this file too.
(function () {
  "use strict";
  var form = document.getElementById("filters");
  var search = form.elements.q;
  var waiting = null, asked = 0;

  function address() {
    var parameters = new URLSearchParams();
    new FormData(form).forEach(function (value, name) { if (value) parameters.set(name, value); });
    var text = parameters.toString();
    return form.getAttribute("action") + (text ? "?" + text : "");
  }

  function show() {
    var mine = ++asked, to = address();
    fetch(to, { credentials: "same-origin" }).then(function (answer) {
      if (!answer.ok) { window.location.href = to; return null; }
      return answer.text();
    }).then(function (text) {
      if (text === null || mine !== asked) return;
      var page = new DOMParser().parseFromString(text, "text/html");
      ["found", "how-many"].forEach(function (id) {
        document.getElementById(id).replaceWith(document.importNode(page.getElementById(id), true));
      });
      form.querySelector(".actions").replaceWith(document.importNode(page.querySelector("#filters .actions"), true));
      window.history.replaceState({}, "", to);
    });
  }

  form.addEventListener("input", function () { clearTimeout(waiting); waiting = setTimeout(show, 150); });
  form.addEventListener("submit", function (event) { event.preventDefault(); clearTimeout(waiting); show(); });

  function rows() { return Array.from(document.querySelectorAll("a.row")); }

  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    var typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); search.select(); return; }
    var step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || (typing && event.target !== search)) return;
    var all = rows(), at = all.indexOf(document.activeElement);
    if (at < 0 && event.target !== search && document.activeElement !== document.body) return;
    event.preventDefault();
    if (at === 0 && step < 0) { search.focus(); return; }
    var next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step];
    if (next) next.focus();
  });
})();
