/* The shell: which section is shown, the language, the live release, and the watch for changes. */

import { get, hasKey, setKey } from "./api.js";
import "./chat.js";
import "./releases.js";
import { el, icon, say, translate, wheel } from "./dom.js";
import { currentLanguage, setLanguage, suggestLanguage } from "./strings.js";

const POLL_MILLISECONDS = 2000;

class Studio extends HTMLElement {
  async connectedCallback() {
    const tab = (name) => el("button", { role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, t: name, onclick: () => this.show(name), onkeydown: (event) => this.arrow(event) });
    this.tabs = { chat: tab("chat"), releases: tab("releases") };
    this.name = el("span", { class: "project" }, "Noria");
    this.live = el("span", { class: "live", hidden: true });
    this.language = el("button", { class: "plain language", t: "otherLanguage", onclick: () => this.switchLanguage() });
    this.fresh = el("button", { class: "tool fresh", tLabel: "newConversation", onclick: () => { this.show("chat"); this.chat.begin(); } }, icon("plus"), el("span", { t: "newConversation" }));
    this.offline = el("p", { class: "offline", role: "status", hidden: true, t: "offline" });
    this.chat = document.createElement("noria-chat");
    this.releases = document.createElement("noria-releases");
    this.panels = { chat: this.panel("chat", this.chat), releases: this.panel("releases", this.releases) };
    this.append(
      el("header", { class: "top" }, el("div", { class: "brand" }, wheel(), this.name, this.live),
        el("div", { class: "tabs", role: "tablist", tLabel: "sections" }, this.tabs.chat, this.tabs.releases), el("div", { class: "right" }, this.fresh, this.language)),
      this.offline, el("main", { id: "main" }, this.panels.chat, this.panels.releases));
    this.inLanguage();
    this.show(location.hash === "#releases" ? "releases" : "chat");
    window.addEventListener("hashchange", () => this.show(location.hash === "#releases" ? "releases" : "chat"));
    await this.start();
  }

  panel(name, content) {
    return el("section", { id: `panel-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}` }, content);
  }

  async start() {
    let project;
    try {
      project = await get("/v1/project");
    } catch (error) {
      if (error.status === 401) this.askKey();
      else {
        this.offline.hidden = false;
        setTimeout(() => this.start(), POLL_MILLISECONDS);
      }
      return;
    }
    if (suggestLanguage(project.language)) this.relabel();
    this.name.textContent = project.name;
    document.title = `${project.name} · Noria`;
    await this.chat.open(project);
    this.update(project);
    this.watch();
  }

  /** Look for changes while the page is seen; nothing needs a reload. */
  async watch() {
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    if (!document.hidden) {
      try {
        this.update(await get("/v1/project"));
        if (this.shown === "releases") await this.releases.refresh();
        this.offline.hidden = true;
      } catch {
        this.offline.hidden = false;
      }
    }
    this.watch();
  }

  update(project) {
    this.live.hidden = !project.live;
    this.live.textContent = project.live ?? "";
    this.chat.liveIs(project.live);
  }

  show(name) {
    this.shown = name;
    for (const [key, tab] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", String(key === name));
      tab.tabIndex = key === name ? 0 : -1;
      this.panels[key].hidden = key !== name;
    }
    if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
    if (name === "releases") this.releases.refresh().catch(() => {});
  }

  arrow(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const next = this.shown === "chat" ? "releases" : "chat";
    this.show(next);
    this.tabs[next].focus();
  }

  switchLanguage() {
    setLanguage(currentLanguage() === "zh" ? "en" : "zh");
    this.relabel();
  }

  /** Say in another language what has been drawn already. */
  relabel() {
    this.inLanguage();
    if (this.shown === "releases") this.releases.relabel().catch(() => {});
    else this.releases.shown = null;
  }

  inLanguage() {
    document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
    this.language.lang = currentLanguage() === "zh" ? "en" : "zh-CN";
    translate(document);
  }

  /** Ask until there is a key: nothing works without one, so Escape opens the dialog again. */
  askKey() {
    const refused = hasKey();
    const input = el("input", { type: "password", id: "key", autocomplete: "off", required: true });
    const problem = el("p", { class: "problem", role: "alert", id: "key-problem" });
    const enter = (event) => {
      event.preventDefault();
      setKey(input.value.trim());
      dialog.remove();
      this.start();
    };
    const dialog = el("dialog", { class: "ask", "aria-labelledby": "key-title", onclose: () => dialog.isConnected && dialog.showModal() }, el("form", { method: "dialog", onsubmit: enter },
      el("h2", { id: "key-title", t: "keyTitle" }), problem, el("div", { class: "field" }, el("label", { for: "key", t: "key" }), input), el("div", { class: "row" }, el("button", { class: "primary", t: "enter" }))));
    this.append(dialog);
    dialog.showModal();
    if (!refused) return;
    say(problem, "keyRefused");
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", problem.id);
  }
}

customElements.define("noria-studio", Studio);
