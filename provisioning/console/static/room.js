import { $, ask, does, el, english, event, put, say, standing, steady, t, verdict, watch, when, why } from "./common.js";

const device = document.body.dataset.device;
const form = $("filter");
let last = null;

const kinds = { law: ["法律", "law"], national: ["国家标准", "national standard"], judicial: ["司法规定", "judicial rule"], police: ["公安规定", "police rule"], city: ["市级规定", "city rule"], county: ["县级规定", "county rule"], industry: ["行业标准", "industry standard"], vendor: ["厂商惯例", "vendors' practice"] };

/** A rule that binds, and our own number, must not look alike. */
function basis(it) {
  if (it.basis === "default") return el("span", { class: "basis default" }, t("本系统默认", "our default"));
  return el("span", { class: "basis rule" }, t(...(kinds[it.basis] || [it.basis, it.basis])));
}

const shown = (v) => (v === null || v === undefined ? "–" : v === true ? t("是", "yes") : v === false ? t("否", "no") : typeof v === "number" ? String(Math.round(v * 1000) / 1000) : v);
const units = { copies: "份", views: "路", ratio: "", rooms: "间", sets: "套", sessions: "次", grade: "级", "frame/s": "帧/秒", "sets/officer": "套/人", h: "小时", d: "天" };
const unit = (u) => (english || !(u in units) ? u : units[u]);
const verdictOf = (it) => (it.verdict === "fail" && it.severity !== "must" ? "advice" : it.verdict);
const order = { fail: 0, advice: 1, unknown: 2, pass: 3, "not-applicable": 4 };

function row(it) {
  const v = verdictOf(it);
  const help = last.do[it.item + " " + it.subject];
  return el("tr", { "data-verdict": v }, el("td", {}, verdict(v), el("div", {}, el("small", {}, t("自 ", "since ")), when(it.since))), el("td", {}, el("b", {}, say(it)), el("br"), el("small", {}, [it.item, it.subject].filter(Boolean).join(" · "))),
    el("td", { class: "n", "data-l": t("实测", "value") }, shown(it.value) + (it.value !== null && typeof it.value === "number" && it.unit ? " " + unit(it.unit) : "")), el("td", { class: "n", "data-l": t("限值", "limit") }, (it.limit || "–") + (it.limit && it.unit ? " " + unit(it.unit) : "")),
    el("td", {}, basis(it), " ", it.clause || "", it.seen === "memory" ? el("small", {}, t("（原文待核）", " (wording to be checked)")) : null),
    el("td", {}, say(it.why), help ? el("div", { class: "do" }, say(help)) : null));
}

function items() {
  const all = last.compliance ? last.compliance.items : [];
  const show = form.elements.show.value;
  const is = { fail: (i) => i.verdict === "fail", unknown: (i) => i.verdict === "unknown" };
  const some = all.filter(is[show] || (() => true)).sort((a, b) => order[verdictOf(a)] - order[verdictOf(b)]);
  document.querySelector("#items tbody").replaceChildren(...some.map(row));
  for (const [k, n] of [["all", all.length], ["fail", all.filter(is.fail).length], ["unknown", all.filter(is.unknown).length]]) put(form.querySelector(`[data-n=${k}]`), n);
  $("empty").hidden = some.length > 0;
  put($("empty"), all.length ? t("没有这样的检查项。", "No item of this kind.") : t("此房间尚未上报检查结果。", "This room has not reported its checks yet."));
  const c = last.compliance;
  put($("profile"), c ? t(`检查标准 ${c.profile.zh || c.profile.id} ${c.profile.version}`, `Judged by ${c.profile.en || c.profile.id} ${c.profile.version}`) : "");
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

const load = steady(async () => {
  let r;
  try {
    r = await ask("/rooms/" + encodeURIComponent(device));
  } catch (e) {
    $("gone").hidden = false;
    return put($("gone"), e.message);
  }
  last = r;
  put($("title"), r.room);
  $("class").replaceChildren(standing(r.class));
  $("facts").replaceChildren(fact(t("单位", "Body"), r.body || "–"), fact(t("设备", "Device"), r.device), fact(t("正在", "Does"), does(r)), fact(t("自", "Since"), when(r.since)), fact(t("最后上报", "Last heard"), r.never ? t("从未", "never") : when(r.heard)),
    fact(t("版本", "Version"), r.version || "–"), fact(t("缺号", "Missing numbers"), r.missing), fact(t("拒收", "Refused"), r.refused));
  const refused = r.refusals.find((x) => x.why === "cert" && (r.never || Date.parse(x.last) > Date.parse(r.heard)));
  $("gone").hidden = r.class !== "silent" && !refused;
  if (refused)
    put($("gone"), t(`管理端拒绝此房间：${why("cert", refused.detail)}。以下为最后上报的内容，不代表现状；房间照常录制。`, `The office refuses this room: ${why("cert", refused.detail)}. What follows is its last report, not how it is now; the room records on.`));
  else if (r.class === "silent") put($("gone"), t("此房间已失联：以下为最后上报的内容，不代表现状。请检查该房间的网络和电源。", "This room is silent: what follows is its last report, not how it is now. Check its network and power."));
  $("roomalarms").replaceChildren(...r.alarms.map((a) => el("li", { "data-class": "alarm" }, el("b", {}, "⚠ " + say(a)), " ", when(a.since), el("span", { class: "do" }, t(a.do_zh, a.do_en)))));
  items();
  const problems = r.holes.map((h) => el("li", {}, t(`缺 № ${h.from} 至 ${h.to}`, `№ ${h.from} to ${h.to} missing`), h.lost ? t("，未补到 ", ", never came ") : t("，正在等待补发 ", ", waited for "), when(h.since)))
    .concat(r.refusals.map((x) => el("li", {}, el("b", {}, why(x.why, x.detail) + " × " + x.n), " ", when(x.last), " ", el("small", {}, x.detail))));
  $("problems").replaceChildren(...(problems.length ? problems : [el("li", { class: "muted" }, t("没有。", "None."))]));
  const e = await ask("/events?limit=20&device=" + encodeURIComponent(device));
  $("events").className = "events one";
  $("events").replaceChildren(...(e.events.length ? e.events.flatMap((x) => event(x, true)) : [el("li", { class: "muted" }, t("还没有事件。", "No event yet."))]));
}, 400);

form.addEventListener("change", () => last && items());
watch((u) => (u.resync || u.rooms.some((r) => r.device === device)) && load());
