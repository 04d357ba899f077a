(async () => {
  const data = JSON.parse($("data").textContent);
  const { layers: L, heads: H, tokens, windows, numbers, sinks, kv } = data;
  const T = tokens.length, triangle = (T * (T + 1)) / 2;

  // --- the numbers: one byte a share, row after row of the lower triangle, unpacked once
  let shares;
  try {
    const packed = Uint8Array.from(atob(data.maps), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    shares = new Uint8Array(await new Response(stream).arrayBuffer());
    if (shares.length !== L * H * triangle) throw new Error("the maps are incomplete");
  } catch (error) {
    $("trouble").hidden = false;
    $("trouble").textContent = `The maps cannot be unpacked in this browser: ${error.message}. ` +
      "It must know DecompressionStream (all since 2023).";
    return;
  }
  const byte = (l, h, q, k) => (k > q ? 0 : shares[(l * H + h) * triangle + (q * (q + 1)) / 2 + k]);
  const inWindow = (l, q, k) => windows[l] === null || q - k < windows[l] || k < sinks;
  const group = (h) => Math.floor(h / (H / kv));
  const percent = (b) => (b && b < 1.275 ? "<1 %" : `${Math.round((b / 255) * 100)} %`);

  const quoted = (i) => `“${label(tokens[i])}”`;

  // --- colours, from the style sheet, so that light and dark are said once
  let ramp, colour;
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const readColours = () => {
    const style = getComputedStyle(document.documentElement);
    colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const stops = [0, 1, 2, 3].map((i) => rgb(colour(`ramp-${i}`)));
    ramp = Array.from({ length: 256 }, (_, b) => {
      const at = Math.sqrt(b / 255) * 3, i = Math.min(2, Math.floor(at));
      return stops[i].map((c, j) => Math.round(c + (stops[i + 1][j] - c) * (at - i)));
    });
  };
  const show = { future: true, window: true, groups: true };

  const picture = (l, h, canvas = document.createElement("canvas")) => {
    canvas.width = canvas.height = T;
    const image = new ImageData(T, T), future = rgb(colour("future")), out = rgb(colour("hidden"));
    for (let q = 0; q < T; q++) for (let k = 0; k < T; k++) {
      let c;
      if (k > q) c = show.future ? future : ramp[0];
      else c = show.window && !inWindow(l, q, k) ? out : ramp[byte(l, h, q, k)];
      image.data.set([c[0], c[1], c[2], 255], 4 * (q * T + k));
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  };

  // --- all heads
  const grid = $("grid"), cards = [];
  const headName = (l, h) => `Layer ${numbers[l]} · head ${h}`;
  const about = (l, h) => data.summaries[l * H + h];
  const buildGrid = () => {
    grid.style.setProperty("--heads", H);
    grid.style.gridTemplateColumns = `auto repeat(${H}, minmax(58px, 168px))`;
    if (kv && kv < H) {
      grid.append(make("span", "over group-row"));
      for (let g = 0; g < kv; g++) {
        const bar = make("span", "over group group-row", `key head ${g}`);
        bar.style.gridColumn = `span ${H / kv}`;
        bar.style.borderColor = `var(--g${g % 4})`;
        grid.append(bar);
      }
    }
    grid.append(make("span", "over"));
    for (let h = 0; h < H; h++) grid.append(make("span", "over", `head ${h}`));
    for (let l = 0; l < L; l++) {
      const wide = windows[l] === null ? "" : `, window ${windows[l]}`;
      grid.append(make("span", "layer", `layer ${numbers[l]}`));
      for (let h = 0; h < H; h++) {
        const card = make("button", "head"), { pattern, entropy } = about(l, h);
        card.type = "button";
        card.tabIndex = cards.length ? -1 : 0;
        card.setAttribute("aria-label",
          `layer ${numbers[l]}, head ${h}${wide}: ${pattern}, entropy ${entropy.toFixed(2)} nats. Open`);
        card.setAttribute("aria-pressed", "false");
        card.title = `${headName(l, h)}: ${pattern}`;
        card.append(document.createElement("canvas"), make("span", "", pattern));
        card.addEventListener("click", () => open(l, h));
        cards.push(card);
        grid.append(card);
      }
    }
  };
  const drawGrid = () => cards.forEach((card, i) => picture(Math.floor(i / H), i % H, card.firstChild));
  const focusCard = (i) => {
    cards.forEach((card, j) => { card.tabIndex = i === j ? 0 : -1; });
    cards[i].focus();
  };
  grid.addEventListener("keydown", (event) => {
    const i = cards.indexOf(document.activeElement);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -H, ArrowDown: H }[event.key];
    if (i < 0 || (!step && event.key !== "Home" && event.key !== "End")) return;
    event.preventDefault();
    const to = event.key === "Home" ? 0 : event.key === "End" ? cards.length - 1 : i + step;
    const sameRow = Math.abs(step) !== 1 || Math.floor(to / H) === Math.floor(i / H);
    if (to >= 0 && to < cards.length && sameRow) focusCard(to);
  });

  // --- one head
  const now = { l: 0, h: 0, token: T - 1, hover: null, cell: null };
  const boxes = [];
  const buildStrip = () => tokens.forEach((t, i) => {
    const box = make("button", "token", clean(t));
    box.type = "button";
    box.addEventListener("click", () => { now.token = i; now.hover = null; refresh(); box.focus(); });
    box.addEventListener("focus", () => { now.token = i; now.hover = null; refresh(); });
    box.addEventListener("mouseenter", () => { now.hover = i; refresh(); });
    box.addEventListener("mouseleave", () => { now.hover = null; refresh(); });
    boxes.push(box);
    $("strip").append(box);
    if (t.includes("\n")) $("strip").append(document.createElement("br"));
  });
  const mix = (name, b) => b
    ? `color-mix(in srgb, var(--${name}) ${(Math.sqrt(b / 255) * 100).toFixed(1)}%, var(--panel))` : "transparent";
  const list = (id, pairs) => {
    const best = pairs.filter(([, b]) => b > 0).sort((x, y) => y[1] - x[1] || x[0] - y[0]).slice(0, 5);
    $(id).replaceChildren(...best.map(([i, b]) => {
      const row = make("li"), what = make("span");
      what.append(make("bdi", "", label(tokens[i])), " ", make("small", "", String(i)));
      row.append(what, make("b", "", percent(b)));
      row.dataset.token = i;
      row.style.setProperty("--w", `${(b / 255) * 100}%`);
      return row;
    }));
    if (!best.length) $(id).append(make("li", "", "nobody"));
    return best;
  };
  const refresh = () => {
    const { l, h } = now, i = now.hover ?? now.token;
    const places = [...Array(T).keys()];
    boxes.forEach((box, j) => {
      const b = j <= i ? byte(l, h, i, j) : byte(l, h, j, i);
      box.style.backgroundColor = mix(j <= i ? "to" : "by", b);
      box.setAttribute("aria-current", String(j === i));
      box.tabIndex = j === now.token ? 0 : -1;
      box.setAttribute("aria-label", `token ${j} ${quoted(j)}`);
      box.title = j <= i ? `${quoted(i)} looks at ${quoted(j)}: ${percent(b)}`
        : `${quoted(j)} looks at ${quoted(i)}: ${percent(b)}`;
    });
    const to = list("to", places.slice(0, i + 1).map((k) => [k, byte(l, h, i, k)]));
    const by = list("by", places.slice(i + 1).map((q) => [q, byte(l, h, q, i)]));
    const read = (pairs) => pairs.slice(0, 3).map(([j, b]) => `${quoted(j)} ${percent(b)}`).join(", ") || "nobody";
    if (now.hover === null) $("spoken").textContent =
      `token ${i} ${quoted(i)} looks at ${read(to)}; is looked at by ${read(by)}`;
    drawMap();
  };
  const open = (l, h, focus = true) => {
    Object.assign(now, { l, h, hover: null, cell: null });
    const s = about(l, h);
    document.body.classList.add("zoomed");
    $("zoom").hidden = false;
    $("name").textContent = headName(l, h);
    $("pattern").textContent = s.pattern;
    const facts = [`entropy ${s.entropy.toFixed(2)} nats, like ${Math.exp(s.entropy).toFixed(1)} tokens evenly`,
      `${s.distance.toFixed(1)} tokens back on average`, `previous token ${Math.round(s.previous * 100)} %`,
      `first token ${Math.round(s.first * 100)} %`];
    if (windows[l] !== null) facts.push(`window ${windows[l]}${sinks ? ` and ${sinks} first` : ""}`);
    if (kv && kv < H) {
      const mates = [...Array(H).keys()].filter((j) => j !== h && group(j) === group(h));
      facts.push(`reads key head ${group(h)}` +
        (mates.length === 1 ? `, as does head ${mates[0]}` : `, as do heads ${mates.join(", ")}`));
    }
    $("numbers").textContent = facts.join(" · ");
    cards.forEach((card, i) => {
      card.setAttribute("aria-pressed", String(i === l * H + h));
      card.tabIndex = i === l * H + h ? 0 : -1;
    });
    refresh();
    if (focus) boxes[now.token].focus({ preventScroll: true });
  };
  const close = () => {
    if (!document.body.classList.contains("zoomed")) return;
    document.body.classList.remove("zoomed");
    $("zoom").hidden = true;
    cards.forEach((card) => card.setAttribute("aria-pressed", "false"));
    focusCard(now.l * H + now.h);
  };
  const turn = (by) => {
    const i = (now.l * H + now.h + by + L * H) % (L * H);
    open(Math.floor(i / H), i % H, false);
  };
  $("back").addEventListener("click", close);
  $("before").addEventListener("click", () => turn(-1));
  $("after").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (!document.body.classList.contains("zoomed")) return;
    if (event.key === "PageUp" || event.key === "PageDown") {
      event.preventDefault();
      turn(event.key === "PageUp" ? -1 : 1);
    }
  });
  $("strip").addEventListener("keydown", (event) => {
    const go = { ArrowLeft: now.token - 1, ArrowRight: now.token + 1, Home: 0, End: T - 1 }[event.key];
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      event.preventDefault();
      const l = now.l + (event.key === "ArrowUp" ? -1 : 1);
      if (l >= 0 && l < L) open(l, now.h, false);
    } else if (go !== undefined) {
      event.preventDefault();
      if (go >= 0 && go < T) boxes[go].focus();
    }
  });

  // --- the large map: names along both sides, the token's row and column, the limits of what may be seen
  const map = $("map");
  let side = 0, edge = 0;
  const drawMap = () => {
    if ($("zoom").hidden) return;
    const { l, h } = now, i = now.hover ?? now.token, size = map.clientWidth, dense = window.devicePixelRatio || 1;
    map.width = map.height = Math.round(size * dense);
    const pen = map.getContext("2d");
    pen.scale(dense, dense);
    edge = Math.min(86, size * 0.2);
    side = (size - edge - 1) / T;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture(l, h), edge, edge, side * T, side * T);
    const row = now.cell ? now.cell[0] : i, column = now.cell ? now.cell[1] : i;
    if (show.window && windows[l] !== null && windows[l] < T) {
      pen.strokeStyle = colour("cross");
      pen.lineWidth = 1.5;
      pen.setLineDash([5, 3]);
      pen.beginPath();
      for (let q = windows[l]; q < T; q++) {
        const x = edge + (q - windows[l] + 1) * side;
        pen.lineTo(x, edge + q * side);
        pen.lineTo(x, edge + (q + 1) * side);
      }
      pen.stroke();
      pen.setLineDash([]);
    }
    pen.strokeStyle = colour("cross");
    pen.lineWidth = 1.5;
    pen.strokeRect(edge, edge + row * side, (row + 1) * side, side);
    pen.strokeRect(edge + column * side, edge + column * side, side, (T - column) * side);
    pen.strokeStyle = colour("line");
    pen.lineWidth = 1;
    pen.strokeRect(edge, edge, side * T, side * T);
    const text = Math.max(9, Math.min(13, side * 0.92));
    const every = Math.ceil(text / side);
    const name = (j, at, turned) => {
      pen.save();
      pen.translate(turned ? edge + (j + 0.5) * side : edge - 5, turned ? edge - 5 : edge + (j + 0.5) * side);
      if (turned) pen.rotate(-Math.PI / 2);
      pen.font = `${j === at ? "700 " : ""}${j === at ? Math.max(text, 11) : text}px ui-monospace, Menlo, monospace`;
      pen.fillStyle = colour(j === at ? "ink" : "quiet");
      pen.textAlign = turned ? "left" : "right";
      pen.textBaseline = "middle";
      const word = label(tokens[j]);
      pen.fillText(word.length > 11 ? word.slice(0, 10) + "…" : word, 0, 0, edge - 6);
      pen.restore();
    };
    for (const [at, turned] of [[row, false], [column, true]]) {
      for (let j = 0; j < T; j++) {
        if (j === at || (j % every === 0 && Math.abs(j - at) * side >= text)) name(j, at, turned);
      }
    }
    $("cell").textContent = now.cell ? describe(row, column)
      : "Each row is a token that looks, each column what it looks at: point at a cell, or click a row.";
    map.setAttribute("aria-label",
      `map of ${headName(l, h)}, ${T} by ${T} tokens; the same numbers stand in the lists`);
  };
  const describe = (q, k) => {
    const words = `token ${q} ${quoted(q)} → token ${k} ${quoted(k)}`;
    if (k > q) return `${words}: in the future, hidden by the causal mask`;
    if (!inWindow(now.l, q, k)) return `${words}: ${q - k} tokens back, outside the window of ${windows[now.l]}`;
    return `${words}: ${percent(byte(now.l, now.h, q, k))}`;
  };
  const cellAt = (event) => {
    const box = map.getBoundingClientRect();
    const q = Math.floor((event.clientY - box.top - edge) / side);
    const k = Math.floor((event.clientX - box.left - edge) / side);
    return q >= 0 && q < T && k >= 0 && k < T ? [q, k] : null;
  };
  map.addEventListener("mousemove", (event) => { now.cell = cellAt(event); drawMap(); });
  map.addEventListener("mouseleave", () => { now.cell = null; drawMap(); });
  map.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell) { now.token = cell[0]; refresh(); }
  });

  // --- overlays
  const overlay = (key, text, swatch) => {
    const row = make("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = show[key];
    box.id = `show-${key}`;
    box.addEventListener("change", () => { show[key] = box.checked; redraw(); });
    row.append(box);
    if (swatch) row.append(make("i", "swatch"));
    if (swatch) row.lastChild.style.background = `var(--${swatch})`;
    row.append(document.createTextNode(text));
    $("overlays").append(row);
  };
  const redraw = () => {
    readColours();
    document.querySelectorAll(".group-row").forEach((node) => { node.hidden = !show.groups; });
    const scale = $("legend").querySelector("canvas"), pen = scale.getContext("2d");
    for (let x = 0; x < 120; x++) {
      pen.fillStyle = `rgb(${ramp[Math.round((x / 119) * 255)]})`;
      pen.fillRect(x, 0, 1, 10);
    }
    drawGrid();
    drawMap();
  };
  overlay("future", "the future (causal mask)", "future");
  if (windows.some((w) => w !== null)) overlay("window", "outside the window", "hidden");
  if (kv && kv < H) overlay("groups", "shared key heads", "g0");
  const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  $("about").textContent = `${plural(L, "layer")} × ${plural(H, "head")} · ${plural(T, "token")}` +
    (kv && kv < H ? ` · ${plural(kv, "key head")}` : "");
  $("view").hidden = false;
  buildGrid();
  buildStrip();
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(drawMap).observe($("figure"));
  document.documentElement.dataset.drawMs = (performance.now() - began).toFixed(1);
})();
