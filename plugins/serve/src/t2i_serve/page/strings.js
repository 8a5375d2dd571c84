// Every text of the page, in Chinese and English.
const zh = {
  skip: "跳到内容", draw: "创作", history: "历史", look: "看图", prompt: "提示词", model: "模型", ranker: "排序",
  noRanker: "不排序", candidates: "候选数", seed: "种子", random: "随机", forget: "改用随机种子", advanced: "高级设置",
  noSettings: "这个模型没有可逐张调整的设置。", generate: "生成", empty: "写下想看的画面，生成的图片会出现在这里。",
  cancel: "取消", cancelled: "已取消", waiting: "排队中", drawing: "绘制中",
  judging: "排序中", done: "完成", failed: "失败", noHistory: "还没有图片。", more: "更多",
  drop: "拖入或选择图片", dropHint: "可以一次多张；图片只发送到这台服务器", sentence: "用一句话描述", captioner: "描述模型",
  rank: "按相符程度排序", captionAll: "生成描述", clear: "清空", again: "用此种子重画", similar: "更多类似", describe: "描述",
  download: "下载", copy: "复制", copied: "已复制", close: "关闭", before: "上一张", after: "下一张", door: "请输入令牌",
  token: "访问令牌", enter: "进入", wrongToken: "令牌不正确", rankFact: "名次", scoreFact: "得分", modelFact: "模型",
  seedFact: "种子", sameAs: "与种子相同", dateFact: "时间", defaultValue: "默认 {0}",
  yes: "是", no: "否", candidatesOf: "{0} 张候选", pictureOf: "{0}，第 {1} 名", pictureBeing: "{0}，第 {1} 张，绘制中",
  standIn: "入门模型", offline: "无法连接服务器", needPictures: "请先选择图片", needSentence: "请先写一句话",
  light: "浅色", dark: "深色", auto: "自动", themeLabel: "外观：{0}", other: "English", remove: "移除 {0}", seconds: "{0} 秒",
  noModel: "没有可用的生成模型", recent: "最近的图片", promptHint: "想看什么？例如：红烧牛肉面",
  sound: "声音（代替提示词，或与提示词混合）", record: "录音", stopRecording: "停止录音", removeSound: "移除声音",
  soundShare: "与提示词混合时声音的比重", noHearing: "所选模型不能用声音生成", badSound: "无法读取这个声音文件",
  noMicrophone: "无法使用麦克风", heard: "声音",
};
const en = {
  skip: "Skip to content", draw: "Create", history: "History", look: "Look", prompt: "Prompt", model: "Model",
  ranker: "Ranker", noRanker: "None", candidates: "Candidates", seed: "Seed", random: "random",
  forget: "Use a random seed", advanced: "Advanced settings",
  noSettings: "This model has no settings that may differ per picture.", generate: "Generate",
  empty: "Describe a picture, and what is drawn appears here.", cancel: "Cancel",
  cancelled: "cancelled", waiting: "waiting", drawing: "drawing", judging: "ranking",
  done: "done", failed: "failed", noHistory: "No pictures yet.", more: "More",
  drop: "Drop or choose pictures", dropHint: "Several at once; they are sent to this server only",
  sentence: "Describe in a sentence", captioner: "Captioner", rank: "Rank by fit", captionAll: "Caption",
  clear: "Clear", again: "Again with this seed", similar: "More like this", describe: "Caption", download: "Download",
  copy: "Copy", copied: "Copied", close: "Close", before: "Previous", after: "Next", door: "This server asks for a token",
  token: "Access token", enter: "Enter", wrongToken: "The token is wrong", rankFact: "Rank", scoreFact: "Score",
  modelFact: "Model", seedFact: "Seed", sameAs: "Same as seed", dateFact: "Date",
  defaultValue: "default {0}", yes: "yes", no: "no", candidatesOf: "{0} candidates", pictureOf: "{0}, rank {1}",
  pictureBeing: "{0}, picture {1}, being drawn", standIn: "small demo model", offline: "The server cannot be reached",
  needPictures: "Choose pictures first", needSentence: "Write a sentence first", light: "light", dark: "dark",
  auto: "auto", themeLabel: "Theme: {0}", other: "中文", remove: "Remove {0}", seconds: "{0} s",
  noModel: "No generator is available", recent: "Recent pictures",
  promptHint: "What should it show?",
  sound: "Sound, in place of the prompt or mixed with it", record: "Record", stopRecording: "Stop recording",
  removeSound: "Remove the sound", soundShare: "Weight of the sound beside a prompt",
  noHearing: "The chosen model does not draw from sounds", badSound: "This sound cannot be read",
  noMicrophone: "The microphone cannot be used", heard: "Sound",
};
const stored = localStorage.getItem("t2i-language");
export let language = stored ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
const listeners = [];

export function text(name, ...values) {
  return ((language === "zh" ? zh : en)[name] ?? name).replace(/\{(\d)\}/g, (_, i) => values[i]);
}

export function onLanguage(listener) {
  listeners.push(listener);
}

export function show(chosen = language) {
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = text(each.dataset.text);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", text(each.dataset.label));
  for (const each of document.querySelectorAll("[data-placeholder]")) each.placeholder = text(each.dataset.placeholder);
  for (const listener of listeners) listener();
}

export function choose(chosen) {
  localStorage.setItem("t2i-language", chosen);
  show(chosen);
}
