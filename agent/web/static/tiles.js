// A tile for each channel of the room page: live picture where one may be seen, level, signature.
import { codec, el, put, say, t } from "./common.js";
import { watch } from "./live.js";

const states = {
  live: [t("● 正常", "● live"), "ok"], connecting: [t("○ 正在连接", "○ connecting"), "warn"],
  paused: [t("❚❚ 已暂停", "❚❚ paused"), "warn"], lost: [t("✕ 信号中断", "✕ lost"), "bad"], failed: [t("✕ 不可用", "✕ failed"), "bad"],
};
const named = document.body.dataset.named === "true";

/** @param {{id: string, name: string, kind: string}} c */
export function tile(c) {
  const e = el("li", { class: "channel " + c.kind });
  if (c.kind === "camera") {
    const sound = el("button", { type: "button", class: "sound", "aria-pressed": "false", hidden: true }, t("声音", "Sound"));
    const video = el("video", { muted: true, playsinline: true, "aria-label": c.name });
    video.muted = true; // the attribute alone does not count for what a script made
    e.append(el("div", { class: "picture" }, video, el("p", { class: "say" }), el("div", { class: "over" }, el("b", { title: c.id }, c.name), el("span", { class: "state" })), sound));
  } else {
    e.append(el("div", { class: "over" }, el("b", { title: c.id }, c.name), el("span", { class: "state" })));
  }
  e.append(el("div", { class: "meter" }, el("i", { role: "meter", "aria-valuemin": -60, "aria-valuemax": 0, "aria-valuenow": -60, "aria-label": c.name + " " + t("音量", "level") }), el("span", { class: "db" })),
    el("div", { class: "line" }, el("span", { class: "signed" }), el("span", { class: "facts" })));
  e.append(el("div", c.kind === "camera" ? { class: "small note" } : { class: "trouble state bad" }));
  return e;
}

/** Why there is nothing to see, or "". @param {any} c @param {any} s */
function nothing(c, s) {
  if (c.state !== "live" && c.text) return say(c.text);
  if (s.state === "paused") return t("已暂停：不显示画面", "Paused: nothing is shown");
  if (s.state !== "recording" && s.state !== "postroll" && !s.live_idle) return t("待机：不显示画面", "Idle: nothing is shown");
  if (!s.live) return t("本机没有实时画面", "No live view on this device");
  return "";
}

/** Views under way, by channel. @type {Map<string, {view: any}>} */
const views = new Map();

/** @param {any} e the tile @param {any} c its channel @param {any} s the room */
export function fill(e, c, s) {
  const part = (name) => e.querySelector("." + name);
  const paused = s.state === "paused"; // nothing is recorded, so nothing is said of it
  const state = paused && c.state === "live" ? "paused" : c.state;
  const [word, how] = states[state] || [state, "warn"];
  e.dataset.state = state;
  part("state").className = "state " + how;
  put(part("state"), word);
  level(part("meter"), c, paused);
  const ago = paused ? -1 : c.signed_ago_ms;
  const late = ago > 5000;
  part("signed").className = "signed state " + (ago < 0 ? "" : late ? "warn" : "ok");
  const n = (ago / 1000).toFixed(ago < 10000 ? 1 : 0);
  put(part("signed"), ago < 0 ? "" : t("已签名", "signed") + (late ? " ⚠ " : " ✓ ") + n + t(" 秒前", " s ago"));
  const facts = [];
  if (c.width) facts.push(c.width + "×" + c.height);
  if (c.fps && c.kind === "camera" && state === "live") facts.push(c.fps.toFixed(1) + t(" 帧/秒", " fps"));
  facts.push(...c.codecs.map(codec));
  put(part("facts"), facts.join(" · "));
  if (c.kind === "camera") picture(e, c, s);
  else put(part("trouble"), say(c.text));
}

/** The device knows the level of a raw microphone; that of a camera's sound is known only while it is heard. */
function level(meter, c, paused) {
  const v = views.get(c.id)?.view;
  const rms = paused ? null : c.level_db ?? (v?.heard ? v.view.stats.level_db : null);
  meter.hidden = rms === null;
  if (rms === null) return;
  const db = Math.max(-60, Math.min(0, rms));
  meter.firstChild.style.setProperty("--level", ((db + 60) / 60) * 100 + "%");
  meter.firstChild.setAttribute("aria-valuenow", String(Math.round(db)));
  put(meter.querySelector(".db"), c.peak_db !== null && c.peak_db > -0.5 ? t("削波!", "clipping!") : rms <= -60 ? t("静音", "silent") : "−" + Math.abs(Math.round(db)) + " dB");
}

function picture(e, c, s) {
  const why = nothing(c, s);
  const v = views.get(c.id);
  if (why || !named) {
    if (v) end(c.id);
    words(e, why ? [why] : [t("看画面须登录（记名）。", "Log in to see pictures; each look is on record. "), el("a", { href: "/login?next=/" }, t("登录", "Log in"))]);
  } else if (!v) begin(e, c);
}

function begin(e, c) {
  const v = { view: null };
  views.set(c.id, v);
  const button = e.querySelector(".sound");
  v.view = watch(c.id, e.querySelector("video"), (text, sound, note) => {
    words(e, text ? [text] : []);
    button.hidden = !sound;
    put(e.querySelector(".note"), note);
  });
  button.onclick = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    v.view.sound(on);
    v.view.heard = on;
  };
}

function end(id) {
  const v = views.get(id);
  views.delete(id);
  v.view.stop();
  const button = document.querySelector(`[data-key="${CSS.escape(id)}"] .sound`);
  button?.setAttribute("aria-pressed", "false");
  if (button) button.hidden = true;
}

/** Says something where the picture would be; nothing when it plays. */
function words(e, inside) {
  const p = e.querySelector(".say");
  const text = inside.map((x) => x.textContent ?? x).join("");
  e.dataset.picture = text ? "no" : "yes";
  if (p.textContent !== text) p.replaceChildren(...inside);
}
