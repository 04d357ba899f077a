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
    for (const frame of document.querySelectorAll("iframe.viewer")) dress(frame);
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

  /* One event stream, from the last event on after any break. A tab that nobody sees lets go of its connection:
     a browser has six of them for one server. */
  function follow(address, query, record, again) {
    let source = null, last = null, over = false;
    const close = () => { source?.close(); source = null; };
    const open = () => {
      if (over || source || document.hidden) return;
      source = new EventSource(`${address}?${last === null ? query : `after=${last}`}`);
      source.onmessage = (event) => { last = event.lastEventId; record(JSON.parse(event.data)); };
      source.addEventListener("skipped", (event) => { last = event.lastEventId; });
      source.addEventListener("replaced", () => { last = "0"; again(); });
      for (const end of ["end", "gone"]) source.addEventListener(end, () => { over = true; close(); });
      source.onerror = () => { if (source?.readyState === EventSource.CLOSED) { close(); setTimeout(open, 5000); } };
    };
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    addEventListener("pagehide", close);
    addEventListener("pageshow", open);
    open();
  }

  /* Curves and log of a run. */
  function followRun(address, charts, logId) {
    let points = new Map(), changed = true;
    follow(`${address}/metrics/stream`, "after=0", (row) => {
      if (typeof row.step !== "number") return;
      for (const { field } of charts) {
        if (typeof row[field] !== "number") continue;
        const key = JSON.stringify([field, row.split ?? "train"]);
        if (!points.has(key)) points.set(key, []);
        points.get(key).push([row.step, row[field]]);
      }
      changed = true;
    }, () => { points = new Map(); changed = true; });
    const log = document.getElementById(`c${logId}`);
    follow(`${address}/log/stream`, "tail=200", ({ line }) => {
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
      log.append(line + "\n");
      while (log.childNodes.length > 400) log.firstChild.remove();
      if (atEnd) log.scrollTop = log.scrollHeight;
    }, () => log.replaceChildren());
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
    setInterval(draw, 250);
  }

  /* The viewers follow the system's colours. Where somebody has chosen others here, their page is told so. */
  async function dress(frame) {
    const mode = chosen(), dark = "@media (prefers-color-scheme: dark)";
    if (mode === (frame.dataset.mode ?? "system")) return;
    frame.dataset.mode = mode;
    const page = await (await fetch(frame.dataset.page)).text();
    frame.srcdoc = page.replaceAll(dark, { system: dark, light: "@media not all", dark: "@media all" }[mode]);
  }

  /* A viewer of this server in a frame: as high as what it shows, within reason. */
  function fit(frame) {
    const page = frame.contentDocument?.documentElement;
    if (!page) return;
    dress(frame);
    const set = () => { frame.style.height = `${Math.min(1800, Math.max(320, page.querySelector("body").scrollHeight + 24))}px`; };
    set();
    new ResizeObserver(set).observe(page.querySelector("body"));
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

  return { nextTheme, followRun, fit };
})();
window.scratchbook = scratchbook;
