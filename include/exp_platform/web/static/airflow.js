// Links to Airflow's own pages: in the window around this frame, as a frame would show Airflow within Airflow.
(function () {
  "use strict";
  function go(path) {
    var outside = window.parent;
    if (outside === window) { window.location.href = path; return; }
    outside.history.pushState({}, "", path);  // Airflow's router listens to popstate: no reload
    outside.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
  }

  document.addEventListener("click", function (event) {
    var link = event.target.closest && event.target.closest("a.airflow");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
})();
