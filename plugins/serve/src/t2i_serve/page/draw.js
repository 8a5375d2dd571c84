// Composing a request, and following it: previews, pictures, ranks.
import { events, json } from "./api.js";
import { $, caption, card, bar, make, reorder, toast } from "./dom.js";
import { language, onLanguage, text } from "./strings.js";
import { open } from "./detail.js";
import { fields, values } from "./settings.js";
import * as hear from "./hear.js";
import { recent } from "./history.js";

const IDEAS = {
  zh: ["红烧牛肉面", "番茄炒蛋", "一碗热汤面", "白瓷碗里的葱油拌面", "宫保鸡丁"],
  en: ["braised beef noodles", "tomato and egg stir-fry", "a bowl of noodle soup", "kung pao chicken"],
};
let models = [];

export function use(found) {
  models = found;
  const generators = models.filter(each => each.kinds.includes("generator"));
  const rankers = models.filter(each => each.kinds.includes("ranker"));
  options($("model"), generators.map(each => each.id), $("model").value);
  // Only one that is here: others fetch their weights at first use.
  const usual = rankers.find(each => each.default_of.includes("ranker") && each.size)?.id ?? "";
  const known = $("ranker").options.length ? $("ranker").value : localStorage.getItem("t2i-ranker") ?? usual;
  options($("ranker"), ["", ...rankers.map(each => each.id)], known);
  $("ranker").options[0].textContent = text("noRanker");
  describe();
  recent($("recent"), $("recent-pictures"));
}

export function options(select, names, chosen) {
  select.replaceChildren(...names.map(name => make("option", { value: name }, name)));
  if (names.includes(chosen)) select.value = chosen;
}

function model() {
  return models.find(each => each.id === $("model").value);
}

function describe() {
  const chosen = model();
  $("about").textContent = chosen ? [chosen.about, chosen.stand_in && text("standIn")].filter(Boolean).join(" · ") : text("noModel");
  fields($("settings"), chosen?.settings ?? []);
  hear.offer(chosen?.conditions.includes("embedding") ?? false);
}

function showIdeas() {
  $("ideas").replaceChildren(...IDEAS[language].map(idea => {
    const made = make("button", { type: "button" }, idea);
    made.onclick = () => { $("prompt").value = idea; $("prompt").focus(); };
    return made;
  }));
  $("n-shown").textContent = $("n").value;
}

// Put what a picture was made with into the form.
function refill(album, row) {
  $("prompt").value = album.prompt;
  if ([...$("model").options].some(each => each.value === album.model)) $("model").value = album.model;
  $("seed").value = row.seed;
  $("n").value = 1;
  showIdeas();
  describe();
  for (const input of $("settings").querySelectorAll("[name]")) {
    const value = album.settings[input.name];
    const usual = model()?.settings.find(each => each.name === input.name)?.default;
    if (value !== undefined && value !== null && String(value) !== String(usual)) input.value = value;
  }
}

function body(extra) {
  const asked = {
    prompt: $("prompt").value, model: $("model").value, n: Number($("n").value), stream: true, partial_images: 2,
    progress: true, response_format: "url", output_format: "webp", ...values($("settings")),
  };
  if ($("seed").value !== "") asked.seed = Number($("seed").value);
  if ($("ranker").value) asked.rerank = $("ranker").value;
  return { ...asked, ...extra };
}

export function start(extra = {}) {
  const asked = body(extra);
  localStorage.setItem("t2i-ranker", $("ranker").value);
  return follow("/v1/images/generations", asked, asked);
}

// A picture once more.
export async function again(album, row) {
  refill(album, row);
  if (!row.sound) return start();
  if (!row.weights.words) $("prompt").value = "";
  const { words = 0, audio } = row.weights;
  await hear.take(await (await fetch(row.sound)).blob(), audio / (words + audio));
  return start(await hear.fields($("prompt").value));
}

// Pictures similar to the one at `url`.
export async function startLike(url, album) {
  const asked = body({ prompt: album.prompt, model: album.model, seed: undefined });
  const form = new FormData();
  for (const [name, value] of Object.entries(asked)) if (value !== undefined) form.append(name, value);
  form.append("use", "like");
  form.append("image", await (await fetch(url)).blob(), "like.png");
  return follow("/v1/images/edits", form, asked);
}

async function follow(path, sent, asked) {
  $("empty").hidden = true;
  const run = new Run(asked);
  $("runs").prepend(run.element);
  run.element.scrollIntoView({ block: "start" });
  try {
    for await (const event of events(path, sent, run.abort.signal)) run.take(event);
    await run.finish();
  } catch (error) {
    run.fail(error);
  }
}

class Run {
  constructor(asked) {
    this.asked = asked;
    this.name = asked.prompt.trim() || text("heard");
    this.abort = new AbortController();
    this.begun = performance.now();
    this.drawn = 0;
    this.title = make("h2", { dir: "auto" }, this.name);
    this.state = make("span", { className: "state", role: "status" }, text("waiting"));
    this.progress = make("progress", { max: 1, value: 0, "aria-label": text("drawing") });
    this.stop = make("button", { type: "button", className: "quiet" }, text("cancel"));
    this.stop.onclick = () => this.abort.abort();
    const about = make("p", { className: "about" }, [asked.model, asked.rerank].filter(Boolean).join(" · "));
    this.grid = make("div", { className: "pictures" });
    this.cards = Array.from({ length: asked.n }, (_, i) => this.empty(i));
    this.grid.append(...this.cards);
    const head = make("div", { className: "head" }, make("div", {}, this.title, about), this.state, this.stop);
    this.element = make("article", { className: "run", tabIndex: -1, "aria-label": this.name }, head, this.progress, this.grid);
  }

  empty(index) {
    const made = card({}, [], text("pictureBeing", this.name, index + 1), () => this.open(made));
    made.classList.add("waiting");
    made.disabled = true;
    return made;
  }

  take(event) {
    const kind = event.type.split(".")[1];
    if (kind === "progress") {
      if (event.seed !== undefined) this.seed = event.seed;
      this.progress.value = event.share;
      const isJudging = event.share === 1 && this.asked.rerank;
      this.state.textContent = isJudging ? text("judging") : `${text("drawing")} ${Math.round(100 * event.share)}%`;
    } else if (kind === "partial_image") {
      const made = this.cards[event.candidate];
      made.querySelector("img").src = `data:image/${event.output_format};base64,${event.b64_json}`;
      made.classList.toggle("waiting", !event.is_drawn);
      made.classList.add("seen");
      made.querySelector(".caption").replaceWith(caption({ seed: event.seed }));
    } else if (kind === "completed" && event.album) {
      this.summary = event;
    }
  }

  async finish() {
    if (!this.summary) return;
    this.album = await json(`/v1/history/${encodeURIComponent(this.summary.album)}`);
    const rows = this.album.rows;
    for (const row of rows) {
      const made = this.cards[row.seed - this.summary_seed(rows)];
      made.classList.remove("waiting");
      made.classList.add("seen");
      made.disabled = !row.url;
      if (row.url) made.querySelector("img").src = row.url;
      made.querySelector("img").alt = text("pictureOf", this.name, row.rank);
      made.querySelector(".bar").replaceWith(bar(row, rows));
      made.querySelector(".caption").replaceWith(caption(row));
      made.classList.toggle("best", row.rank === 1 && rows.length > 1 && row.score !== null && row.same_as === null);
      made.row = row;
    }
    reorder(this.grid, rows.map(row => this.cards[row.seed - this.summary_seed(rows)]));
    const seconds = ((performance.now() - this.begun) / 1000).toFixed(1);
    this.state.textContent = `${text("done")} · ${text("seconds", seconds)}`;
    for (const doubt of this.summary.doubts ?? []) this.element.insertBefore(make("p", { className: "doubt" }, doubt), this.grid);
    this.end();
  }

  summary_seed(rows) {
    return Math.min(...rows.map(row => row.seed));
  }

  open(made) {
    if (!this.album || !made.row) return;
    open(this.album, this.album.rows.filter(row => row.url), made.row);
  }

  fail(error) {
    const isCancelled = error.name === "AbortError";
    this.state.textContent = text(isCancelled ? "cancelled" : "failed");
    this.element.classList.add("ended");
    for (const made of this.cards) made.classList.remove("waiting");
    if (!isCancelled) {
      this.element.insertBefore(make("p", { className: "wrong" }, error.message), this.grid);
      toast(error.message);
    }
    for (const made of this.cards.filter(each => !each.classList.contains("seen"))) made.remove();
    this.end();
  }

  end() {
    this.progress.remove();
    this.stop.remove();
  }
}

$("composer").addEventListener("submit", async event => {
  event.preventDefault();
  start(await hear.fields($("prompt").value));
});
$("prompt").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("composer").requestSubmit();
});
$("n").addEventListener("input", showIdeas);
$("dice").addEventListener("click", () => { $("seed").value = ""; });
$("model").addEventListener("change", describe);
onLanguage(showIdeas);
