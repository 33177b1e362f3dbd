/* A form for the arguments of a tool, made from its JSON Schema. Reading it gives the arguments, or names the field that is wrong. */

import { el } from "./dom.js";

/** What is wrong with a form: the `key` and `values` of a text of the page. */
export class FieldError extends Error {
  constructor(key, values = {}) {
    super(key);
    Object.assign(this, { key, values });
  }
}

let fields = 0;

export class SchemaForm {
  /** `schema` is the tool's `parameters`; `values` are the arguments to begin with. */
  constructor(schema, values = {}) {
    this.schema = schema;
    const required = new Set(schema.required ?? []);
    this.fields = Object.entries(schema.properties ?? {}).map(([name, property]) => {
      return new Field(name, resolve(property, schema), required.has(name), values[name]);
    });
    this.node = el("div", { class: "fields" }, ...this.fields.map((field) => field.node));
    if (!this.fields.length) this.node.append(el("p", { class: "quiet", t: "noArguments" }));
  }

  /** The arguments in the schema's order; what was left empty is not given. */
  read() {
    return Object.fromEntries(this.fields.map((field) => [field.name, field.read()]).filter(([, value]) => value !== undefined));
  }
}

class Field {
  constructor(name, schema, required, value) {
    Object.assign(this, { name, schema, required });
    this.kind = kindOf(schema);
    this.id = `field-${++fields}`;
    this.control = CONTROLS[this.kind](this, value);
    const hint = schema.description ? el("span", { class: "hint", id: `${this.id}-hint` }, schema.description) : null;
    if (hint) this.control.setAttribute("aria-describedby", hint.id);
    const must = required ? el("span", { class: "must", t: "required" }) : null;
    this.node = el("div", { class: "field" }, el("label", { for: this.id }, name, " ", must), this.control, hint);
  }

  read() {
    const text = this.control.value.trim();
    if (text === "") {
      if (this.required && this.kind !== "text") throw this.wrong("missingField");
      return this.required ? "" : undefined;
    }
    if (this.kind === "integer" || this.kind === "number") return Number(text);
    if (this.kind === "boolean") return text === "true";
    if (this.kind === "choice") return this.schema.enum[Number(text)];
    if (this.kind === "lines") return text.split("\n").map((line) => line.trim()).filter(Boolean);
    if (this.kind === "json") return this.json(text);
    return text;
  }

  json(text) {
    try {
      return JSON.parse(text);
    } catch {
      throw this.wrong("badJson");
    }
  }

  wrong(key) {
    this.control.focus();
    return new FieldError(key, { field: this.name });
  }
}

const input = (type, extra = {}) => (field, value) => el("input", { id: field.id, type, value, required: field.required, ...extra });

const CONTROLS = {
  text: input("text", { autocomplete: "off" }),
  date: input("date"),
  time: input("time"),
  integer: input("number", { step: 1 }),
  number: input("number", { step: "any" }),
  boolean: (field, value) => choice(field, [["true", { t: "yes" }], ["false", { t: "no" }]], value === undefined ? "" : String(value)),
  choice: (field, value) => choice(field, field.schema.enum.map((option, i) => [String(i), String(option)]), String(field.schema.enum.indexOf(value))),
  lines: (field, value) => el("textarea", { id: field.id, rows: 3 }, (value ?? []).join("\n")),
  json: (field, value) => el("textarea", { id: field.id, rows: 4, class: "code", spellcheck: "false" }, value === undefined ? "" : JSON.stringify(value, null, 2)),
};

function choice(field, options, value) {
  const blank = el("option", { value: "", t: field.required ? null : "unset" });
  return el("select", { id: field.id }, blank, ...options.map(([key, text]) => el("option", { value: key, selected: key === value, t: text.t }, text.t ? null : text)));
}

/** The kind of control that fits a property. */
function kindOf(schema) {
  if (Array.isArray(schema.enum)) return "choice";
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  if (type === "string") return schema.format === "date" || schema.format === "time" ? schema.format : "text";
  if (type === "integer" || type === "number" || type === "boolean") return type;
  if (type === "array" && (schema.items?.type ?? "string") === "string" && !schema.items?.enum) return "lines";
  return "json";
}

/** Follow a `$ref` into `$defs`, and take an optional's own schema out of `anyOf`. */
function resolve(schema, root) {
  if (schema.$ref?.startsWith("#/$defs/")) return { ...schema, ...resolve(root.$defs?.[schema.$ref.slice(8)] ?? {}, root) };
  const real = (schema.anyOf ?? []).filter((one) => one.type !== "null");
  return real.length === 1 ? { ...schema, ...resolve(real[0], root) } : schema;
}
