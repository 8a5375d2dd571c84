// One picture, large, with everything that is known of it and what can be done with it.
import { base64, json } from "./api.js";
import { $, make, toast } from "./dom.js";
import { onLanguage, text } from "./strings.js";
import { again, start, startLike } from "./draw.js";

const dialog = $("detail");
let [album, rows, shown] = [null, [], 0];

export async function open(from, kept, row) {
  album = from.settings ? from : await json(`/v1/history/${encodeURIComponent(from.id)}`);
  rows = kept;
  show(rows.indexOf(row));
  if (!dialog.open) dialog.showModal();
}

function show(index) {
  shown = (index + rows.length) % rows.length;
  const row = rows[shown];
  $("detail-image").src = row.url;
  $("detail-image").alt = text("pictureOf", row.prompt, row.rank);
  $("detail-prompt").textContent = row.prompt;
  $("detail-caption").hidden = true;
  $("again").hidden = Boolean(row.audio) && (!row.sound || "like" in row.weights);  // what the form cannot hold
  $("download").href = row.url;
  $("download").download = `${album.id}-${row.file}`;
  $("command").textContent = album.command;
  $("copy").textContent = text("copy");
  $("before").disabled = $("after").disabled = rows.length < 2;
  $("detail-facts").replaceChildren(...facts(row).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function facts(row) {
  const scores = Object.entries(row.scores);
  const found = [[text("rankFact"), `${row.rank} / ${album.candidates}`]];
  if (scores.length === 1) found.push([`${text("scoreFact")} (${scores[0][0]})`, score(row.score)]);
  else if (scores.length) found.push([text("scoreFact"), score(row.score)], ...scores.map(([name, value]) => [name, score(value)]));
  found.push([text("seedFact"), `${row.seed}`], [text("modelFact"), row.model]);
  if (row.same_as !== null && row.same_as !== undefined) found.push([text("sameAs"), `${row.same_as}`]);
  found.push([text("dateFact"), new Date(album.created * 1000).toLocaleString(document.documentElement.lang)]);
  for (const [name, value] of Object.entries(album.settings)) {
    if (value !== null && typeof value !== "object" && name !== "model") found.push([name, `${value}`]);
  }
  return found;
}

function score(value) {
  return `${Number(value.toPrecision(6))}`;
}

async function describe() {
  const said = $("detail-caption");
  const row = rows[shown];
  said.hidden = false;
  said.textContent = "…";
  try {
    const image = await base64(await (await fetch(row.url)).blob());
    const answer = await json("/v1/captions", { images: [image], n: 1, seed: 0 });
    if (rows[shown] === row) said.textContent = answer.data[0].captions[0];
  } catch (error) {
    said.hidden = true;
    toast(error.message);
  }
}

async function similar() {
  const row = rows[shown];
  const models = (await json("/v1/models")).data;
  const able = models.find(each => each.id === album.model)?.conditions.includes("like");
  leave();
  if (able) await startLike(row.url, { ...album, prompt: row.prompt });
  else await start({ prompt: row.prompt, model: album.model, seed: Math.max(...album.rows.map(each => each.seed)) + 1 });
}

function leave() {
  dialog.close();
  document.querySelector('nav [data-view="draw"]').click();
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("command").textContent);
    $("copy").textContent = text("copied");
  } catch {  // a browser that gives pages without https no clipboard
    getSelection().selectAllChildren($("command"));
    $("copy").textContent = "Ctrl-C";
  }
}

$("again").onclick = () => { leave(); again(album, rows[shown]); };
$("similar").onclick = similar;
$("describe").onclick = describe;
$("copy").onclick = copy;
$("before").onclick = () => show(shown - 1);
$("after").onclick = () => show(shown + 1);
$("close").onclick = () => dialog.close();
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("keydown", event => {
  if (event.key === "ArrowRight") show(shown + 1);
  if (event.key === "ArrowLeft") show(shown - 1);
});
onLanguage(() => { if (dialog.open) show(shown); });
