/* The releases with their gate reports, which one is live, and, for operators, the buttons that change it. */

import { get, post } from "./api.js";
import { el, say, translate } from "./dom.js";
import { interval, scaleOf } from "./interval.js";
import { number, when } from "./strings.js";

/* Parts of a release, and notes, that have a name in both languages. */
const PARTS = new Set(["engine", "prompts", "tools", "knowledge", "origin", "changed", "minutes", "feedback_used"]);

export class Releases extends HTMLElement {
  connectedCallback() {
    if (this.list) return;
    this.list = el("div", { class: "list" });
    this.notice = el("p", { class: "notice", role: "status" });
    this.append(el("div", { class: "page" }, el("h1", { t: "releases" }), el("p", { class: "lead", t: "releasesLead" }), this.notice, this.list));
  }

  /** Ask the server and show what changed; what a reader unfolded stays unfolded. */
  async refresh() {
    const { data, may_change: mayChange } = await get("/v1/releases");
    const text = JSON.stringify([data, mayChange]);
    if (text === this.shown) return;
    this.shown = text;
    const open = new Set([...this.list.querySelectorAll("details[open]")].map((node) => node.dataset.key));
    this.list.replaceChildren(...data.map((release) => this.card(release, data, mayChange)));
    for (const node of this.list.querySelectorAll("details")) if (open.has(node.dataset.key)) node.open = true;
    if (!data.length) this.list.append(el("p", { class: "quiet", t: "noReleases" }));
  }

  /** Draw again in the current language. */
  relabel() {
    translate(this);
    this.shown = null;
    return this.refresh();
  }

  card(release, all, mayChange) {
    const parent = all.find((other) => other.id === release.parent_id);
    const origin = parent ? el("span", { t: ["from", { parent: parent.name }] }) : el("span", { t: "first" });
    const head = el("header", {}, el("h2", {}, release.name), el("span", { class: `badge ${release.state}`, t: `state_${release.state}` }),
      el("span", { class: "quiet" }, el("span", { t: ["created", { when: when(release.created_at) }] }), " · ", origin), this.buttons(release, mayChange));
    const reports = release.reports.map((report) => this.report(report));
    const none = el("p", { class: "quiet", t: parent ? "noReportYet" : "noReport" });
    const moved = release.moves.at(-1)?.reason;
    const why = moved && moved !== release.reports.at(-1)?.reasons.join(" ") ? el("p", { class: "quiet", t: ["movedBecause", { message: moved }] }) : null;
    return el("article", { class: `release ${release.state}`, "aria-label": release.name }, head, why, ...(reports.length ? reports : [none]),
      this.table(release, "parts", release.artifacts), Object.keys(release.notes).length ? this.table(release, "notes", release.notes) : null);
  }

  buttons(release, mayChange) {
    if (!mayChange) return null;
    const proven = release.reports.at(-1)?.decision === "promote";
    if (proven && (release.state === "candidate" || release.state === "canary")) return this.button(release, "promote", "confirmPromote");
    return release.state === "retired" ? this.button(release, "rollback", "confirmRollback") : null;
  }

  button(release, action, question) {
    return el("button", { class: action === "promote" ? "primary" : "plain", t: action, onclick: () => this.ask(release, action, question) });
  }

  ask(release, action, question) {
    const reason = el("input", { type: "text", id: "reason", maxlength: 1000 });
    const dialog = el("dialog", { class: "ask", "aria-labelledby": "ask-title", onclose: () => dialog.remove() },
      el("form", { method: "dialog", onsubmit: () => this.change(release, action, reason.value) },
        el("h2", { id: "ask-title", t: [question, { release: release.name }] }), el("p", { t: `${question}Text` }),
        el("div", { class: "field" }, el("label", { for: "reason", t: "reason" }), reason),
        el("div", { class: "row" }, el("button", { class: "primary", t: action }),
          el("button", { type: "button", class: "plain", t: "cancel", onclick: () => dialog.close() }))));
    this.append(dialog);
    dialog.showModal();
  }

  async change(release, action, reason) {
    try {
      await post(`/v1/releases/${encodeURIComponent(release.id)}/${action}`, { reason });
      say(this.notice, "becameLive", { release: release.name });
    } catch (error) {
      say(this.notice, "changeFailed", { message: error.message, code: error.code });
    }
    await this.refresh();
  }

  report(report) {
    const at = scaleOf(report.suites);
    const columns = ["suite", "role", "n", "before", "after", "effect", "interval", "test", "p", "decision"];
    const budget = { spent: number(report.alpha_spent, 4), left: number(report.alpha_left, 4) };
    return el("section", { class: `report ${report.decision}` },
      el("h3", {}, el("span", { t: "gateReport" }), " ", el("span", { class: "verdict", t: `decision_${report.decision}` })),
      report.reasons.length ? el("ul", { class: "reasons" }, ...report.reasons.map((reason) => el("li", { t: ["server", { message: reason }] }))) : null,
      el("div", { class: "wide-table", tabindex: 0, role: "region", tLabel: "gateReport" }, el("table", {},
        el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col", t: name })))),
        el("tbody", {}, ...report.suites.map((suite) => this.row(suite, at))))),
      el("p", { class: "quiet", t: ["alpha", budget] }));
  }

  row(suite, at) {
    const [low, high] = suite.interval;
    const cells = [number(suite.n, 0), number(suite.before, 3), number(suite.after, 3), number(suite.effect, 3, true)].map((text) => el("td", { class: "figure" }, text));
    return el("tr", { class: suite.passed ? "passed" : "not-passed" }, el("th", { scope: "row" }, suite.suite), el("td", { t: `role_${suite.role}` }),
      ...cells, el("td", {}, interval(suite, at), el("span", { class: "figure small" }, `${number(low, 3, true)} … ${number(high, 3, true)}`)),
      el("td", { t: ["server", { message: suite.test }] }), el("td", { class: "figure" }, suite.p < 0.0001 ? "< 0.0001" : number(suite.p, 4)),
      el("td", {}, el("span", { class: "verdict", t: suite.passed ? "passed" : "notPassed" }),
        suite.reason ? el("p", { class: "why", t: ["server", { message: suite.reason }] }) : null));
  }

  /** Of where the first release is from there is a name in both languages; all else is data. */
  value(name, value) {
    if (name === "origin" && value === "base model") return el("dd", { t: "first" });
    return el("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value));
  }

  table(release, key, values) {
    const rows = Object.entries(values).map(([name, value]) => [PARTS.has(name) ? el("dt", { t: `part_${name}` }) : el("dt", {}, name), this.value(name, value)]);
    return el("details", { class: "parts", "data-key": `${release.id}-${key}` }, el("summary", { t: key }), el("dl", {}, ...rows));
  }
}

customElements.define("noria-releases", Releases);
