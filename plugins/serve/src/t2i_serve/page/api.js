// Requests to the server: JSON, and the stream of a drawing's events.
import { language, text } from "./strings.js";

let enter = null;
export function onLocked(ask) {
  enter = ask;
}

export class Problem extends Error {}

export async function call(path, options = {}) {
  const headers = { "Accept-Language": language === "zh" ? "zh-CN" : "en", ...options.headers };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(text("offline"));
  }
  if (answer.status === 401 && path !== "/session" && enter) {
    await enter();
    return call(path, options);
  }
  if (!answer.ok) throw new Problem((await answer.json().catch(() => null))?.error?.message ?? `${answer.status}`);
  return answer;
}

export function json(path, body, signal) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  };
  return call(path, { ...options, signal }).then(answer => answer.json());
}

export async function* events(path, body, signal) {
  const isForm = body instanceof FormData;
  const answer = await call(path, {
    method: "POST", signal,
    body: isForm ? body : JSON.stringify(body),
    headers: isForm ? {} : { "Content-Type": "application/json" },
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (waiting + value).split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const line = part.split("\n").find(each => each.startsWith("data: "));
      if (!line) continue;
      const event = JSON.parse(line.slice(6));
      if (event.type === "error") throw new Problem(event.error.message);
      yield event;
    }
  }
}

export function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Problem(reader.error.message));
    reader.readAsDataURL(blob);
  });
}
