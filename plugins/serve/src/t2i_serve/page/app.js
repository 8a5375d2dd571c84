// The page: views, language, theme, the door. What each view does is in its own file.
import * as strings from "./strings.js";
import { call, json, onLocked } from "./api.js";
import { $, toast } from "./dom.js";
import * as draw from "./draw.js";
import * as hear from "./hear.js";
import * as history from "./history.js";
import * as look from "./look.js";

const VIEWS = ["draw", "history", "look"];
const THEMES = ["auto", "light", "dark"];
let theme = localStorage.getItem("t2i-theme") ?? "auto";

export function view(name) {
  for (const each of VIEWS) $(`view-${each}`).hidden = each !== name;
  for (const button of document.querySelectorAll("nav [data-view]")) {
    if (button.dataset.view === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  if (location.hash.slice(1) !== name) window.history.replaceState(null, "", `#${name}`);
  if (name === "history") history.load();
}

function showTheme() {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
  $("theme").setAttribute("aria-label", strings.text("themeLabel", strings.text(theme)));
  $("theme").title = strings.text("themeLabel", strings.text(theme));
}

function unlock() {
  const door = $("door");
  if (!door.open) door.showModal();
  return new Promise(resolve => {
    $("door-form").onsubmit = async event => {
      event.preventDefault();
      try {
        const body = JSON.stringify({ token: $("token").value });
        await call("/session", { method: "POST", body, headers: { "Content-Type": "application/json" } });
        door.close();
        resolve();
      } catch {
        $("door-wrong").textContent = strings.text("wrongToken");
        $("token").select();
      }
    };
  });
}

async function begin() {
  onLocked(unlock);
  strings.onLanguage(() => {
    $("language").textContent = strings.text("other");
    showTheme();
  });
  strings.show();
  $("language").onclick = () => strings.choose(strings.language === "zh" ? "en" : "zh");
  $("theme").onclick = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem("t2i-theme", theme);
    showTheme();
  };
  for (const button of document.querySelectorAll("nav [data-view]")) button.onclick = () => view(button.dataset.view);
  window.addEventListener("unhandledrejection", event => {
    event.preventDefault();
    toast(event.reason?.message ?? String(event.reason));
  });
  for (const kind of ["dragover", "drop"]) {
    window.addEventListener(kind, event => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      const isSound = [...event.dataTransfer.items].some(each => each.type.startsWith("audio/"));
      view(isSound ? "draw" : "look");
      if (kind !== "drop") return;
      const dropped = [...event.dataTransfer.files];
      if (isSound) hear.take(dropped.find(each => each.type.startsWith("audio/")));
      else look.add(dropped);
    });
  }
  let models = (await json("/v1/models")).data;
  const tell = () => [draw, look].forEach(each => each.use(models));
  tell();
  strings.onLanguage(async () => {
    models = (await json("/v1/models")).data;  // what is said of them is in the language asked for
    tell();
  });
  const wanted = location.hash.slice(1);
  view(VIEWS.includes(wanted) ? wanted : "draw");
}

begin();
