// What all pages share: words in two languages, requests, time as people write it.

export const english = document.documentElement.lang === "en";

/** @param {string} zh @param {string} en */
export const t = (zh, en) => (english ? en : zh);

/** @param {{zh: string, en: string} | null | undefined} text */
export const say = (text) => (text ? t(text.zh, text.en) : "");

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/**
 * An element with attributes, text and children.
 * @param {string} name @param {Record<string, any>} [attrs] @param {...any} inside @returns {any}
 */
export function el(name, attrs = {}, ...inside) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attrs)) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (v !== undefined && v !== null && v !== false) e.setAttribute(k, v === true ? "" : String(v));
  }
  e.append(...inside.filter((x) => x !== null && x !== undefined && x !== false));
  return e;
}

/** Sets text only when it changes: live regions and the selection stay quiet. */
export function put(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

/** Keeps one element for each item of a list, so that focus and live regions stay. */
export function keyed(list, items, key, make, fill) {
  const old = new Map([...list.children].map((e) => [e.dataset.key, e]));
  items.forEach((item, i) => {
    const k = key(item);
    let e = old.get(k);
    old.delete(k);
    if (!e) {
      e = make(item);
      e.dataset.key = k;
    }
    fill(e, item);
    if (list.children[i] !== e) list.insertBefore(e, list.children[i] || null);
  });
  for (const e of old.values()) e.remove();
}

/** An answer that was not what was asked for; message is for people. */
export class Refused extends Error {
  constructor(status, error) {
    super(error ? say(error) : t("本机没有回应。请检查网络后重试。", "The device does not answer. Check the network and try again."));
    this.status = status;
    this.code = error ? error.code : "offline";
  }
}

/** @param {string} path below /api/v1 @param {any} [body] undefined: GET @param {RequestInit} [more] */
export async function ask(path, body, more = {}) {
  const init = { ...more };
  if (body !== undefined) {
    init.method = "POST";
    init.headers = { "Content-Type": "application/json", ...more.headers };
    init.body = JSON.stringify(body);
  }
  let r;
  try {
    r = await fetch("/api/v1" + path, init);
  } catch {
    throw new Refused(0, null);
  }
  if (!r.ok) {
    const answer = await r.json().catch(() => null);
    if (r.status === 401 && path !== "/login") location.assign("/login?next=" + encodeURIComponent(location.pathname));
    throw new Refused(r.status, answer && answer.error);
  }
  return r;
}

export const get = async (path) => (await ask(path)).json();

let hiding;
/** Tells the outcome of an action for a while. */
export function toast(text, good = false) {
  const e = $("toast");
  e.className = good ? "toast good" : "toast";
  e.textContent = text;
  e.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (e.hidden = true), good ? 3000 : 12000);
}

const two = (n) => String(n).padStart(2, "0");

/** 1:02:33 @param {number} ms */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/** 2026-11-23 14:05:09, local @param {string} rfc3339 */
export function when(rfc3339) {
  if (!rfc3339) return "–";
  const d = new Date(rfc3339);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(rfc3339)}`;
}

export function clock(rfc3339) {
  const d = new Date(rfc3339);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export const utc = (rfc3339) => (rfc3339 ? new Date(rfc3339).toISOString().replace(/\.\d+/, "") + " UTC" : "");

/** @param {number} bytes */
export function size(bytes) {
  for (const [unit, n] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (bytes >= n) return (bytes / n).toFixed(1) + " " + unit;
  return bytes + " B";
}

/** What people call a codec (RFC 6381 names it more closely). @param {string} c */
export const codec = (c) => ({ avc1: "H.264", hvc1: "H.265", hev1: "H.265", mp4a: "AAC", opus: "Opus", ipcm: "PCM" })[c.split(".")[0].toLowerCase()] || c;

/** Matter and officers as people write them. */
export const matter = (m) => (typeof m === "string" ? m : (m && (m.name || m.id)) || "");
export const officers = (list) => list.map((o) => (o.name + " " + o.credential).trim()).join("；");

/** One event stream over fetch (EventSource cannot POST). @param {Response} r @param {(event: string, data: any) => void} on */
export async function events(r, on) {
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const m = /^event: (\w+)\ndata: (.*)$/s.exec(text.slice(0, end));
      if (m) on(m[1], JSON.parse(m[2]));
    }
  }
}

$("lang")?.addEventListener("click", (e) => {
  const lang = e.currentTarget.dataset.lang;
  document.cookie = `lang=${lang === "en" ? "en" : "zh"}; path=/; max-age=31536000; samesite=strict`;
  location.reload();
});
$("logout")?.addEventListener("click", async () => {
  await ask("/logout", {}).catch(() => {});
  location.assign("/");
});
