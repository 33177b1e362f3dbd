/* The conversation: one column that only grows, a composer, and a stream that can be stopped. */

import { chat, get, user } from "./api.js";
import { Answer } from "./answer.js";
import { composing, el, icon, wheel } from "./dom.js";

const CONVERSATION = "noria.conversation";

export class Chat extends HTMLElement {
  connectedCallback() {
    if (this.log) return;
    this.log = el("div", { class: "log", role: "log", "aria-live": "polite", tLabel: "conversation" });
    this.scroller = el("div", { class: "scroller", onscroll: () => this.noticeScroll() }, this.log);
    this.input = el("textarea", { rows: 1, tLabel: "message", tPlaceholder: "messagePlaceholder", maxlength: 20000, oninput: () => this.grow(), onkeydown: (event) => this.key(event) });
    this.button = el("button", { class: "send", tLabel: "send" }, icon("send"));
    this.down = el("button", { class: "down", type: "button", hidden: true, tLabel: "toNewest", onclick: () => this.toEnd() }, icon("arrow"));
    this.form = el("form", { class: "composer", onsubmit: (event) => this.submit(event) },
      el("div", { class: "box" }, this.input, this.button), el("p", { class: "quiet keys", t: "keys" }));
    this.append(this.scroller, this.down, this.form);
    this.follow = true;
    /** Kept when the conversation is open; what was sent before waits for it. */
    this.opened = new Promise((resolve) => { this.ready = resolve; });
  }

  /** `project` is the answer of /v1/project. */
  async open(project) {
    this.project = project;
    const kept = sessionStorage.getItem(CONVERSATION);
    if (!kept || !(await this.restore(kept))) this.begin();
    this.input.focus({ preventScroll: true });
    this.ready();
  }

  /** Start a new conversation with whatever release is live then. */
  begin() {
    this.stop();
    sessionStorage.removeItem(CONVERSATION);
    this.conversation = null;
    this.release = null;
    this.notice = null;
    this.log.replaceChildren(this.welcome());
    this.input.focus();
  }

  /** Tell of a newer release once; the conversation keeps its own. */
  liveIs(release) {
    if (!this.release || !release || release === this.release || this.notice === release) return;
    this.notice = release;
    this.log.append(el("p", { class: "newer", role: "status" }, el("span", { t: ["newer", { release, mine: this.release }] }), " ",
      el("button", { class: "plain", t: "newConversation", onclick: () => this.begin() })));
    this.keepEnd();
  }

  welcome() {
    const card = (title, text) => el("li", {}, el("h3", { t: title }), el("p", { t: text }));
    return el("section", { class: "welcome" }, wheel(), el("h1", { t: "emptyTitle" }), el("p", { class: "lead", t: ["emptyLead", { name: this.project.name }] }),
      el("ol", {}, card("emptyTalk", "emptyTalkText"), card("emptyJudge", "emptyJudgeText"), card("emptyCorrect", this.project.operator ? "emptyCorrectText" : "emptyCorrectText_user")));
  }

  async restore(id) {
    let kept;
    try {
      kept = await get(`/v1/conversations/${encodeURIComponent(id)}`);
    } catch {
      return false;
    }
    this.conversation = kept.id;
    this.release = kept.release.name;
    for (const turn of kept.turns) {
      this.log.append(...turn.messages.filter((message) => message.role === "user").map((message) => this.userMessage(message.content)));
      const answer = new Answer({ operator: this.project.operator });
      this.log.append(answer);
      for (const step of turn.steps) answer.addStep(step);
      if (turn.answer?.content) answer.addText(turn.answer.content, () => this.keepEnd());
      if (turn.state === "done") {
        answer.finish(turn.receipt);
        answer.showJudged(turn.feedback.filter((piece) => piece.source === user()));
      } else answer.fail("stopped", {}, null);
    }
    this.toEnd();
    return true;
  }

  async submit(event) {
    event.preventDefault();
    await this.opened;
    if (this.controller) {
      this.stop();
      return;
    }
    const text = this.input.value.trim();
    if (!text) return;
    this.input.value = "";
    this.grow();
    this.send(text);
  }

  async send(text) {
    this.log.querySelector(".welcome")?.remove();
    const answer = new Answer({ operator: this.project.operator });
    this.log.append(this.userMessage(text), answer);
    this.toEnd();
    const controller = new AbortController();
    this.controller = controller;
    this.showStop(true);
    try {
      await this.read(answer, text, controller.signal);
    } catch (error) {
      if (error.name === "AbortError") answer.fail("stopped", {}, null);
      else answer.fail("failedAnswer", { message: error.message, code: error.code }, () => { answer.remove(); this.log.lastElementChild.remove(); this.send(text); });
    }
    if (this.controller === controller) {
      this.controller = null;
      this.showStop(false);
    }
    this.keepEnd();
  }

  async read(answer, text, signal) {
    const drawn = () => this.keepEnd();
    let receipt = null;
    for await (const chunk of chat({ model: this.project.name, text, conversation: this.conversation, user: user(), signal })) {
      if (chunk.conversation) this.startedIn(chunk.conversation);
      receipt ??= chunk.receipt ?? chunk.id;
      if (chunk.noria?.release) this.release = chunk.noria.release;
      if (chunk.noria?.step) {
        answer.addStep(chunk.noria.step);
        this.keepEnd();
      }
      const piece = chunk.choices?.[0]?.delta?.content;
      if (piece) answer.addText(piece, drawn);
    }
    answer.finish(receipt);
  }

  startedIn(conversation) {
    this.conversation = conversation;
    sessionStorage.setItem(CONVERSATION, conversation);
  }

  stop() {
    this.controller?.abort();
  }

  showStop(stopping) {
    this.button.replaceWith(this.button = el("button", { class: stopping ? "send stop" : "send", tLabel: stopping ? "stop" : "send" }, icon(stopping ? "stop" : "send")));
  }

  userMessage(text) {
    return el("div", { class: "user" }, el("span", { class: "unseen", t: "you" }), el("p", { class: "said" }, text));
  }

  key(event) {
    if (composing(event)) return;
    if (event.key === "Escape") this.stop();
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    if (!this.controller) this.form.requestSubmit();
  }

  grow() {
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, 220)}px`;
  }

  noticeScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.follow = scrollHeight - scrollTop - clientHeight < 60;
    this.down.hidden = this.follow;
  }

  /** Stay at the newest text, unless the reader scrolled up. */
  keepEnd() {
    if (this.follow) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  toEnd() {
    this.follow = true;
    this.keepEnd();
  }
}

customElements.define("noria-chat", Chat);
