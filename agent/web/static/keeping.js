// How sessions are archived, held, kept and destroyed.
import { $, ask, el, get, put, size, t, toast, utc, when } from "./common.js";

const { name: me, hold: mayHold, free: mayFree, appraise: mayAppraise } = document.body.dataset;
const whys = {
  "in-use": ["正在使用", "in use"], held: ["已冻结", "held"], clock: ["时钟不可信，暂不删除", "the clock cannot be believed: nothing is deleted"],
  "no-receipt": ["尚无归档回执", "no receipt of the archive"], local: ["未满本机保存期", "too young to leave"], space: ["空间充足，留在本机", "there is room: it stays"],
  until: ["在清单中，期限未满", "on a list, its term is not over"], permanent: ["永久保存", "kept for ever"], case: ["在清单中，案件期限未知", "on a list, and nobody knows until when its case is kept"],
};
const problems = {
  full: ["归档存储已满", "the archive is full"], credentials: ["登录或写入被拒绝", "login or writing was refused"], digest: ["读回的内容不符", "other bytes came back"], clock: ["对方认为本机时钟不对", "it says that this clock is wrong"],
  slow: ["长时间不接收数据", "it takes nothing any more"], source: ["有会话的副本与签名不符", "no copy of a session is what was signed"], unreachable: ["无法连接", "it cannot be reached"],
};
const idles = { window: ["在归档时段内继续", "goes on in the hours for it"], busy: ["正在录制，结束后继续", "waits for the recording to end"], retry: ["稍后重试", "is tried again"] };
const word = (table, key) => (table[key] ? t(...table[key]) : key);
const picked = new Set();

/** A reason, and perhaps a case; null when it was put away. */
function askWhy(title, withCase) {
  const d = $("reason");
  put($("h-reason"), title);
  $("caselabel").hidden = !withCase;
  $("case").required = !!withCase;
  $("why").value = $("case").value = "";
  d.returnValue = "";
  d.showModal();
  (withCase ? $("case") : $("why")).focus();
  return new Promise((done) => d.addEventListener("close", () => done(d.returnValue === "ok" ? { reason: $("why").value, case: $("case").value } : null), { once: true }));
}
$("reasoncancel").addEventListener("click", () => $("reason").close());

async function change(path, body, said) {
  try {
    await ask(path, body);
    toast(said, true);
    put($("live"), said);
  } catch (err) {
    toast(err.message);
  }
  await load();
}

const button = (label, onclick, strong) => el("button", { type: "button", class: strong ? "strong" : "", onclick }, label);

function archive(a) {
  if (!a.configured) return put($("archive"), t("没有配置归档：会话只在本机。", "No archive is configured: sessions are on this device alone."));
  const parts = [a.where, a.waiting ? t(`${a.waiting} 个会话待归档`, `${a.waiting} sessions wait`) : t("全部已归档", "everything is archived")];
  if (a.oldest) parts.push(t("最早的自 ", "the oldest since ") + when(a.oldest));
  if (a.session) parts.push(t("正在送 ", "sending ") + `${a.session} ${a.file} ${size(a.done_bytes)} / ${size(a.total_bytes)}`);
  else if (a.idle) parts.push(word(idles, a.idle));
  if (a.problem) parts.push("⚠ " + word(problems, a.problem));
  put($("archive"), parts.join(" · "));
  $("progress").hidden = !a.session;
  if (a.total_bytes) $("progress").value = a.done_bytes / a.total_bytes;
}

function list(a) {
  const path = "/keeping/appraisals/" + encodeURIComponent(a.id);
  const buttons = [];
  if (!a.final && mayAppraise) {
    if (!a.approved.includes(me)) buttons.push(button(t("批准并销毁", "Approve and destroy"), () => change(path, { give: true }, t("已批准", "Approved")), true));
    buttons.push(button(t("否决", "Refuse"), () => change(path, { give: false }, t("已否决", "Refused"))));
  }
  return el("li", {}, el("strong", {}, a.final ? t("已批准", "Approved") : t("等待另一人批准", "Waits for another person")), ` ${when(a.at)} · ${a.reason} · ${a.approved.join("、")}`,
    el("div", { class: "small" }, t(`${a.sessions.length} 个会话：`, "Sessions: ") + a.sessions.join(" ")), el("div", { class: "row" }, ...buttons));
}

function holdItem(h) {
  const over = h.released_by;
  return el("li", {}, el("strong", {}, over ? t("已解除", "Released") : t("冻结中", "Held")), ` ${h.case || h.session} · ${when(h.since)} · ${h.by} · ${h.reason}`,
    over ? el("div", { class: "small" }, `${when(h.released_at)} · ${h.released_by} · ${h.released_why}`) : null,
    el("div", { class: "row" }, !over && mayFree ? button(t("解除", "Release"), async () => {
      const r = await askWhy(t("解除冻结", "Release the hold"));
      if (r) change(`/keeping/holds/${encodeURIComponent(h.id)}/release`, { reason: r.reason }, t("已解除", "Released"));
    }) : null));
}

function until(s) {
  if (s.until === "permanent") return t("永久", "for ever");
  return s.until || t("随案卷，期限未知", "with its case, not known yet");
}

function row(s) {
  const gone = s.gone === "destroyed" ? t("已销毁，摘要留存", "destroyed, digests stay") : s.gone === "archive" ? t("只在归档中", "in the archive alone") : "";
  const pick = el("input", { type: "checkbox", "aria-label": s.id, onchange: (e) => {
    if (e.target.checked) picked.add(s.id);
    else picked.delete(s.id);
    $("propose").disabled = !picked.size;
  } });
  pick.checked = picked.has(s.id);
  return el("tr", {}, el("td", {}, s.due && mayAppraise && s.gone !== "destroyed" ? el("label", { class: "check" }, pick) : null),
    el("td", {}, s.gone === "destroyed" ? s.id : el("a", { href: "/sessions/" + encodeURIComponent(s.id) }, s.id), el("div", { class: "small" }, s.case)),
    el("td", {}, until(s), s.due ? el("div", { class: "small" }, t("期满", "its term is over")) : null),
    el("td", { title: utc(s.archived_at) }, s.archived_at ? "✓ " + when(s.archived_at) : "–"),
    el("td", {}, gone || (s.held ? "⏸ " : "") + word(whys, s.why), s.receipt ? el("div", { class: "small", title: s.receipt }, t("回执 ", "receipt ") + s.receipt.slice(0, 12)) : null),
    el("td", {}, mayHold && !s.held && s.gone !== "destroyed" ? button(t("冻结", "Hold"), async () => {
      const r = await askWhy(t("冻结此会话", "Hold this session"));
      if (r) change("/keeping/holds", { session: s.id, reason: r.reason }, t("已冻结", "Held"));
    }) : null));
}

async function load() {
  try {
    const k = await get("/keeping");
    archive(k.archive);
    $("lists").replaceChildren(...k.appraisals.map(list));
    $("nolists").hidden = k.appraisals.length > 0;
    $("holds").replaceChildren(...k.holds.map(holdItem));
    $("noholds").hidden = k.holds.length > 0;
    for (const id of picked) if (!k.sessions.some((s) => s.id === id && s.due)) picked.delete(id);
    $("sessions").replaceChildren(...k.sessions.map(row));
    $("propose").disabled = !picked.size;
  } catch (err) {
    toast(err.message);
  }
}

$("holdcase").hidden = !mayHold;
$("holdcase").addEventListener("click", async () => {
  const r = await askWhy(t("冻结一个案件", "Hold a case"), true);
  if (r) change("/keeping/holds", { case: r.case, reason: r.reason }, t("已冻结", "Held"));
});
$("propose").hidden = !mayAppraise;
$("propose").addEventListener("click", async () => {
  const r = await askWhy(t("提出销毁清单", "Propose for destruction"));
  if (r) change("/keeping/appraisals", { sessions: [...picked], reason: r.reason }, t("已提出，等待另一人批准", "Proposed: another person must approve"));
});
load();
setInterval(() => {
  if (!$("reason").open && !picked.size) load();
}, 3000);
