// What all pages share: two languages, requests, the stream of changes, time as people write it.

export const english = document.documentElement.lang === "en";

/** @param {string} zh @param {string} en */
export const t = (zh, en) => (english ? en : zh);

/** @param {{zh: string, en: string} | null | undefined} text */
export const say = (text) => (text ? t(text.zh, text.en) : "");

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/** @param {string} name @param {Record<string, any>} [attrs] @param {...any} inside @returns {any} */
export function el(name, attrs = {}, ...inside) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attrs)) if (v !== undefined && v !== null && v !== false) e.setAttribute(k, v === true ? "" : String(v));
  e.append(...inside.filter((x) => x !== null && x !== undefined && x !== false));
  return e;
}

/** Sets text only when it changes: live regions stay quiet. */
export function put(e, text) {
  if (e.textContent !== String(text)) e.textContent = String(text);
}

/** @param {string} path below /api/v1 @param {any} [body] undefined: GET */
export async function ask(path, body) {
  const init = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let r;
  try {
    r = await fetch("/api/v1" + path, init);
  } catch {
    throw new Error(t("管理端没有回应。请检查网络后重试。", "The office does not answer. Check the network and try again."));
  }
  const answer = await r.json().catch(() => null);
  if (r.status === 401 && path !== "/login") location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
  if (!r.ok) throw Object.assign(new Error(answer && answer.error ? say(answer.error) : r.statusText), { status: r.status });
  return answer;
}

const two = (n) => String(n).padStart(2, "0");

/** 2026-11-23 14:05:09, local, with UTC on hover @param {string} rfc3339 */
export function when(rfc3339) {
  if (!rfc3339) return el("span", { class: "muted" }, "–");
  const d = new Date(rfc3339);
  const text = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return el("time", { datetime: rfc3339, title: d.toISOString().replace(/\.\d+/, "") + " UTC" }, text);
}

/** 1:02:33 @param {number} ms */
export function length(ms) {
  const s = Math.round((ms || 0) / 1000);
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

const sessionStates = { recording: ["录制中", "recording"], paused: ["已暂停", "paused"], sealed: ["已封存", "sealed"], recovered: ["修复后封存", "recovered"], destroyed: ["已销毁", "destroyed"] };

/** Where a session stands: state, and what else a person should see. */
export function sessionState(s) {
  const more = [s.drill && t("演练", "drill"), s.flags.includes("secret") && t("涉密", "secret"), s.flags.includes("minor") && t("未成年人", "minor"), s.held && t("暂缓销毁", "held"), s.archived && t("已归档", "archived"), s.continues && t("接续", "continues another")].filter(Boolean);
  return el("span", {}, t(...(sessionStates[s.state] || [s.state, s.state])), more.length ? el("small", {}, " " + more.join(" · ")) : null);
}

const classes = { fail: ["不合格", "fail"], silent: ["失联", "silent"], partial: ["未查全", "not all judged"], pass: ["合格", "pass"] };
const verdicts = { fail: ["不合格", "fail"], advice: ["建议整改", "advice"], unknown: ["未知", "unknown"], pass: ["合格", "pass"], "not-applicable": ["不适用", "not applicable"] };
const marks = {
  fail: "M5 5l14 14M19 5L5 19", advice: "M12 4v11M12 19v.6", silent: "M3 12a9 9 0 1 0 18 0a9 9 0 1 0 -18 0M6 12h12", partial: "M8 8a4 4 0 1 1 5.5 4c-1 .6-1.5 1.2-1.5 2.6M12 18.5v.6",
  unknown: "M8 8a4 4 0 1 1 5.5 4c-1 .6-1.5 1.2-1.5 2.6M12 18.5v.6", pass: "M4 13l5 5L20 6", "not-applicable": "M6 12h12",
};

function mark(path) {
  const s = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  s.setAttribute("viewBox", "0 0 24 24");
  s.setAttribute("class", "mark");
  s.setAttribute("aria-hidden", "true");
  const p = document.createElementNS("http://www.w3.org/2000/svg", "path");
  p.setAttribute("d", path);
  s.append(p);
  return s;
}

/** Word, shape and colour of how a room stands. */
export const standing = (c) => el("span", { class: "chip", "data-class": c }, mark(marks[c]), t(...classes[c]));
export const verdict = (v) => el("span", { class: "chip", "data-verdict": v }, mark(marks[v]), t(...verdicts[v]));

const doing = { idle: ["待机", "idle"], recording: ["录制中", "recording"], paused: ["已暂停", "paused"], postroll: ["续录", "post-roll"], sealing: ["封存中", "sealing"], fault: ["故障", "fault"], connecting: ["连接中", "connecting"] };

/** What a room does; a silent one did it last. */
export function does(r) {
  if (!r.state) return el("span", { class: "muted" }, t("未知", "unknown"));
  const word = t(...(doing[r.state] || [r.state, r.state]));
  if (r.class === "silent") return el("span", { class: "muted" }, t("最后：", "last: ") + word);
  return el("span", { class: r.recording ? "recording" : "" }, (r.recording ? "● " : "") + word);
}

export const fails = (r) => el("ul", { class: "fails" }, ...r.failed.map((f) => el("li", { "data-severity": f.severity, title: f.item }, say(f) + (f.subject ? " · " + f.subject : ""))));

const whys = {
  malformed: ["格式不符", "malformed"], foreign: ["冒用其他设备", "another device's"], newer: ["版本更新，请升级管理端", "newer version: update the office"], number: ["编号不可信", "impossible number"],
  oversized: ["超长", "oversized"], login: ["口令错误或未登记", "wrong password, or not registered"], held: ["失败过多被暂缓，最长 15 分钟", "held off after failures, for up to 15 minutes"], "no-login": ["连接后未登录，多为 TLS 证书或 mqtt:// 与 mqtts:// 不符", "never logged in: mostly a certificate the room does not trust, or mqtt:// for mqtts://"], "client-id": ["客户端标识不是设备名", "client id is not the device"],
  will: ["遗嘱主题不符", "Will for another topic"], subscribe: ["订阅越权", "subscription not allowed"], protocol: ["协议错误", "protocol error"],
  cert: ["证书被拒绝（未登记、已吊销、已过期或名称不符）", "certificate refused: not enrolled, revoked, expired or misnamed"],
  "enrol-code.unknown": ["登记码无效", "no such enrolment code"], "enrol-code.used": ["登记码已用过", "enrolment code used before"], "enrol-code.expired": ["登记码已过期", "enrolment code expired"],
  "enrol-code.revoked": ["登记码已随证书吊销作废", "enrolment code died with a revocation"], "enrol-authority.damaged": ["管理端 CA 日志损坏，未签发", "the authority's log is damaged: nothing issued"],
  "enrol-name": ["登记名称不符", "enrolment under another name"], "enrol-name.enrolled": ["该名称已登记，未用 --replace", "name enrolled already, without --replace"], "enrol-device": ["设备密钥已用于另一设备", "device key of another device"],
  "enrol-request": ["登记请求无效", "bad enrolment request"], "enrol-held": ["登记失败过多被暂缓", "enrolment held off after failures"], "enrol-busy": ["登记请求过多", "too many enrolments at once"],
  "enrol-revoked": ["证书或密钥已吊销", "certificate or key revoked"], "enrol-expired": ["证书已过期", "certificate expired"], "enrol-notenrolled": ["证书不是本管理端签发", "certificate of another office"], "enrol-misnamed": ["证书用途或名称不符", "certificate of another use or name"],
};
const standings = {
  revoked: ["证书已被吊销", "certificate revoked"], notenrolled: ["没有本管理端签发的证书", "no certificate of this office"], expired: ["证书已过期", "certificate expired"], misnamed: ["证书用途或名称不符", "certificate of another use or name"],
};
const reasons = {
  "key compromised": ["密钥泄露", "key compromised"], "out of service": ["停止使用", "out of service"], "replaced device": ["已由新设备取代", "replaced by another device"], unspecified: ["未注明原因", "no reason given"],
};

/** Why something was refused; of a certificate, how it stands and for what reason, which its detail begins with. */
export function why(w, detail) {
  const [, stands, reason] = (w === "cert" && /^(\w+)(?:: ([^()]*[^() ]))?(?: \(|$)/.exec(detail)) || [];
  if (!standings[stands]) return t(...(whys[w] || [w, w]));
  return t(...standings[stands]) + (reason ? t("：", ": ") + (reasons[reason] ? t(...reasons[reason]) : reason) : "");
}

const types = {
  "session.opened": ["会话开始", "session opened"], "session.paused": ["会话暂停", "session paused"], "session.resumed": ["会话继续", "session resumed"], "session.sealed": ["会话封存", "session sealed"],
  "session.recovered": ["会话修复并封存", "session recovered"], "session.amended": ["会话补正", "session amended"], "session.not-recorded": ["未录制", "not recorded"], "session.commanded": ["指令已执行", "command carried out"], "alarm.raised": ["告警", "alarm"], "alarm.cleared": ["告警解除", "alarm cleared"], checkpoint: ["台账检查点", "ledger checkpoint"], "command.refused": ["指令被拒绝", "command refused"],
};

function details(e) {
  const b = e.body || {};
  if (e.type.startsWith("alarm.") || e.type === "command.refused") return say(b);
  if (e.type === "checkpoint") return t(`第 ${b.size} 条`, `entry ${b.size}`);
  return [b.session, b.case, b.reason, b.who, b.copies ? t(`${b.copies} 份`, `${b.copies} copies`) : ""].filter(Boolean).join(" · ");
}

/** One event and, before it in time, the hole that ends at it. */
export function event(e, one = false) {
  const rows = [el("li", {}, when(e.t), !one && el("a", { href: "/rooms/" + e.device }, e.device), el("span", {}, el("b", {}, t(...(types[e.type] || [e.type, e.type]))), " ", details(e)),
    el("span", { class: "n", title: e.outbox }, "№ " + e.n))];
  if (e.missing_before) rows.push(el("li", { class: "hole" }, t(`缺 ${e.missing_before} 条：№ ${e.n - e.missing_before} 至 ${e.n - 1}（${e.device}）`, `${e.missing_before} missing: № ${e.n - e.missing_before} to ${e.n - 1} (${e.device})`)));
  return rows;
}

/** Calls on(update) for each change, and says when the office is away. */
export function watch(on) {
  const s = new EventSource("/api/v1/stream");
  s.addEventListener("open", () => ($("offline").hidden = true));
  s.addEventListener("error", () => ($("offline").hidden = false));
  s.addEventListener("logout", () => location.reload());
  s.addEventListener("update", (e) => {
    const u = JSON.parse(e.data);
    $("trouble").hidden = !u.trouble;
    put($("trouble"), u.trouble ? t("数据库无法写入，设备将保留并重发：", "The database cannot be written; devices keep and resend: ") + u.trouble : "");
    on(u);
  });
}

/** Runs f now, and again at most every ms when asked; one at a time. */
export function steady(f, ms) {
  let due = null, running = false, again = false;
  const run = async () => {
    due = null;
    if (running) return void (again = true);
    running = true;
    await f().catch((e) => console.warn(e.message));
    running = false;
    if (again) { again = false; ask(); }
  };
  const ask = () => (due ??= setTimeout(run, ms));
  run();
  return ask;
}

$("lang")?.addEventListener("click", (e) => {
  document.cookie = `lang=${e.currentTarget.dataset.lang === "en" ? "en" : "zh"}; path=/; max-age=31536000; samesite=strict`;
  location.reload();
});
$("logout")?.addEventListener("click", async () => {
  await ask("/logout", {}).catch(() => {});
  location.assign("/login");
});
