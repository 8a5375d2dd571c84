// A sound in place of the prompt, or beside it: recorded, chosen or dropped in.
import { base64 } from "./api.js";
import { $, toast } from "./dom.js";
import { onLanguage, text } from "./strings.js";

const RATE = 16000;
let sound = null;
let recorder = null;

// For a model that draws from sounds, or one that does not.
export function offer(isAble) {
  $("sound").hidden = !isAble;
  show();
}

// What a request says of the sound.
export async function fields(prompt) {
  if (!sound || $("sound").hidden) return {};
  const share = Number($("share").value) / 100;
  const mixed = prompt.trim() ? { weights: { words: 1 - share, audio: share } } : {};
  return { audio: await base64(sound), ...mixed };
}

// `share` is how much it counts beside words; the slider stays where it is without it.
export async function take(file, share) {
  if ($("sound").hidden) {
    toast(text("noHearing"));
    return;
  }
  try {
    sound = await asWave(file);
  } catch {
    toast(text("badSound"));
    return;
  }
  if (share !== undefined) $("share").value = Math.round(100 * share);
  URL.revokeObjectURL($("player").src);
  $("player").src = URL.createObjectURL(sound);
  show();
}

function show() {
  $("given").hidden = !sound;
  $("prompt").required = !sound || $("sound").hidden;
  $("record").hidden = !navigator.mediaDevices;  // which browsers give to this machine and to https alone
  $("record").textContent = text(recorder ? "stopRecording" : "record");
  $("share-shown").textContent = `${$("share").value}%`;
}

// The server reads WAV without further packages; recordings are WebM or Ogg.
async function asWave(file) {
  const content = await file.arrayBuffer();
  if (new TextDecoder("latin1").decode(content.slice(0, 4)) === "RIFF") return file;
  const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(content);
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i));
  return wave(channels[0].map((_, i) => channels.reduce((sum, each) => sum + each[i], 0) / channels.length));
}

function wave(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const put = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);  // PCM
  view.setUint16(22, 1, true);  // one channel
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  put(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true));
  return new Blob([view], { type: "audio/wav" });
}

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    toast(text("noMicrophone"));
    return;
  }
  const parts = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = event => parts.push(event.data);
  recorder.onstop = () => {
    stream.getTracks().forEach(track => track.stop());
    recorder = null;
    show();
    take(new Blob(parts));
  };
  recorder.start();
  show();
}

$("record").onclick = record;
$("sound-file").onchange = () => { take($("sound-file").files[0]); $("sound-file").value = ""; };
$("silence").onclick = () => { sound = null; $("player").removeAttribute("src"); show(); };
$("share").addEventListener("input", show);
onLanguage(show);
