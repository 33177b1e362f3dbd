/* One answer: its text as it comes, the steps and sources behind it, and what people say of it. Everything is appended, nothing drawn anew. */

import { post, user } from "./api.js";
import { Correction, corrected } from "./correction.js";
import { el, icon, pretty, say, sayError, sayLabel, wheel } from "./dom.js";

export class Answer extends HTMLElement {
  /** `operator`: whether corrections count as a colleague's. */
  constructor({ operator = false } = {}) {
    super();
    this.role_ = operator ? "operator" : "user";
    this.waiting = "";
    this.steps = new Map();
    this.cut = false;
    this.textNode = document.createTextNode("");
    this.said = el("div", { class: "said" }, this.textNode);
    this.trail = el("div", { class: "trail" });
    this.state = el("p", { class: "state" }, wheel(), el("span", { t: "thinking" }));
    this.after = el("div", { class: "after" });
  }

  connectedCallback() {
    if (this.childElementCount) return;
    this.classList.add("answer");
    this.setAttribute("aria-busy", "true");
    this.append(this.trail, this.said, this.state, this.after);
  }

  /** Add a piece of text; drawn at most once a frame. */
  addText(text, drawn = () => {}) {
    if (!this.waiting) {
      requestAnimationFrame(() => {
        this.textNode.appendData(this.waiting);
        this.waiting = "";
        drawn();
      });
    }
    this.waiting += text;
    this.state.hidden = true;
  }

  /** Add or update a step: `{index, kind, state, finish_reason, name, arguments, result, query, sources, decision}`; the last one tells whether the answer was cut. */
  addStep(step) {
    this.cut = step.kind === "model" && step.finish_reason === "length";
    if (step.kind === "model") return;
    let row = this.steps.get(step.index);
    if (!row) {
      row = new StepRow(this);
      this.steps.set(step.index, row);
      this.trail.append(row.node);
    }
    row.update(step);
  }

  /** The answer is complete: offer to judge and correct it. */
  finish(receipt) {
    this.receipt = receipt;
    this.endWaiting();
    if (this.cut) this.after.append(el("p", { class: "quiet", t: "cut" }));
    this.thumbs = [true, false].map((good) =>
      el("button", { class: "tool", "aria-pressed": "false", tLabel: good ? "good" : "bad", onclick: () => this.judge(good) }, icon(good ? "up" : "down")));
    const copy = el("button", { class: "tool", tLabel: "copy", onclick: () => this.copy(copy) }, icon("copy"));
    const correct = el("button", { class: "tool wide", onclick: () => this.correct(null, { text: this.text }, correct) }, icon("edit"), el("span", { t: "correct" }));
    this.notice = el("span", { class: "notice", role: "status" });
    this.actions = el("div", { class: "actions" }, ...this.thumbs, copy, correct, this.notice);
    this.after.append(this.actions);
  }

  /** The answer was stopped or failed: `key` and `values` say why; `again` tries once more. */
  fail(key, values, again) {
    this.endWaiting();
    this.after.append(el("p", { class: "problem", role: "alert" }, el("span", { t: [key, values] })));
    if (again) this.after.append(el("button", { class: "plain", t: "retry", onclick: again }));
  }

  get text() {
    return this.textNode.data + this.waiting;
  }

  endWaiting() {
    this.state.remove();
    this.setAttribute("aria-busy", "false");
    for (const row of this.steps.values()) row.end();
  }

  /** Show again what was said of the answer before the page was loaded: the last thumb, and every correction. */
  showJudged(feedback) {
    const thumb = feedback.findLast((piece) => piece.kind === "thumb");
    if (thumb) this.press(thumb.value);
    this.after.append(...feedback.filter((piece) => piece.kind === "demonstration").map((piece) => corrected(piece.value, piece.role)));
  }

  press(good) {
    this.thumbs.forEach((button, i) => button.setAttribute("aria-pressed", String(good === (i === 0))));
  }

  async judge(good) {
    try {
      await post("/v1/feedback", { receipt: this.receipt, kind: "thumb", value: good, source: user() });
    } catch (error) {
      sayError(this.notice, error);
      return;
    }
    this.press(good);
    say(this.notice, "noted");
    this.comment?.remove();
    this.comment = null;
    if (!good) this.askComment();
  }

  askComment() {
    const input = el("input", { type: "text", tLabel: "comment", tPlaceholder: "comment", maxlength: 2000 });
    this.comment = el("form", { class: "row comment", onsubmit: async (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      try {
        await post("/v1/feedback", { receipt: this.receipt, kind: "comment", value: input.value.trim(), source: user() });
        this.comment.remove();
        say(this.notice, "commentStored");
        this.thumbs[1].focus();
      } catch (error) {
        sayError(this.notice, error);
      }
    } }, input, el("button", { class: "plain", t: "commentSend" }));
    this.actions.after(this.comment);
  }

  /** Open the correction of decision `step` (null: the answer itself); focus comes back to `opener`. */
  correct(step, said, opener) {
    this.form?.remove();
    const form = new Correction({ receipt: this.receipt, step, said, role: this.role_, done: (message) => {
      form.remove();
      if (message) this.after.append(corrected(message, this.role_));
      opener.focus();
    } });
    this.form = form;
    this.after.append(form);
    form.scrollIntoView({ block: "nearest" });
  }

  async copy(button) {
    let copied = true;
    try {
      await navigator.clipboard.writeText(this.text);
    } catch {
      copied = copySelected(this.text);
    }
    say(this.notice, copied ? "copied" : "notCopied");
    button.focus();
  }
}

/** What the guard says of a call that was not made, as it is shown. */
const NOT_MADE = { retry: "refused", deny: "refused", ask: "asked" };

/** One tool call or search, folded to a line. */
class StepRow {
  constructor(answer) {
    this.answer = answer;
    this.name = el("span", { class: "name" });
    this.brief = el("span", { class: "brief" });
    this.mark = el("span", { class: "mark" });
    this.body = el("div", { class: "body" });
    this.node = el("details", { class: "step" }, el("summary", {}, this.mark, this.name, this.brief), this.body);
  }

  update(step) {
    this.step = { ...this.step, ...step };
    const seen = NOT_MADE[this.step.verdict] ?? (this.step.state === "started" ? "running" : this.step.state);
    this.node.dataset.state = seen;
    this.mark.replaceChildren(seen === "running" ? wheel() : icon(seen === "done" ? "check" : "alert"));
    this.mark.setAttribute("role", "img");
    sayLabel(this.mark, seen);
    if (this.step.kind === "retrieval") this.showSearch();
    else this.showCall();
  }

  end() {
    if (this.step.state === "started") this.update({ state: "failed" });
    this.correctButton?.removeAttribute("disabled");
  }

  showCall() {
    const { name, arguments: given, result, decision } = this.step;
    if (name) this.name.textContent = name;
    else say(this.name, "guardStep");
    this.brief.textContent = Object.values(given ?? {}).map((value) => (typeof value === "object" ? JSON.stringify(value) : String(value))).join(" · ");
    const rows = Object.entries(given ?? {}).map(([key, value]) => [el("dt", {}, key), el("dd", {}, pretty(value))]);
    this.body.replaceChildren(...(rows.length ? [el("h4", { t: "arguments" }), el("dl", {}, ...rows)] : []));
    if (result !== undefined) this.body.append(el("h4", { t: "result" }), el("pre", {}, pretty(parsed(result))));
    this.offerCorrection(decision, { call: { name, arguments: given } });
  }

  offerCorrection(decision, said) {
    if (decision === undefined || decision === null) return;
    this.correctButton = el("button", { class: "tool wide", disabled: this.answer.receipt === undefined, onclick: () => this.answer.correct(decision, said, this.correctButton) },
      icon("edit"), el("span", { t: "correctStep" }));
    this.body.append(this.correctButton);
  }

  showSearch() {
    const { query, sources = [], decision } = this.step;
    say(this.name, "search");
    this.brief.textContent = [query, ...new Set(sources.map((source) => source.title))].filter(Boolean).join(" · ");
    const list = sources.map((source) => el("details", { class: "source" }, el("summary", {}, source.title), el("p", { class: "quiet" }, source.document), el("p", { class: "said" }, source.text)));
    this.body.replaceChildren(...(list.length || this.step.state === "started" ? list : [el("p", { class: "quiet", t: "noSources" })]));
    this.offerCorrection(decision, { call: { name: "search_knowledge", arguments: { query } } });
  }
}

/** Copy without the clipboard's interface, which browsers offer over HTTPS and on this machine only. */
function copySelected(text) {
  const area = el("textarea", { class: "unseen", readonly: true }, text);
  document.body.append(area);
  area.focus({ preventScroll: true });
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/** Results are text; JSON among them is shown as such. */
function parsed(result) {
  if (typeof result !== "string") return result;
  try {
    return JSON.parse(result);
  } catch {
    return result;
  }
}

customElements.define("noria-answer", Answer);
