// Albums of the output folder, the newest first.
import { json } from "./api.js";
import { $, card, make } from "./dom.js";
import { text } from "./strings.js";
import { open } from "./detail.js";

const SHOWN = 8;
let last = null;

export async function load() {
  last = null;
  const page = await json("/v1/history?limit=12");
  $("albums").replaceChildren();
  $("no-history").hidden = page.data.length > 0;
  add(page);
}

async function more() {
  add(await json(`/v1/history?limit=12&after=${encodeURIComponent(last)}`));
}

function add(page) {
  $("albums").append(...page.data.map(section));
  last = page.data.at(-1)?.id ?? last;
  $("more").hidden = !page.has_more;
}

function section(album) {
  const kept = album.rows.filter(row => row.url);
  const date = new Date(album.created * 1000).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  const about = [album.model, text("candidatesOf", album.candidates), date].join(" · ");
  const grid = make("div", { className: "pictures small" });
  const show = rows => grid.append(...rows.map(row =>
    card(row, kept, text("pictureOf", album.prompt, row.rank), () => open(album, kept, row))));
  show(kept.slice(0, SHOWN));
  const made = make("section", { className: "album" },
    make("h2", { dir: "auto" }, album.prompt), make("p", { className: "about" }, about), grid);
  if (kept.length > SHOWN) {
    const rest = make("button", { type: "button", className: "quiet" }, `+${kept.length - SHOWN}`);
    rest.setAttribute("aria-label", `${text("more")}: ${kept.length - SHOWN}`);
    rest.onclick = () => { show(kept.slice(SHOWN)); rest.remove(); };
    made.append(rest);
  }
  return made;
}

// The best picture of each of the newest albums.
export async function recent(parent, grid) {
  const albums = (await json("/v1/history?limit=12")).data.filter(album => album.rows.some(row => row.url));
  parent.hidden = !albums.length;
  grid.replaceChildren(...albums.map(album => {
    const kept = album.rows.filter(row => row.url);
    return card({ url: kept[0].url }, [], text("pictureOf", album.prompt, kept[0].rank), () => open(album, kept, kept[0]));
  }));
}

$("more").onclick = more;
