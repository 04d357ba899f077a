// What stands below an answer: facts about it, and buttons to look inside, write it again, or keep the conversation.
// Chainlit runs this file in the page. It may draw it anew at any time, so what is open is kept beside the page's
// own state, under the id of the message.
import { useState } from "react";

const VIEWS = { tokens: "Probabilities", attention: "Attention", lens: "Logit lens" };
const kept = ((window.scratchbook ??= {})[props.id] ??= { view: null, found: {}, trouble: "" });

function ask(name, payload) {
  return callAction({ name, payload: { id: props.id, ...payload } }).then(
    (reply) => (reply && reply.response) || { error: "the server gave no answer: is it still running?" },
    () => ({ error: "the server cannot be reached: is it still running?" }),
  );
}

const percent = (p) => (p >= 0.9995 ? "100 %" : p >= 0.1 ? (100 * p).toFixed(0) + " %" : p >= 0.001 ? (100 * p).toPrecision(2) + " %" : "< 0.1 %");
// A token is the warmer the less the model expected it: 0 at certainty, full at 5 nats (0.7 %).
const warmth = (p) => Math.min(1, -Math.log(Math.max(p, 1e-9)) / 5);

function Bar({ text, p, chosen }) {
  return (
    <li className={chosen ? "sb-chosen" : ""}>
      <code>{text}</code>
      <span className="sb-bar"><i style={{ width: `${Math.max(0.5, 100 * p)}%` }} /></span>
      <b>{percent(p)}</b>
    </li>
  );
}

function Tokens({ rows }) {
  const [at, setAt] = useState(0);
  const row = rows[at];
  if (!row) return <p>There are no tokens to show.</p>;
  const others = row.others.filter(([text]) => text !== row.text);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = Math.min(rows.length - 1, Math.max(0, at + step));
    setAt(next);
    event.currentTarget.children[next].focus();
  };
  return (
    <div className="sb-tokens">
      <div className="sb-strip" role="group" aria-label="the tokens of the answer" onKeyDown={move}>
        {rows.map((each, index) => (
          <button
            key={index}
            type="button"
            tabIndex={index === at ? 0 : -1}
            aria-pressed={index === at}
            aria-label={`${each.text}, ${percent(each.p)}`}
            style={{ "--warmth": warmth(each.p) }}
            onClick={() => setAt(index)}
          >
            {each.text}
          </button>
        ))}
      </div>
      <ul aria-live="polite">
        <Bar text={row.text} p={row.p} chosen />
        {others.map(([text, p], index) => <Bar key={index} text={text} p={p} />)}
      </ul>
      <p className="sb-hint">
        Token {at + 1} of {rows.length}. Warm: the model did not expect it. Probabilities are the model's own, before
        temperature and cuts.
      </p>
    </div>
  );
}

function save(files) {
  for (const file of files) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([file.text], { type: file.kind }));
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

export default function Answer() {
  const [, redraw] = useState(0);
  const change = (more) => {
    Object.assign(kept, more);
    redraw((n) => n + 1);
  };
  const dark = document.documentElement.classList.contains("dark");
  const key = kept.view === "tokens" ? "tokens" : `${kept.view}-${dark}`;

  async function look(view) {
    if (kept.view === view) return change({ view: null, trouble: "" });
    change({ view, trouble: "" });
    const name = view === "tokens" ? "tokens" : `${view}-${dark}`;
    if (kept.found[name]) return;
    const reply = await ask("look", { view, dark });
    if (reply.error) change({ trouble: reply.error });
    else change({ found: { ...kept.found, [name]: reply } });
  }
  async function again() {
    const reply = await ask("again", {});
    if (reply.error) change({ trouble: reply.error });
  }
  async function keep() {
    const reply = await ask("export", {});
    if (reply.error) change({ trouble: reply.error });
    else save(reply.files);
  }
  const shown = kept.view && kept.found[key];
  return (
    <section className="sb-answer" aria-label="about this answer">
      <p className="sb-facts">
        {props.facts.map((fact) => <span key={fact.text} title={fact.means}>{fact.text}</span>)}
      </p>
      <div className="sb-buttons">
        {Object.entries(VIEWS).map(([view, label]) => (
          <button key={view} type="button" aria-expanded={kept.view === view} onClick={() => look(view)}>{label}</button>
        ))}
        <button type="button" onClick={again} title="another answer to the same message">Write again</button>
        <button type="button" onClick={keep} title="save the conversation as Markdown and JSON">Export</button>
      </div>
      {kept.trouble && <p className="sb-trouble" role="alert">{kept.trouble}</p>}
      {kept.view && !shown && !kept.trouble && <p className="sb-hint" role="status">Looking…</p>}
      {shown && shown.rows && <Tokens rows={shown.rows} />}
      {shown && shown.page && (
        <iframe className="sb-page" title={VIEWS[kept.view]} sandbox="allow-scripts" srcDoc={shown.page} />
      )}
    </section>
  );
}
