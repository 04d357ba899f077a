"use strict";
const began = performance.now();
const $ = (id) => document.getElementById(id);

// --- text: only ever set as text
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const clean = (t) => t.replace(/\n/g, "⏎").replace(/\t/g, "⇥")
  .replace(/[\u0000-\u001f\u007f-\u009f]/g, "�") || "∅";
const label = (t) => clean(t).replace(/ /g, "·");
