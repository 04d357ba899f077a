/* What the pages do in the browser by themselves: colours, and the curves of a run from its event stream. */
"use strict";

const scratchbook = (() => {
  const KEY = "vite-ui-theme"; // the chat's own, so that both rooms are light or dark together
  const ORDER = ["system", "light", "dark"];
  const outside = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      const found = localStorage.getItem(KEY);
      return ORDER.includes(found) ? found : "system";
    } catch { return "system"; }
  }

  function isDark() { return chosen() === "dark" || (chosen() === "system" && outside.matches); }

  function paint() {
    const dark = isDark();
    document.documentElement.classList.toggle("dark", dark);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    window.Quasar?.Dark?.set(dark);
    for (const button of document.querySelectorAll("button.theme")) {
      button.textContent = { system: "◐", light: "○", dark: "●" }[chosen()];
      button.title = `colours: ${chosen()}`;
      button.setAttribute("aria-label", `Colours: ${chosen()}. Change`);
    }
    for (const element of document.querySelectorAll(".chart")) paintChart(chartOf(element));
  }

  function nextTheme() {
    const next = ORDER[(ORDER.indexOf(chosen()) + 1) % ORDER.length];
    try { localStorage.setItem(KEY, next); } catch { /* this window keeps its colours only */ }
    paint();
  }

  function colour(name) { return `hsl(${getComputedStyle(document.documentElement).getPropertyValue(name)})`; }

  function chartOf(element) { return window.getElement?.(Number(element.id.slice(1)))?.chart; }

  function paintChart(chart) {
    if (!chart) return;
    const quiet = colour("--muted-foreground"), line = colour("--border");
    const axis = { axisLabel: { color: quiet }, nameTextStyle: { color: quiet },
      axisLine: { lineStyle: { color: line } }, splitLine: { lineStyle: { color: line } } };
    chart.setOption({ textStyle: { color: quiet }, legend: { textStyle: { color: quiet } }, xAxis: axis, yAxis: axis,
      tooltip: { backgroundColor: colour("--popover"), borderColor: line, textStyle: { color: colour("--foreground") } } });
  }

  /* Curves and log of a run. Each stream goes on by itself after a lost connection, from the last event it had. */
  function followRun(address, charts, logId) {
    let points = new Map(), changed = true;
    const metrics = new EventSource(`${address}/metrics/stream`);
    metrics.onmessage = (event) => {
      const row = JSON.parse(event.data);
      if (typeof row.step !== "number") return;
      for (const { field } of charts) {
        if (typeof row[field] !== "number") continue;
        const key = JSON.stringify([field, row.split ?? "train"]);
        if (!points.has(key)) points.set(key, []);
        points.get(key).push([row.step, row[field]]);
      }
      changed = true;
    };
    metrics.addEventListener("replaced", () => { points = new Map(); changed = true; });
    const draw = () => {
      if (!changed) return;
      changed = false;
      for (const { id, field } of charts) {
        const chart = window.getElement(id)?.chart;
        if (!chart) { changed = true; continue; } // not there yet: the next look
        const series = [...points].filter(([key]) => JSON.parse(key)[0] === field).map(([key, data]) => ({
          type: "line", name: JSON.parse(key)[1], data, showSymbol: data.length < 30, symbolSize: 5, sampling: "lttb",
          lineStyle: { width: 2 },
        }));
        chart.setOption({ series }, { replaceMerge: ["series"] });
        chart.getDom().dataset.points = series.reduce((sum, one) => sum + one.data.length, 0);
        chart.getDom().closest(".card").classList.toggle("empty", series.length === 0);
        paintChart(chart);
      }
    };
    const drawing = setInterval(draw, 250);
    const log = new EventSource(`${address}/log/stream?tail=200`);
    log.onmessage = (event) => {
      const place = document.getElementById(`c${logId}`);
      const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
      place.append(JSON.parse(event.data).line + "\n");
      while (place.childNodes.length > 400) place.firstChild.remove();
      if (atEnd) place.scrollTop = place.scrollHeight;
    };
    for (const stream of [metrics, log]) {
      for (const last of ["end", "gone"]) stream.addEventListener(last, () => stream.close());
    }
    metrics.addEventListener("end", () => setTimeout(() => clearInterval(drawing), 2000));
    addEventListener("pagehide", () => { metrics.close(); log.close(); });
  }

  paint();
  outside.addEventListener("change", paint);
  addEventListener("storage", (event) => { if (event.key === KEY) paint(); });
  addEventListener("load", () => {
    paint();
    // Charts come a moment after the page: each is painted once it is there.
    const seen = new WeakSet();
    setInterval(() => {
      for (const element of document.querySelectorAll(".chart")) {
        const chart = chartOf(element);
        if (chart && !seen.has(chart)) { seen.add(chart); paintChart(chart); }
      }
      const button = document.querySelector("button.theme");
      if (button && !button.textContent) paint();
    }, 200);
  });

  return { nextTheme, followRun };
})();
window.scratchbook = scratchbook;
