import { $, ask, el, english, length, put, sessionState, t, when } from "./common.js";

const id = decodeURIComponent(location.pathname.split("/").pop());

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

function toast(text) {
  put($("toast"), text || "");
  $("toast").hidden = !text;
}

const points = (r, s) => el("ul", { class: "rows" }, ...r.items.map((it) => el("li", {}, english ? it.en : it.zh, " ", el("b", {}, it.id in s.points ? `${s.points[it.id]} / ${it.max}` : t("不适用", "does not apply")))), s.note ? el("li", {}, t("意见：", "Note: ") + s.note) : null);

/** The sheet of one session: a number for each item, empty where it does not apply. */
function sheet(r, e) {
  const f = el("form", { class: "sheet" }, ...r.items.map((it) => el("label", {}, el("span", {}, `${english ? it.en : it.zh}（${it.max}）`), el("input", { type: "number", name: it.id, min: 0, max: it.max, step: 1, title: it.hint || null }))),
    el("label", { class: "wide" }, el("span", {}, t("意见", "Note")), el("textarea", { name: "note", maxlength: 2000, rows: 2 })), el("button", { class: "strong" }, t("保存评分", "Keep the score")));
  f.addEventListener("submit", async (x) => {
    x.preventDefault();
    const given = {};
    for (const it of r.items) if (f.elements[it.id].value !== "") given[it.id] = Number(f.elements[it.id].value);
    toast();
    await ask(`/reviews/${id}/scores`, { device: e.device, session: e.session, points: given, note: f.elements.note.value }).then(show).catch((err) => toast(err.message));
  });
  return f;
}

function entry(a, e, i) {
  const r = a.review;
  const s = a.sessions[e.device + " " + e.session];
  const last = e.scores[e.scores.length - 1];
  return el("li", { "data-session": e.session, "data-class": last ? (last.total < 60 ? "fail" : "pass") : null },
    el("h2", {}, `${i + 1}. `, s?.case || t("案号未填", "no case number"), last ? el("span", { class: "chip" }, t(`${last.total} 分`, `${last.total} of 100`)) : el("span", { class: "badge" }, t("未评", "not scored"))),
    el("p", {}, s ? el("span", {}, when(s.opened), " ", [length(s.media_ms), s.matter, s.room, s.body, s.officers.map((o) => o.name).join(t("、", ", "))].filter(Boolean).join(" · "), " ", sessionState(s)) : null, " ", el("code", {}, e.session)),
    ...e.scores.map((x) => el("details", {}, el("summary", {}, t(`${x.by} ${x.total} 分`, `${x.by}: ${x.total}`), " ", when(x.at)), points(r, x))),
    el("details", {}, el("summary", {}, last ? t("重新评分", "Score again") : t("评分", "Score")), sheet(r, e)));
}

function show(a) {
  const r = a.review;
  const scored = r.sample.filter((e) => e.scores.length);
  const mean = scored.reduce((n, e) => n + e.scores[e.scores.length - 1].total, 0) / (scored.length || 1);
  const day = (x, less = 0) => { const d = new Date(x); d.setDate(d.getDate() - less); return d.toLocaleDateString("sv"); };
  $("facts").replaceChildren(fact(t("单位", "Body"), a.body || t("全部", "all")), fact(t("期间", "Time"), `${day(r.from)} – ${day(r.until, 1)}`), fact(t("种子", "Seed"), el("code", { id: "seed" }, r.seed)), fact(t("抽取", "Drawn"), t(`${r.of} 次中 ${r.sample.length} 次`, `${r.sample.length} of ${r.of}`)),
    fact(t("已评", "Scored"), el("span", { id: "scored" }, `${scored.length} / ${r.sample.length}`)), fact(t("平均分", "Mean"), el("span", { id: "mean" }, scored.length ? mean.toFixed(1) : "–")), fact(t("抽取人", "By"), r.by));
  put($("proof"), t(`复核：对每个会话算 SHA-256（种子、换行、设备、换行、会话号），取最小的 ${r.sample.length} 个。抽取范围的摘要 ${r.digest}。`, `To draw again: the SHA-256 of seed, line feed, device, line feed, session for each session; the ${r.sample.length} smallest. Digest of what it was drawn from: ${r.digest}.`));
  $("sample").replaceChildren(...r.sample.map((e, i) => entry(a, e, i)));
}

await ask("/reviews/" + encodeURIComponent(id)).then(show).catch((e) => toast(e.message));
