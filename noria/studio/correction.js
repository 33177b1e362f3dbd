/* "What should it have said?": edits an answer or a tool call and sends it as a demonstration. */

import { get, post, user } from "./api.js";
import { composing, el, pretty, sayError } from "./dom.js";
import { FieldError, SchemaForm } from "./schema-form.js";

let toolsOnce = null;
let forms = 0;

/** The project's tools, asked for once. */
function tools() {
  toolsOnce ??= get("/v1/tools").then((list) => list.data.map((tool) => tool.function)).catch(() => { toolsOnce = null; return []; });
  return toolsOnce;
}

/**
 * A form that corrects one decision of a turn.
 * `said` is `{text}` or `{call: {name, arguments}}`; `step` the decision's index, or null for the answer; `done(message | null)` ends it.
 */
export class Correction extends HTMLElement {
  constructor({ receipt, step, said, role, done }) {
    super();
    Object.assign(this, { receipt, step, said, role, done });
  }

  async connectedCallback() {
    if (this.form) return;
    const name = `kind-${++forms}`;
    this.reply = el("textarea", { id: `${name}-reply`, rows: 4 }, this.said.text ?? "");
    this.tool = el("select", { id: `${name}-tool`, onchange: () => this.showTool() }, el("option", { value: "", t: "chooseTool" }));
    this.parameters = el("div");
    this.problem = el("p", { class: "problem", role: "alert" });
    this.replyPart = el("div", { class: "field" }, el("label", { for: this.reply.id, t: "reply" }), this.reply);
    this.callPart = el("div", {}, el("div", { class: "field" }, el("label", { for: this.tool.id, t: "tool" }), this.tool), this.parameters);
    this.kinds = ["reply", "call"].map((kind) => el("input", { type: "radio", name, value: kind, onchange: () => this.showKind() }));
    this.form = el("form", { class: "correction", novalidate: true, onsubmit: (event) => this.save(event), onkeydown: (event) => event.key === "Escape" && !composing(event) && this.done(null) },
      el("h3", { t: this.step === null ? "correctionTitle" : "correctStep" }),
      el("p", { class: "quiet", t: this.role === "operator" ? "correctionLead" : "correctionLead_user" }),
      el("div", { class: "choices", role: "radiogroup", tLabel: "correctionKind" },
        el("label", {}, this.kinds[0], el("span", { t: "asReply" })), el("label", {}, this.kinds[1], el("span", { t: "asCall" }))),
      this.replyPart, this.callPart, this.problem,
      el("div", { class: "row" }, el("button", { class: "primary", t: "save" }), el("button", { type: "button", class: "plain", t: "cancel", onclick: () => this.done(null) })));
    this.append(this.form);
    this.kinds[this.said.call ? 1 : 0].checked = true;
    this.showKind();
    this.known = await tools();
    this.tool.append(...this.known.map((tool) => el("option", { value: tool.name }, tool.name)));
    if (this.said.call) this.tool.value = this.said.call.name;
    this.showTool();
    this.scrollIntoView({ block: "nearest" });
  }

  showKind() {
    const call = this.kinds[1].checked;
    this.replyPart.hidden = call;
    this.callPart.hidden = !call;
    (call ? this.tool : this.reply).focus();
  }

  showTool() {
    const tool = this.known.find((one) => one.name === this.tool.value);
    this.fields = tool ? new SchemaForm(tool.parameters, this.said.call?.name === tool.name ? this.said.call.arguments : {}) : null;
    this.parameters.replaceChildren(...(tool ? [el("p", { class: "quiet" }, tool.description ?? ""), this.fields.node] : []));
  }

  async save(event) {
    event.preventDefault();
    try {
      const value = this.kinds[1].checked ? this.callMessage() : this.replyMessage();
      const body = { receipt: this.receipt, kind: "demonstration", value, source: user(), role: this.role };
      if (this.step !== null) body.step = this.step;
      await post("/v1/feedback", body);
      this.done(value);
    } catch (error) {
      sayError(this.problem, error);
    }
  }

  replyMessage() {
    const content = this.reply.value.trim();
    if (!content) throw new FieldError("emptyReply");
    if (content === (this.said.text ?? "").trim()) throw new FieldError("sameAnswer");
    return { role: "assistant", content };
  }

  callMessage() {
    if (!this.fields) throw new FieldError("chooseTool");
    const call = { name: this.tool.value, arguments: JSON.stringify(this.fields.read()) };
    const said = this.said.call;
    if (said && said.name === call.name && sorted(said.arguments) === sorted(JSON.parse(call.arguments))) throw new FieldError("sameAnswer");
    return { role: "assistant", content: null, tool_calls: [{ id: "call_0", type: "function", function: call }] };
  }
}

customElements.define("noria-correction", Correction);

/** The same text for the same arguments, whatever their order. */
function sorted(values) {
  return JSON.stringify(Object.entries(values ?? {}).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** What was stored, shown under the answer it corrects; what a user wrote is trained on only if the team accepts it. */
export function corrected(message, role) {
  const call = message.tool_calls?.[0]?.function;
  const said = call ? el("pre", {}, `${call.name}\n${pretty(JSON.parse(call.arguments))}`) : el("p", { class: "said" }, message.content);
  return el("div", { class: "corrected", role: "status" }, el("p", { class: "quiet", t: role === "operator" ? "correctionStored" : "correctionStored_user" }), said);
}
