// A form of a model's own settings, made from their JSON schemas.
import { make } from "./dom.js";
import { text } from "./strings.js";

export function fields(parent, settings) {
  const before = Object.fromEntries([...parent.querySelectorAll("[name]")].map(each => [each.name, each.value]));
  parent.replaceChildren(...settings.map(setting => field(setting, before[setting.name] ?? "")));
  if (!settings.length) parent.append(make("p", { className: "hint" }, text("noSettings")));
}

function field({ name, about, default: usual, schema }, value) {
  const kind = choices(schema).find(each => each.type !== "null") ?? {};
  const id = `setting-${name}`;
  const shown = usual === null ? "" : text("defaultValue", usual);
  let input;
  if (kind.enum || kind.type === "boolean") {
    const names = kind.enum ?? ["true", "false"];
    input = make("select", { id, name }, make("option", { value: "" }, shown || "—"),
      ...names.map(each => make("option", { value: each }, kind.enum ? each : text(each === "true" ? "yes" : "no"))));
  } else if (kind.type === "number" || kind.type === "integer") {
    input = make("input", { id, name, type: "number", placeholder: shown, step: kind.type === "integer" ? 1 : "any" });
    if (kind.minimum !== undefined) input.min = kind.minimum;
    if (kind.maximum !== undefined) input.max = kind.maximum;
  } else {
    input = make("input", { id, name, type: "text", placeholder: shown });
  }
  input.value = value;
  input.dataset.kind = kind.type ?? "string";
  input.setAttribute("aria-describedby", `${id}-about`);
  return make("div", { className: "field" }, make("label", { htmlFor: id }, name), input,
    make("span", { id: `${id}-about`, className: "hint" }, about));
}

function choices(schema) {
  return schema.anyOf ?? [schema];
}

export function values(parent) {
  const given = [...parent.querySelectorAll("[name]")].filter(each => each.value !== "");
  return Object.fromEntries(given.map(each => [each.name, value(each)]));
}

function value(input) {
  const kind = input.dataset.kind;
  return kind === "number" || kind === "integer" ? Number(input.value) : kind === "boolean" ? input.value === "true" : input.value;
}
