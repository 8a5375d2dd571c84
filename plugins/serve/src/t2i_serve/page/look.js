// The user's own pictures: ranked against a sentence, or captioned.
import { base64, json } from "./api.js";
import { $, make, reorder, toast } from "./dom.js";
import { text } from "./strings.js";
import { options } from "./draw.js";

let pictures = [];

export function use(models) {
  const named = kind => models.filter(each => each.kinds.includes(kind))
    .sort((a, b) => b.default_of.includes(kind) - a.default_of.includes(kind)).map(each => each.id);
  options($("look-ranker"), named("ranker"), $("look-ranker").value);
  options($("look-captioner"), named("captioner"), $("look-captioner").value);
  $("caption-all").disabled = !$("look-captioner").options.length;
  $("rank").disabled = !$("look-ranker").options.length;
}

export function add(files) {
  for (const file of files.filter(each => each.type.startsWith("image/"))) {
    const item = make("li", { className: "card looked" });
    const picture = { file, item };
    const remove = make("button", { type: "button", className: "remove", "aria-label": text("remove", file.name) }, "×");
    remove.onclick = () => { pictures = pictures.filter(each => each !== picture); item.remove(); };
    picture.said = make("span", { className: "caption" }, file.name);
    item.append(make("img", { src: URL.createObjectURL(file), alt: file.name }), remove, picture.said);
    pictures.push(picture);
    $("looked").append(item);
  }
}

async function sent() {
  if (!pictures.length) throw new Error(text("needPictures"));
  return Promise.all(pictures.map(each => base64(each.file)));
}

async function busy(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    toast(error.message);
  } finally {
    button.disabled = false;
  }
}

async function rank() {
  if (!$("sentence").value.trim()) throw new Error(text("needSentence"));
  const [images, known] = [await sent(), [...pictures]];
  const answer = await json("/v1/rankings", { prompt: $("sentence").value, images, model: $("look-ranker").value });
  const ordered = answer.data.map(({ index, rank, score }) => {
    const picture = known[index];
    picture.said.replaceChildren(make("span", { className: "rank" }, `${rank}`), make("span", { className: "score" }, score.toFixed(4)),
      make("span", { className: "seed" }, picture.file.name));
    return picture;
  }).filter(picture => pictures.includes(picture));
  pictures = ordered;
  reorder($("looked"), ordered.map(each => each.item));
}

async function captionAll() {
  const [images, known] = [await sent(), [...pictures]];
  const answer = await json("/v1/captions", { images, n: 1, seed: 0, model: $("look-captioner").value });
  for (const { index, captions } of answer.data) {
    const item = known[index].item;
    item.querySelector(".said")?.remove();
    item.append(make("p", { className: "said", dir: "auto" }, captions[0]));
  }
}

$("files").onchange = () => { add([...$("files").files]); $("files").value = ""; };
$("looker").onsubmit = event => { event.preventDefault(); busy($("rank"), rank); };
$("caption-all").onclick = () => busy($("caption-all"), captionAll);
$("clear").onclick = () => { pictures = []; $("looked").replaceChildren(); };
