// One experiment: the day that is shown, charts that answer, and a run that is started with the reader's own rights.
(function () {
  "use strict";
  var own = document.currentScript;
  var body = document.body;

  var day = document.getElementById("as_of");
  if (day) day.addEventListener("change", function () { if (day.value) day.form.submit(); });

  // ---- charts: drawn as they come near, in the theme of the page, without any evaluated code
  var library = null;
  function vega() {
    library = library || import(own.dataset.vega).then(function () { return window.vegaEmbed; });
    return library;
  }

  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  function draw(figure) {
    var place = figure.querySelector(".drawn");
    if (!place) {
      place = document.createElement("div");
      place.className = "drawn";
      figure.appendChild(place);
    }
    var chart = JSON.parse(figure.querySelector("script").textContent);
    chart.width = Math.min(chart.width + 120, figure.clientWidth);  // with its axis and legend
    chart.autosize = { type: "fit-x", contains: "padding" };
    var muted = colour("--muted"), line = colour("--line"), fg = colour("--fg");
    vega().then(function (embed) {
      return embed(place, chart, {
        ast: true, actions: false, renderer: "svg", logLevel: 1, defaultStyle: false, tooltip: { disableDefaultStyle: true },
        config: {
          background: null, font: "Inter, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif",
          view: { stroke: null },
          axis: { labelColor: muted, titleColor: muted, gridColor: line, domainColor: line, tickColor: line },
          legend: { labelColor: fg, titleColor: muted },
          title: { color: fg }
        }
      });
    });
  }

  var charts = Array.from(document.querySelectorAll("figure.chart"));
  var near = new IntersectionObserver(function (seen) {
    seen.forEach(function (one) {
      if (one.isIntersecting) { near.unobserve(one.target); draw(one.target); }
    });
  }, { rootMargin: "400px" });
  charts.forEach(function (figure) { near.observe(figure); });
  window.addEventListener("beforeprint", function () {
    charts.filter(function (figure) { return !figure.querySelector(".drawn"); }).forEach(draw);
  });
  document.addEventListener("theme", function () {
    charts.filter(function (figure) { return figure.querySelector(".drawn"); }).forEach(draw);
  });

  // ---- a metric, or a part, that an address names is opened
  function open() {
    var wanted = window.location.hash && document.getElementById(decodeURIComponent(window.location.hash.slice(1)));
    for (var at = wanted; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (wanted) wanted.scrollIntoView();
  }
  window.addEventListener("hashchange", open);
  open();

  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  });

  // ---- a run, by Airflow's own API: it decides whether this person may
  var form = document.getElementById("run");
  if (!form) return;
  form.addEventListener("submit", function (event) {
    event.preventDefault();
    var said = document.getElementById("run-said"), button = form.querySelector("button");
    var conf = {};
    if (form.elements.as_of.value) conf.as_of = form.elements.as_of.value;
    ["force", "full"].forEach(function (name) { if (form.elements[name].checked) conf[name] = true; });
    button.disabled = true;
    said.textContent = "Asking Airflow…";
    fetch(body.dataset.airflow + "/api/v2/dags/" + encodeURIComponent(form.dataset.dag) + "/dagRuns", {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ logical_date: null, conf: conf })
    }).then(function (answer) {
      return answer.json().catch(function () { return {}; }).then(function (told) {
        button.disabled = false;
        said.textContent = "";
        if (answer.ok) {
          var link = document.createElement("a");
          link.className = "airflow";
          link.href = body.dataset.airflow + "/dags/" + encodeURIComponent(form.dataset.dag) + "/runs/" + encodeURIComponent(told.dag_run_id);
          link.textContent = "Started. See the run.";
          said.appendChild(link);
        } else if (answer.status === 401 || answer.status === 403) {
          said.textContent = "You may not start runs of this DAG.";
        } else {
          said.textContent = "Airflow did not start it: " + (typeof told.detail === "string" ? told.detail : "answer " + answer.status) + ".";
        }
      });
    }).catch(function () {
      button.disabled = false;
      said.textContent = "Airflow did not answer. Try again.";
    });
  });
})();
