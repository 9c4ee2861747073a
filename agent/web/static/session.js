// One session: play, verify, facts, marks, download.
import { $, ask, codec, el, english, events, get, matter, officers, put, size, span, t, toast, utc, when } from "./common.js";
import { Player } from "./player.js";
import { finding, timebar, verdict } from "./timebar.js";

const id = document.body.dataset.session;
const path = "/sessions/" + encodeURIComponent(id);
const flags = { drill: t("演练", "drill"), minor: t("未成年人", "minor"), secret: t("涉密", "secret") };
const triggers = {
  button: t("按钮", "button"), door: t("门磁", "door"), presence: t("有人进入", "presence"), page: t("页面", "page"), message: t("远程命令", "message"),
  scan: t("扫码", "scan"), schedule: t("排期", "schedule"), power: t("断电后接续", "continued after power loss"),
};
let session;
let player;
let next = ""; // the part of the hearing after this one

async function open() {
  session = await get(path);
  put($("h"), t("会话 ", "Session ") + when(session.opened));
  facts(session);
  if (session.checked) verdictLine(session.checked.exit, t("上次核验 ", "Last checked ") + when(session.checked.at));
  const media = await Promise.all(session.channels.map(async (c) => {
    const l = await get(`${path}/media/${encodeURIComponent(c.id)}`);
    return { id: c.id, kind: c.kind, segments: l.segments, url: (n) => `/api/v1${path}/media/${encodeURIComponent(c.id)}/${n}` };
  }));
  files(media);
  player = new Player($("screens"), media, shown);
  const all = Math.max(session.duration_us, player.end);
  session.duration_us = all;
  bars(session.spans);
  marks(session.marks);
  const before = Math.round(session.preroll_us / 1e6);
  put($("zero"), before > 0 ? t(`0:00:00 是录像开头：含触发前预录 ${before} 秒。`, `0:00:00 is where the recording begins, ${before} s before the trigger (pre-roll).`) : t("0:00:00 是录像开头。", "0:00:00 is where the recording begins."));
  $("seek").max = all / 1e6;
  for (const b of ["seek", "play", "back10", "on10", "frameback", "frameon", "mute"]) $(b).disabled = player.end <= 0;
  shown();
  await hearing();
  if (new URLSearchParams(location.search).has("play") && player.end > 0) player.toggle();
}

/** Sessions that continue one another, with the time between them; at the end of one the next is played. */
async function hearing() {
  const { sessions } = await get(path + "/hearing");
  if (sessions.length < 2) return;
  const at = sessions.findIndex((s) => s.id === session.id);
  next = sessions[at + 1] ? sessions[at + 1].id : "";
  $("parts").append(...sessions.flatMap((s, i) => {
    const before = sessions[i - 1];
    const gap = before && before.closed ? Date.parse(s.opened) - Date.parse(before.closed) : 0;
    const here = i === at;
    return [
      gap > 0 ? el("li", { class: "partgap" }, t("间隔 ", "after ") + span(gap)) : null,
      el("li", {}, el("a", { class: "button", href: "/sessions/" + encodeURIComponent(s.id), "aria-current": here ? "true" : null }, t(`第 ${i + 1} 段`, `Part ${i + 1}`) + " · " + when(s.opened) + " · " + span(s.duration_us / 1000) + (here ? t("（正在看）", " (this one)") : ""))),
    ].filter(Boolean);
  }));
  $("hearing").hidden = false;
}

function facts(s) {
  const rows = [
    [t("编号", "Id"), s.id], [t("开始", "Opened"), when(s.opened), utc(s.opened)], [t("结束", "Closed"), when(s.closed), utc(s.closed)],
    [t("时长", "Length"), span(s.duration_us / 1000)], [t("案号", "Case"), s.case], [t("事项", "Matter"), matter(s.matter)],
    [t("执法人员", "Officers"), officers(s.officers)], [t("性质", "Kind"), s.flags.map((f) => flags[f] || f).join("、")],
    [t("单位", "Body"), s.body.name], [t("房间", "Room"), s.room], [t("设备", "Device"), s.device + (s.adopted ? t("（接管的磁盘）", " (adopted disk)") : "")], [t("起因", "Trigger"), triggers[s.trigger] || s.trigger],
    [t("结束原因", "Why it ended"), triggers[s.reason] || s.reason], [t("接续", "Continues"), s.continues],
    ...s.breaks.map((b) => [t("暂停", "Break"), `${span(b.from / 1000)} – ${b.to < 0 ? "…" : span(b.to / 1000)}　${b.reason}　${b.who}`]),
    [t("大小", "Size"), size(s.size_bytes)], [t("磁盘", "Disks"), s.disks.join("、")],
  ];
  $("facts").replaceChildren(...rows.filter((r) => r[1]).flatMap((r) => [el("dt", {}, r[0]), el("dd", { title: r[2] }, r[1])]));
}

function bars(spans) {
  const all = session.duration_us;
  $("bars").replaceChildren(...session.channels.flatMap((c) => {
    const bar = timebar(spans, all, c.id);
    for (const m of session.marks) {
      const tick = el("span", { class: "tick", title: m.text });
      tick.style.left = (100 * m.at) / all + "%";
      bar.append(tick);
    }
    bar.append(el("span", { class: "tick now" }));
    return [el("span", {}, c.id), bar];
  }));
}

function marks(list) {
  $("nomarks").hidden = list.length > 0;
  $("marks").replaceChildren(...list.map((m) => el("li", {},
    el("button", { type: "button", onclick: () => player.seek(m.at) }, span(m.at / 1000)), " ", m.text || t("标记", "mark"), " ", el("span", { class: "small" }, m.who))));
}

function files(media) {
  const whole = ["sealed", "recovered"].includes(session.state);
  $("bundle").replaceChildren(whole ? el("a", { class: "button", href: `/api/v1${path}/bundle` }, t("下载整套（含签名）", "Download the whole session, with signatures"), ` · ZIP ≈ ${size(session.size_bytes)}`)
    : el("span", { class: "muted" }, t("封存后可下载整套（含签名）。", "Once sealed, the whole session with its signatures can be downloaded.")));
  $("files").replaceChildren(...media.flatMap((c) => c.segments.map((s) => el("li", {},
    el("a", { href: c.url(s.n) + "?download=1", download: "" }, s.file || `${c.id} ${s.n}`),
    el("span", {}, `${span(s.start / 1000)} – ${span((s.start + s.duration) / 1000)}`),
    el("span", { class: "muted" }, [size(s.size), ...s.codecs.map(codec)].join(" · "))))));
}

/** Called by the player whenever its time or state moved. */
let played = false;
function shown() {
  const all = session.duration_us;
  if (played && !player.playing && next && player.at >= player.end - 3e5) location.assign("/sessions/" + encodeURIComponent(next) + "?play=1");
  played = player.playing;
  put($("play"), player.playing ? t("暂停播放", "Pause") : t("播放", "Play"));
  $("mute").setAttribute("aria-pressed", String(!!player.muted));
  put($("at"), `${span(player.at / 1000)} / ${span(all / 1000)}`);
  const wall = player.wall();
  put($("wall"), wall ? when(wall) : "");
  $("wall").title = utc(wall);
  if (document.activeElement !== $("seek") || player.playing) $("seek").value = player.at / 1e6;
  $("seek").setAttribute("aria-valuetext", span(player.at / 1000));
  for (const tick of document.querySelectorAll(".tick.now")) tick.style.left = (100 * player.at) / all + "%";
}

const grades = [
  ["签名者无人担保", "nobody vouches for the signer"], ["由受信任的设备签名", "signed by a trusted device"],
  ["并有外部时间证明", "and bounded by outside times"], ["并有第三方见证", "and witnessed"],
];
const local = ["gap", "break", "recovered"]; // findings that need no file to look at

function verdictLine(exit, more) {
  const [c, words] = verdict(exit);
  $("result").replaceChildren(el("p", { class: "verdict " + c }, words), more ? el("p", { class: "small" }, more) : "");
}

// outside says between which outside times the session was written, who says so, and what was added later.
function outside(s) {
  const o = s.outside, lines = [], at = (us) => utc(us / 1000);
  if (o?.after && o.before) lines.push(t(`写于 ${at(o.after)} 与 ${at(o.before)} 之间（外部证明）`, `Written between ${at(o.after)} and ${at(o.before)} (outside proof)`));
  else if (o?.after) lines.push(t(`写于 ${at(o.after)} 之后；之前无外部证明`, `Written after ${at(o.after)}; not all of it before an outside time`));
  const loose = (o?.bounds || []).filter((b) => !b.after || !b.before || b.before - b.after > o.window);
  for (const b of loose.slice(0, 8))
    lines.push(`${span(b.from / 1000)} – ${span(b.to / 1000)}　` + t("未被外部时间界定", "not bounded by outside times") + `: ${b.after ? at(b.after) : "?"} – ${b.before ? at(b.before) : "?"}`);
  for (const p of o?.parties || [])
    lines.push((p.witness ? t("见证人：", "Witness: ") : t("时间戳：", "Time stamps: ")) + p.name + (p.own ? t("（本单位）", " (the body's own)") : ""));
  for (const a of s.amendments || []) lines.push(t(`补正 ${a.n}：`, `Amendment ${a.n}: `) + Object.values(a.data).join(t("；", "; ")));
  if (s.sm2) lines.push(t("国密 SM2/SM3 签名成立（未经认证的模块）", "SM2/SM3 signature holds (uncertified module)"));
  return lines;
}

async function verify() {
  $("verify").disabled = true;
  $("progress").hidden = false;
  $("progress").removeAttribute("value");
  put($("result"), t("正在核验…", "Verifying…"));
  try {
    const r = await ask(path + "/verify", {}, { headers: { Accept: "text/event-stream" } });
    let result = null;
    await events(r, (event, data) => {
      if (event === "progress" && data.all > 0) $("progress").value = data.done / data.all;
      if (event === "error") throw new Error(t(data.error.zh, data.error.en));
      if (event === "result") result = data;
    });
    if (!result) throw new Error(t("核验中断。请重试。", "The check was broken off. Try again."));
    verdictLine(result.exit, "");
    const s = result.sessions?.[0];
    if (!s) return;
    bars(s.spans || []);
    const words = (cause) => (english ? cause : result.chinese?.[cause] || cause); // what the verifier has no Chinese for stays exact
    const odd = (s.spans || []).filter((x) => x.finding !== "intact");
    const lines = odd.map((x) => `${x.channel || t("全部", "all")}　${span(x.from / 1000)} – ${span(x.to / 1000)}　${finding(x.finding)}${x.cause ? t("：", ": ") + words(x.cause) : ""}${x.file && !local.includes(x.finding) ? t("（", " (") + x.file + t("）", ")") : ""}`);
    if (s.unchecked) lines.push(words(s.unchecked));
    const grade = s.exit === 1 ? t(`证明等级：无。有改动、缺失或外来内容，整体不可依赖（只看完好部分为 ${s.grade} 级）`, `Grade: none. Something is altered, missing or foreign: not to be relied on as a whole (the intact parts alone: grade ${s.grade})`)
      : s.unchecked ? t("证明等级：无。无法核验", "Grade: none. It could not be checked")
      : t(`证明等级 ${s.grade}（0–3）：`, `Grade ${s.grade} of 3: `) + t(...grades[s.grade]);
    $("result").append(el("p", {}, grade), s.preroll > 0 ? el("p", { class: "small" }, t(`媒体从触发前 ${(s.preroll / 1e6).toFixed(1)} 秒开始（预录）`, `The media begin ${(s.preroll / 1e6).toFixed(1)} s before the trigger (pre-roll)`)) : "",
      s.why ? el("p", {}, t("为什么不更高：", "Why not higher: ") + words(s.why)) : "",
      ...outside(s).map((l) => el("p", {}, l)),
      el("ul", {}, ...lines.map((l) => el("li", {}, l))), ...(s.notes || []).map((n) => el("p", { class: "small" }, words(n))));
  } catch (err) {
    put($("result"), "");
    toast(err.message);
  } finally {
    $("progress").hidden = true;
    $("verify").disabled = false;
  }
}

$("verify").addEventListener("click", verify);
$("play").addEventListener("click", () => player.toggle());
$("back10").addEventListener("click", () => player.seek(player.at - 10e6));
$("on10").addEventListener("click", () => player.seek(player.at + 10e6));
$("frameback").addEventListener("click", () => player.frame(true));
$("frameon").addEventListener("click", () => player.frame(false));
$("mute").addEventListener("click", () => player.mute());
$("speed").addEventListener("change", (e) => player.speed(Number(e.target.value)));
$("seek").addEventListener("input", (e) => player.seek(Number(e.target.value) * 1e6));

/** One step faster or slower. */
function speed(by) {
  const e = $("speed");
  e.selectedIndex = Math.max(0, Math.min(e.options.length - 1, e.selectedIndex + by));
  player.speed(Number(e.value));
}

// As in common players: space, k; arrows 5 s, j and l 10 s; , and . a picture; < and > speed; 0 to 9 tenths; m sound.
const keys = {
  " ": () => player.toggle(), k: () => player.toggle(), m: () => player.mute(), ",": () => player.frame(true), ".": () => player.frame(false),
  ArrowLeft: () => player.seek(player.at - 5e6), ArrowRight: () => player.seek(player.at + 5e6), j: () => player.seek(player.at - 10e6), l: () => player.seek(player.at + 10e6),
  Home: () => player.seek(0), End: () => player.seek(player.end), "<": () => speed(-1), ">": () => speed(1),
};
document.addEventListener("keydown", (e) => {
  if (!player || player.end <= 0 || e.target.closest("input, select, textarea, dialog") || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.target.closest("button, a") && [" ", "Enter"].includes(e.key)) return; // what has the focus is pressed
  const act = /^[0-9]$/.test(e.key) ? () => player.seek((player.end * Number(e.key)) / 10) : keys[e.key];
  if (!act) return;
  act();
  e.preventDefault();
});

open().catch((err) => toast(err.message));
