// Two answers to one message, drawn in two ways and written at the same time. The conversation goes on from the left
// one, unless the reader takes the other.
import { useState } from "react";

const kept = ((window.scratchbook ??= {})[`${props.id}-beside`] ??= { side: 0, trouble: "" });

export default function Beside() {
  const [, redraw] = useState(0);
  async function take(side) {
    let reply;
    try {
      reply = (await callAction({ name: "keep", payload: { id: props.id, side } })).response;
    } catch {
      reply = { error: "the server cannot be reached: is it still running?" };
    }
    Object.assign(kept, reply.error ? { trouble: reply.error } : { side: reply.kept, trouble: "" });
    redraw((n) => n + 1);
  }
  return (
    <div className="sb-beside">
      {props.sides.map((side, index) => (
        <article key={index} aria-label={side.title} className={props.done && kept.side === index ? "sb-taken" : ""}>
          <h4>{side.title}</h4>
          <p className="sb-text">{side.text || (props.done ? "(no word)" : "…")}</p>
          {props.done && (
            <footer>
              <span>{side.facts.map((fact) => fact.text).join(" · ")}</span>
              <button type="button" aria-pressed={kept.side === index} onClick={() => take(index)}>
                {kept.side === index ? "Goes on from here" : "Go on from here"}
              </button>
            </footer>
          )}
        </article>
      ))}
      {kept.trouble && <p className="sb-trouble" role="alert">{kept.trouble}</p>}
    </div>
  );
}
