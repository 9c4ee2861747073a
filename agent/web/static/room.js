// The room page: shows the newest state and gives commands. It decides nothing itself.
import { $, ask, clock, el, english, keyed, matter, officers, put, say, span, t, toast, utc } from "./common.js";
import { hold } from "./hold.js";
import { forget, picked } from "./pick.js";
import { fill, tile } from "./tiles.js";

const words = {
  idle: ["待机", "IDLE"], recording: ["正在录音录像", "RECORDING"], paused: ["已暂停", "PAUSED"],
  postroll: ["即将结束，仍在录制", "ENDING, STILL RECORDING"], sealing: ["正在封存", "SEALING"],
  fault: ["故障，未在录制", "FAULT, NOT RECORDING"], connecting: ["连接中断", "NO CONNECTION"],
};
const lamps = {
  idle: ["指示灯：待机", "Lamp: idle"], recording: ["指示灯：录制", "Lamp: recording"], paused: ["指示灯：暂停", "Lamp: paused"],
  impaired: ["指示灯：部分故障", "Lamp: impaired"], fault: ["指示灯：故障", "Lamp: fault"],
};
/** The course of a hearing (公安机关办理行政案件程序规定 141-147). The record has the Chinese words. */
const hearing = [
  ["核对身份", "Identities checked"], ["告知权利", "Rights told"], ["询问回避", "Withdrawal asked"], ["事实与建议", "Facts and proposal"],
  ["陈述申辩", "Defence"], ["质证", "Evidence questioned"], ["辩论", "Debate"], ["最后陈述", "Last statements"],
];
const sources = { chrony: ["网络校时", "chrony"], kernel: ["内核估计", "kernel"], unverified: ["未校时", "unverified"] };

let state = null;
let dirty = false;

function show(s) {
  const before = state;
  state = s;
  bar(s);
  if (before && before.state !== s.state) put($("live"), words[s.state]?.[english ? 1 : 0] || s.state);
  keyed($("channels"), s.channels, (c) => c.id, tile, (e, c) => fill(e, c, s));
  keyed($("faults"), s.faults, (f) => f.code + "/" + f.ch, faultCard, (e, f) => faultFill(e, f, s.power));
  $("nofaults").hidden = s.faults.length > 0;
  below();
  marks(s.session);
  agenda(s);
  asked(s);
  buttons(s);
  details(s, before);
  foot(s);
}

function bar(s) {
  const word = words[s.state] || [s.state, s.state];
  $("bar").dataset.state = s.state;
  put($("word"), word[english ? 1 : 0]);
  put($("word2"), word[english ? 0 : 1]);
  put($("elapsed"), span(s.session ? s.session.elapsed_ms : 0));
  put($("room"), s.room);
  document.title = (s.state === "recording" ? "● " : "") + s.room + " · " + t("明录", "Minglu");
  const c = s.clock;
  put($("clock"), clock(c.t));
  $("clock").title = utc(c.t);
  const src = (sources[c.source] || [c.source, c.source])[english ? 1 : 0];
  const ms = c.error_us / 1000;
  const bound = ms < 0 ? "" : "±" + (ms < 1000 ? Math.ceil(ms) + " ms" : (ms / 1000).toFixed(1) + " s");
  put($("bound"), c.quality === "good" ? bound + " ✓" : c.quality === "fair" ? bound + " ~" : "✕ " + (bound || t("未校时", "unverified")));
  $("bound").title = t("时钟来源：", "Clock: ") + src + (ms < 0 ? t("，误差未知", ", error unknown") : "");
  const bad = s.faults.filter((f) => f.severity !== "notice").length;
  $("impaired").hidden = bad === 0;
  put($("impaired"), "⚠ " + bad + " " + t("项故障", bad === 1 ? "fault" : "faults"));
}

const questions = {
  empty: [t("房间里似乎没有人了。结束本次录音录像吗？", "Nobody seems to be here. End this recording?"), t("结束并封存", "End and seal"), t("继续录制", "Go on")],
  quiet: [t("已很久没有人操作。结束本次录音录像吗？", "Nobody has touched anything for long. End this recording?"), t("结束并封存", "End and seal"), t("继续录制", "Go on")],
  scan: [t("扫描了另一个案号。结束本次，开始新的一次吗？", "Another case was scanned. End this one and begin that one?"), t("结束本次，开始新案", "End this, begin that"), t("继续本次", "Go on with this one")],
  pause: [t("已暂停较久。结束本次录音录像吗？", "Paused for long. End this recording?"), t("结束并封存", "End and seal"), t("保持暂停", "Stay paused")],
};

/** What the room asks, what a supervisor says, how long the session may be, what it continues. */
function asked(s) {
  const d = s.session;
  const q = questions[d?.question];
  $("question").hidden = !q;
  if (q) {
    put($("question").firstElementChild, q[0] + (d.scanned ? " " + d.scanned : ""));
    put($("q-yes"), q[1]);
    put($("q-no"), q[2]);
  }
  $("prompts").hidden = !d || d.prompts.length === 0;
  if (d) put($("prompts").firstElementChild, d.prompts.map((p) => `${t("提示", "Prompt")} (${p.who}): ${p.text}`).join("　"));
  $("limit").hidden = !d?.limit_ms;
  if (d?.limit_ms) {
    const left = d.limit_ms - d.elapsed_ms;
    $("limit").classList.toggle("hot", d.near);
    put($("limit"), left < 0 ? t("已超时限 ", "over by ") + span(-left) : d.near ? t("时限剩余 ", "limit in ") + span(left) : t("时限 ", "limit ") + span(d.limit_ms));
  }
  $("goeson").hidden = !d?.continues;
  if (d) put($("goeson"), d.trigger === "power" ? t("断电后接续", "continued after power loss") : t("接续上次", "continues"));
  document.body.dataset.running = String(Boolean(d));
}
for (const [id, yes] of [["q-yes", true], ["q-no", false]]) $(id).addEventListener("click", () => command("/session/answer", { yes }, yes ? t("即将结束", "Ending") : t("继续录制", "Goes on")));
$("seen").addEventListener("click", () => command("/session/seen", {}, t("已阅", "Read")));

const faultCard = () => el("li", { class: "fault" }, el("b"), el("span", { class: "do" }), el("div", { class: "small since" }));

function faultFill(e, f, power) {
  e.dataset.severity = f.severity;
  put(e.querySelector("b"), (f.severity === "alarm" ? "⚠ " : f.severity === "warning" ? "▲ " : "ℹ ") + say(f.text));
  put(e.querySelector(".do"), say(f.do));
  put(e.querySelector(".since"), (f.ch ? f.ch + " · " : "") + t("自 ", "since ") + clock(f.since) +
    (f.code === "power.mains" && power && !power.mains ? t(" · 电池还可用约 ", " · the battery lasts ") + Math.floor(power.left_ms / 60000) + t(" 分钟", " min") : ""));
}

/** Says how many faults are below the edge of their box. */
function below() {
  const edge = $("faultbox").getBoundingClientRect().bottom + 1;
  const n = [...$("faults").children].filter((e) => e.getBoundingClientRect().bottom > edge).length;
  $("morefaults").hidden = n === 0;
  put($("morefaults"), t(`▾ 下面还有 ${n} 项`, `▾ ${n} more below`));
}
$("faultbox").addEventListener("scroll", below);
window.addEventListener("resize", below);

/** Marks by the clock above, which begins at the trigger; their own times begin with the pre-roll. */
function marks(session) {
  const e = $("marks");
  const newest = (session ? session.marks : []).slice(-50).reverse();
  const now = newest.map((m) => m.at + m.text).join("\n");
  if (e.dataset.now === now) return;
  e.dataset.now = now;
  e.replaceChildren(...newest.map((m) => el("li", {}, el("span", {}, span(m.at / 1000 - session.preroll_ms)), el("span", {}, marked(m)), el("span", { class: "small" }, m.who))));
}

/** What a mark says, in the language of the page if it is one of the agenda. */
function marked(m) {
  const known = hearing.find((x) => x[0] === m.text);
  return known ? t(known[0], known[1]) : m.text || t("标记", "mark");
}

function agenda(s) {
  const e = $("agenda");
  const own = s.session?.agenda || [];
  const steps = own.length ? own.map((x) => hearing.find((h) => h[0] === x) || [x, x]) : s.kind === "hearing" ? hearing : [];
  e.hidden = steps.length === 0;
  document.body.classList.toggle("hearing", !e.hidden);
  if (e.hidden) return;
  const done = new Set(s.session ? s.session.marks.map((m) => m.text) : []);
  const next = steps.find((x) => !done.has(x[0]));
  keyed(e.firstElementChild, steps, (x) => x[0], (x) => {
    const b = el("button", { type: "button" }, el("span"), " " + t(x[0], x[1]));
    b.addEventListener("click", () => command("/session/mark", { text: x[0], kind: "agenda" }, t("已标记", "Marked")));
    return el("li", {}, b);
  }, (li, x) => {
    const b = li.firstElementChild;
    const is = done.has(x[0]) ? "done" : x === next && s.session ? "next" : "open";
    b.dataset.is = is;
    b.disabled = !s.can.includes("mark");
    put(b.firstElementChild, { done: "✓", next: "▸", open: "○" }[is]);
    if (is === "next") b.setAttribute("aria-current", "step");
    else b.removeAttribute("aria-current");
    b.setAttribute("aria-label", t(x[0], x[1]) + (is === "done" ? t("（已标记）", " (marked)") : ""));
  });
  const step = next ? next[0] : "";
  if (e.dataset.step !== step) e.firstElementChild.scrollTo({ left: e.querySelector("[aria-current]")?.parentElement.offsetLeft - 64 || 0 });
  e.dataset.step = step;
}

function buttons(s) {
  const can = (what) => s.can.includes(what);
  $("start").disabled = !can("start");
  $("mark").disabled = !can("mark");
  $("stop").disabled = !can("stop");
  const paused = can("resume");
  $("pause").disabled = !can("pause");
  if ($("resume").hidden === paused) { // one place, two buttons: focus moves along
    const had = document.activeElement === $("pause") || document.activeElement === $("resume");
    $("pause").hidden = paused;
    $("resume").hidden = !paused;
    if (had) (paused ? $("resume") : $("pause")).focus();
  }
}

function details(s, before) {
  const f = $("details");
  const d = s.session;
  const other = (before?.session?.id || "") !== (d?.id || "");
  if (other && d) dirty = false;
  if (other && !d) { f.reset(); dirty = false; }
  if (other && before) forget();
  if (d && !dirty && !f.contains(document.activeElement)) {
    f.elements.case.value = d.case;
    f.elements.matter.value = matter(d.matter);
    f.elements.officers.value = officers(d.officers);
    for (const flag of ["drill", "minor", "secret"]) f.elements[flag].checked = d.flags.includes(flag);
  }
  for (const name of ["case", "matter", "officers"]) f.elements[name].closest("label").classList.toggle("missing", !!d && d.missing.includes(name) && !dirty);
  $("save").disabled = !(dirty && s.can.includes("details"));
}

function foot(s) {
  const disks = s.disks.map((d) => {
    const bad = { behind: t("写入落后", "behind"), full: t("已满", "full"), failed: t("故障", "failed"), absent: t("未连接", "absent") }[d.state];
    const left = d.hours < 0 ? "" : t("剩余 ", "") + (d.hours < 10 ? d.hours.toFixed(1) : Math.floor(d.hours)) + t(" 小时", " h left");
    const copy = d.lacking > 0 ? t(` · 待补齐 ${d.lacking}`, ` · ${d.lacking} to copy`) + (d.copy_percent < 0 ? "" : ` (${d.copy_percent} %)`) : "";
    return el("span", { class: bad ? "bad" : "" }, t("磁盘 ", "Disk ") + d.name + ": " + (bad ? "✕ " + bad : "✓ " + left) + copy);
  });
  const now = disks.map((e) => e.textContent).join();
  if ($("disks").dataset.now !== now) {
    $("disks").dataset.now = now;
    $("disks").replaceChildren(...disks.flatMap((e) => [e, " "]));
  }
  $("standard").hidden = !s.meets;
  if (s.meets) {
    const [fail, unknown] = ["fail", "unknown"].map((v) => s.meets.rules[v] + s.meets.defaults[v]);
    $("standard").className = fail ? "bad" : unknown ? "warn" : "ok";
    put($("standard"), t("设备标准 ", "Standard ") + (fail ? `✕ ${fail} ${t("项不符合", "fail")}` : "✓ " + t("无不符合", "no fail")) + (unknown ? `，? ${unknown} ${t("项未知", "unknown")}` : ""));
  }
  put($("climate"), s.climate ? s.climate.celsius.toFixed(1) + " ℃" + (s.climate.humidity < 0 ? "" : " " + Math.round(s.climate.humidity) + " %") : "");
  put($("lamp"), s.lamp ? (lamps[s.lamp] || [s.lamp, s.lamp])[english ? 1 : 0] : "");
  $("sim").hidden = !s.sim;
}

function filled() {
  const f = $("details").elements;
  const list = f.officers.value.split(/[;；\n]/).map((x) => x.trim()).filter(Boolean);
  const m = f.matter.value.trim();
  const old = state?.session?.matter;
  const body = {
    case: f.case.value.trim(),
    matter: picked.matter?.name === m ? picked.matter : old && typeof old === "object" && matter(old) === m ? old : m,
    officers: list,
    flags: ["drill", "minor", "secret"].filter((x) => f[x].checked),
  };
  if (picked.booking) body.booking = picked.booking;
  if (picked.body && !state?.session) body.body = picked.body;
  if (picked.continues && !state?.session) body.continues = picked.continues;
  return body;
}

/** @param {string} path @param {any} body @param {string} done what to say when it worked */
async function command(path, body, done) {
  try {
    const answer = await (await ask(path, body)).json();
    toast(done, true);
    return answer;
  } catch (err) {
    toast(err.message);
    return null;
  }
}

async function start() {
  $("start").disabled = true; // until the next state tells
  const body = filled();
  dirty = false;
  const s = await command("/session", body, t("已开始录制", "Recording"));
  if (s && s.failed.length) toast(t("已开始录制；检查发现：", "Recording; the check found: ") + s.failed.map((i) => say(i.text)).join("；"));
  if (!s && state) buttons(state);
}

const stop = (reason = "") => command("/session/stop", { reason }, t("即将结束，随后封存", "Ending; then it is sealed"));

$("start").addEventListener("click", start);
$("resume").addEventListener("click", () => command("/session/resume", {}, t("继续录制", "Recording again")));
$("mark").addEventListener("click", async () => {
  const text = $("marktext");
  if (await command("/session/mark", { text: text.value.trim() }, t("已标记", "Marked"))) text.value = "";
});
$("marktext").addEventListener("keydown", (e) => { if (e.key === "Enter" && !e.isComposing) $("mark").click(); });

$("tell")?.addEventListener("submit", async (e) => {
  e.preventDefault();
  const text = $("tell").elements.text;
  if (text.value.trim() && (await command("/session/prompt", { text: text.value.trim() }, t("已提示", "Said")))) text.value = "";
});

$("pause").addEventListener("click", () => {
  $("whytext").value = "";
  $("why").returnValue = "";
  $("whysay").hidden = true;
  $("why").showModal();
});
$("why").querySelector("form").addEventListener("submit", (e) => {
  if (e.submitter?.value !== "*" || $("whytext").value.trim()) return;
  e.preventDefault(); // the dialog stays until there is a reason
  $("whysay").hidden = false;
  $("whytext").focus();
});
$("whytext").addEventListener("input", () => ($("whysay").hidden = true));
$("why").addEventListener("close", () => {
  let reason = $("why").returnValue;
  if (reason === "*") reason = $("whytext").value.trim();
  if (reason) command("/session/pause", { reason }, t("已暂停", "Paused"));
});

hold($("stop"), 2000, () => stop(), () => {
  $("sure").returnValue = "";
  $("sure").showModal();
});
$("sure").addEventListener("close", () => {
  if ($("sure").returnValue) stop($("sure").returnValue === "yes" ? "" : $("sure").returnValue);
});

$("details").addEventListener("input", () => { dirty = true; if (state) details(state, state); });
$("details").addEventListener("submit", async (e) => {
  e.preventDefault();
  if (!state?.session) return;
  if (await command("/session/details", filled(), t("已保存", "Saved"))) {
    dirty = false;
    $("save").disabled = true;
  }
});

function watch() {
  const source = new EventSource("/api/v1/events");
  let last = Date.now();
  const online = (yes) => {
    if ($("offline").hidden === yes) return;
    $("offline").hidden = yes;
    if (yes) return;
    $("bar").dataset.state = "connecting";
    put($("word"), words.connecting[english ? 1 : 0]);
    put($("word2"), words.connecting[english ? 0 : 1]);
    for (const b of document.querySelectorAll("#agenda button")) b.disabled = true;
    for (const id of ["start", "pause", "resume", "mark", "stop"]) $(id).disabled = true;
  };
  source.addEventListener("state", (e) => {
    last = Date.now();
    online(true);
    $("resume").disabled = false;
    show(JSON.parse(e.data));
  });
  source.addEventListener("logout", () => location.reload());
  source.addEventListener("error", () => {
    online(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000); // refused: the page says why
  });
  setInterval(() => { if (Date.now() - last > 5000) online(false); }, 1000); // a dead network makes no error
}
watch();
