/* Making and translating elements. Text only ever enters the page as text nodes and attributes, so nothing a model says can run. */

import { t } from "./strings.js";

const SVG = "http://www.w3.org/2000/svg";

/** `el("button", {class: "x", onclick: f, t: "send"}, "text", child)`; `t`, `tLabel` and `tPlaceholder` name translated strings. */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG elements. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "t" || name === "tLabel" || name === "tPlaceholder") setText(node, name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function setText(node, kind, value) {
  const [key, values] = Array.isArray(value) ? value : [value, {}];
  node.dataset[kind] = key;
  if (Object.keys(values).length) node.dataset.values = JSON.stringify(values);
  translateOne(node);
}

/** Change the translated text of an element made by `el`. */
export function say(node, key, values = {}) {
  delete node.dataset.values;
  setText(node, "t", [key, values]);
}

/** Tell of an error: a form's (`key`, `values`), the server's (`message`, `code`). */
export function sayError(node, error) {
  if (error.key) say(node, error.key, error.values);
  else say(node, "server", { message: error.message, code: error.code });
}

/** Change the translated label of an element made by `el`. */
export function sayLabel(node, key) {
  setText(node, "tLabel", key);
}

/** Whether a key belongs to an input method that is composing; Safari tells so of its last Enter by the code 229 only. */
export function composing(event) {
  return event.isComposing || event.keyCode === 229;
}

function translateOne(node) {
  const values = node.dataset.values ? JSON.parse(node.dataset.values) : {};
  if (node.dataset.t) node.textContent = t(node.dataset.t, values);
  if (node.dataset.tLabel) {
    node.setAttribute("aria-label", t(node.dataset.tLabel, values));
    if (node.tagName === "BUTTON") node.title = t(node.dataset.tLabel, values);
  }
  if (node.dataset.tPlaceholder) node.setAttribute("placeholder", t(node.dataset.tPlaceholder, values));
}

/** Put every translated text under `root` into the current language; what the model and people said stays as it is. */
export function translate(root) {
  for (const node of root.querySelectorAll("[data-t], [data-t-label], [data-t-placeholder]")) translateOne(node);
}

const ICONS = {
  send: "M4 12 20 4l-4.5 16-4-6.5L4 12Z",
  stop: "M7 7h10v10H7z",
  up: "M7 11v9H4v-9h3Zm0 0 4.5-8c1.4 0 2.3 1.1 2 2.4L12.8 9H18a2 2 0 0 1 2 2.4l-1.3 7A2 2 0 0 1 16.7 20H7",
  down: "M17 13V4h3v9h-3Zm0 0-4.5 8c-1.4 0-2.3-1.1-2-2.4l.7-3.6H6a2 2 0 0 1-2-2.4l1.3-7A2 2 0 0 1 7.3 4H17",
  edit: "M4 20h4L19 9a2.1 2.1 0 0 0-3-3L5 17l-1 3Zm10.5-12.5 3 3",
  plus: "M12 5v14M5 12h14",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  check: "m5 12.5 4.5 4.5L19 7",
  alert: "M12 8v5m0 3v.2M12 3 2.5 20h19L12 3Z",
  arrow: "M12 5v14m-6-6 6 6 6-6",
};

/** A line icon; decoration only, the button around it carries the label. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" }, svg("path", { d: ICONS[name] }));
}

/** The wheel, turning while something is being made. */
export function wheel() {
  const spokes = Array.from({ length: 8 }, (_, i) => svg("path", { d: "M16 14V3.6M12.9 3.6h6.2", transform: `rotate(${i * 45} 16 16)` }));
  return svg("svg", { viewBox: "0 0 32 32", class: "wheel", "aria-hidden": "true", focusable: "false" },
    svg("circle", { cx: 16, cy: 16, r: 8.4 }), svg("circle", { cx: 16, cy: 16, r: 1.6, class: "hub" }), ...spokes);
}

/** JSON as people read it. */
export function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
