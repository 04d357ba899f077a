(() => {
  const { tokens, words, layers, top, rows, vocab } = JSON.parse($("data").textContent);
  // Place i (from 1) is the i-th token as it was guessed from those before; the last place is what nobody has seen.
  const T = tokens.length, R = layers.length, width = 3 + 2 * top;
  const at = (r, i) => {
    const first = (i - 1) * width, c = rows[r];
    const guesses = Array.from({ length: top }, (_, j) => [words[c[first + 3 + 2 * j]], c[first + 4 + 2 * j] / 1000]);
    return { surprise: c[first] / 100, rank: c[first + 1], entropy: c[first + 2] / 100, guesses };
  };
  const came = (i) => (i < T ? tokens[i] : "?");
  const quoted = (text) => `“${text}”`;
  const percent = (p) => (p < 0.005 ? "<1 %" : `${Math.round(100 * p)} %`);
  const share = (surprise) => Math.exp(-surprise);
  const mix = (name, part) => `color-mix(in srgb, var(--${name}) ${(100 * Math.min(1, part)).toFixed(1)}%, var(--panel))`;
  const warm = (nats) => Math.min(1, nats / 7);
  const now = { r: R - 1, i: Math.min(1, T) };

  // --- the text
  const boxes = tokens.map((text, i) => {
    const box = make("button", "token", text);
    box.type = "button";
    if (i === 0) box.disabled = true;
    else box.style.backgroundColor = mix("by", warm(at(R - 1, i).surprise));
    return box;
  });
  boxes.push(make("button", "token", "?"));
  boxes[T].type = "button";
  boxes.forEach((box, i) => {
    box.title = i === 0 ? "the first token: nothing comes before it"
      : i === T ? "what would come next"
      : `${quoted(tokens[i])}: ${at(R - 1, i).surprise.toFixed(2)} nats, ${percent(share(at(R - 1, i).surprise))}`;
    box.setAttribute("aria-label", i && i < T ? `token ${i} ${box.title}` : box.title);
    box.addEventListener("click", () => { select(R - 1, i); box.focus(); });
    box.addEventListener("focus", () => { select(R - 1, i); bring(i); });
    $("strip").append(box);
    if (i < T && tokens[i].includes("⏎")) $("strip").append(document.createElement("br"));
  });
  $("strip").addEventListener("keydown", (event) => {
    const go = { ArrowLeft: now.i - 1, ArrowRight: now.i + 1, Home: 1, End: T }[event.key];
    if (go === undefined) return;
    event.preventDefault();
    if (go >= 1 && go <= T) boxes[go].focus();
  });

  // --- the table
  const modes = {
    guess: ["how sure the guess is", (c) => ["to", c.guesses[0][1]]],
    came: ["how likely what came was", (c, i) => (i === T ? ["to", 0] : ["to", share(c.surprise)])],
    entropy: ["how undecided: entropy", (c) => ["by", c.entropy / Math.log(vocab)]],
  };
  let mode = "guess";
  const cells = [], heads = [];
  const build = () => {
    const head = make("thead"), line = make("tr"), corner = make("th", "", "layer");
    corner.scope = "col";
    line.append(corner);
    for (let i = 1; i <= T; i++) {
      const name = make("th", "", came(i));
      name.scope = "col";
      heads.push(name);
      line.append(name);
    }
    head.append(line);
    const body = make("tbody");
    layers.forEach((layer, r) => {
      const row = make("tr"), name = make("th", "", layer);
      name.scope = "row";
      row.append(name);
      for (let i = 1; i <= T; i++) {
        const box = make("td"), [guess, p] = at(r, i).guesses[0], cell = make("button", "cell", guess);
        cell.type = "button";
        if (guess === came(i) && i < T && at(r, i).rank === 1) cell.classList.add("right");
        cell.setAttribute("aria-label", `${layer}, for ${quoted(came(i))}: ${quoted(guess)} ${percent(p)}`);
        cell.title = `${quoted(guess)} ${percent(p)}`;
        cell.addEventListener("click", () => { select(r, i); cell.focus(); });
        cell.addEventListener("focus", () => { select(r, i); bring(i); });
        cells.push(cell);
        box.append(cell);
        row.append(box);
      }
      body.append(row);
    });
    $("table").append(head, body);
  };
  const paint = () => cells.forEach((cell, j) => {
    const r = Math.floor(j / T), i = (j % T) + 1;
    cell.style.backgroundColor = mix(...modes[mode][1](at(r, i), i));
  });
  $("table").addEventListener("keydown", (event) => {
    const j = cells.indexOf(document.activeElement);
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
      Home: [0, 1 - now.i], End: [0, T - now.i] }[event.key];
    if (j < 0 || !step) return;
    event.preventDefault();
    const r = now.r + step[0], i = now.i + step[1];
    if (r >= 0 && r < R && i >= 1 && i <= T) cells[r * T + i - 1].focus();
  });
  for (const [key, [text]] of Object.entries(modes)) {
    const name = make("label"), box = make("input");
    Object.assign(box, { type: "radio", name: "mode", id: `mode-${key}`, checked: key === mode });
    box.addEventListener("change", () => { mode = key; paint(); });
    name.append(box, document.createTextNode(text));
    $("modes").append(name);
  }

  // --- one place
  const bars = (id, entries) => $(id).replaceChildren(...entries.map(([text, note, p, mark]) => {
    const row = make("li"), what = make("span");
    what.append(make(mark ? "strong" : "bdi", "", text), " ", make("small", "", note));
    row.append(what, make("b", "", percent(p)));
    row.style.setProperty("--w", `${100 * p}%`);
    return row;
  }));
  const bring = (i) => {
    const name = heads[i - 1], side = $("scroll"), label = $("table").querySelector("tbody th").offsetWidth;
    const left = name.offsetLeft - label - 12, right = name.offsetLeft + name.offsetWidth + 12;
    if (left < side.scrollLeft) side.scrollLeft = left;
    else if (right > side.scrollLeft + side.clientWidth) side.scrollLeft = right - side.clientWidth;
  };
  const select = (r, i) => {
    if (i < 1) return;
    Object.assign(now, { r, i });
    const here = at(r, i), known = i < T, where = layers[r];
    $("name").textContent = `${known ? quoted(tokens[i]) : "What comes next"}, ${where}`;
    const facts = known
      ? [`surprise ${here.surprise.toFixed(2)} nats (${percent(share(here.surprise))})`, `rank ${here.rank} of ${vocab}`] : [];
    facts.push(`entropy ${here.entropy.toFixed(2)} nats, like ${Math.exp(here.entropy).toFixed(1)} tokens evenly`);
    $("numbers").textContent = facts.join(" · ");
    bars("to", here.guesses.map(([text, p]) => [text, "", p, known && text === tokens[i]]));
    $("by-name").textContent = known ? `${quoted(tokens[i])} by layer` : "the guess by layer";
    bars("by", layers.map((layer, j) => {
      const c = at(j, i);
      return known ? [layer, `rank ${c.rank}`, share(c.surprise), j === r]
        : [layer, c.guesses[0][0], c.guesses[0][1], j === r];
    }));
    boxes.forEach((box, j) => {
      box.setAttribute("aria-current", String(j === i));
      box.tabIndex = j === i ? 0 : -1;
    });
    heads.forEach((name, j) => name.setAttribute("aria-current", String(j + 1 === i)));
    cells.forEach((cell, j) => {
      const mine = j === r * T + i - 1;
      cell.setAttribute("aria-current", String(mine));
      cell.tabIndex = mine ? 0 : -1;
    });
    $("spoken").textContent = `${$("name").textContent}: ${$("numbers").textContent}`;
  };
  build();
  paint();
  const scored = Array.from({ length: T - 1 }, (_, i) => at(R - 1, i + 1).surprise);
  const mean = scored.reduce((sum, nats) => sum + nats, 0) / Math.max(scored.length, 1);
  $("about").textContent = `${T} tokens, ${R - 1} layers` +
    (scored.length ? ` · ${mean.toFixed(2)} nats of surprise a token, as choosing among ${Math.exp(mean).toFixed(1)}` : "");
  $("view").hidden = false;
  // The first that surprised most is where a reader would look.
  select(R - 1, scored.length ? 1 + scored.indexOf(Math.max(...scored)) : T);
  document.documentElement.dataset.drawMs = (performance.now() - began).toFixed(1);
})();
