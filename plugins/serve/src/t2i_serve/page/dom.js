// Small pieces of the page. Texts are always set as text, never as markup.
export const $ = id => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

export function toast(message) {
  const made = make("div", { className: "toast" }, message);
  $("toasts").append(made);
  setTimeout(() => made.remove(), 8000);
}

// Move elements to a new order; where motion is welcome they glide there.
export function reorder(parent, ordered) {
  const before = new Map(ordered.map(each => [each, each.getBoundingClientRect()]));
  parent.append(...ordered);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const each of ordered) {
    const [was, is] = [before.get(each), each.getBoundingClientRect()];
    const [x, y] = [was.left - is.left, was.top - is.top];
    if (x || y) each.animate([{ transform: `translate(${x}px, ${y}px)` }, {}], { duration: 450, easing: "ease-out" });
  }
}

// A card with a picture; `row` is one of results.jsonl with its address, or what is known of it so far.
export function card(row, rows, alt, open) {
  const image = make("img", { alt, loading: "lazy", decoding: "async" });
  if (row.url) image.src = row.url;
  const about = row.seed === undefined && row.url ? [] : [bar(row, rows), caption(row)];
  const made = make("button", { type: "button", className: "card" }, image, ...about);
  made.addEventListener("click", open);
  return made;
}

export function caption(row) {
  return make("span", { className: "caption" },
    row.rank ? make("span", { className: "rank" }, `${row.rank}`) : null,
    row.score === null || row.score === undefined ? null : make("span", { className: "score" }, row.score.toFixed(4)),
    row.seed === undefined ? null : make("span", { className: "seed" }, `#${row.seed}`));
}

export function bar(row, rows) {
  const made = make("span", { className: "bar" }, make("i"));
  const scores = rows.map(each => each.score).filter(score => typeof score === "number");
  if (!scores.length || typeof row.score !== "number") return made;
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  made.firstChild.style.width = `${Math.max(2, Math.round(100 * (high > low ? (row.score - low) / (high - low) : 1)))}%`;
  return made;
}
