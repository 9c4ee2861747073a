// Who looked at what, why, by whose leave.
import { $, el, get, put, t, toast, utc, when } from "./common.js";

const acts = {
  watch: ["观看实时", "watched live"], view: ["查看", "looked at"], play: ["播放", "played"], verify: ["核验", "verified"], download: ["下载", "downloaded"],
  export: ["导出整套", "took it whole"], copy: ["为当事人复制", "copied for a party"], "grant.asked": ["申请", "asked"], "grant.given": ["批准", "gave leave"],
  "grant.refused": ["未批准", "refused"], "grant.ended": ["收回", "took back"], "grant.handed": ["交付复制件", "handed the copy over"],
};
const content = ["play", "download", "export", "copy"];
const form = $("filter");

function params() {
  const p = new URLSearchParams();
  for (const n of ["who", "case", "text"]) if (form.elements[n].value.trim()) p.set(n, form.elements[n].value.trim());
  if (form.elements.from.value) p.set("from", new Date(form.elements.from.value + "T00:00:00").toISOString());
  if (form.elements.until.value) {
    const d = new Date(form.elements.until.value + "T00:00:00");
    d.setDate(d.getDate() + 1);
    p.set("until", d.toISOString());
  }
  return p;
}

function row(l) {
  const purpose = [l.purpose, l.for ? t("为 ", "for ") + `${l.for.name}（${l.for.capacity}，${l.for.document}）` : "", l.why].filter(Boolean).join(" · ");
  const bare = content.includes(l.action) && !l.purpose;
  const leave = l.rule === "own" ? t("说明事由", "stated purpose") : l.by || (content.includes(l.action) ? t("按角色", "by role") : "");
  return el("tr", bare ? { "data-verdict": "fail" } : {},
    el("td", { title: utc(l.at) }, when(l.at)), el("td", {}, l.who), el("td", {}, acts[l.action] ? t(...acts[l.action]) : l.action, l.channel ? ` ${l.channel}` : ""),
    el("td", {}, el("a", { href: "/sessions/" + encodeURIComponent(l.session || "") }, l.session || ""), l.case ? el("div", { class: "small" }, l.case) : null),
    el("td", {}, purpose || (bare ? t("未说明事由", "no purpose stated") : "")), el("td", {}, leave));
}

let last = "";
async function load(older) {
  const p = params();
  $("csv").href = "/api/v1/access/register?format=csv&" + p;
  if (older && last) p.set("until", last);
  try {
    const r = await get("/access/register?" + p);
    const rows = r.looks.map(row);
    if (older) $("looks").append(...rows);
    else $("looks").replaceChildren(...rows);
    if (r.looks.length) last = r.looks[r.looks.length - 1].at;
    $("more").hidden = !r.more;
    const n = $("looks").children.length;
    put($("count"), n ? t(`${n} 条${r.more ? "，还有更早的" : ""}`, `${n} lines${r.more ? ", and older ones" : ""}`) : t("此范围内没有调阅。", "Nobody looked in this time."));
  } catch (err) {
    toast(err.message);
  }
}

const year = new Date().getFullYear();
for (const y of [year, year - 1])
  for (let q = 4; q >= 1; q--) $("quarter").append(el("option", { value: `${y}-${q}` }, t(`${y} 年第${"一二三四"[q - 1]}季度`, `${y} Q${q}`)));
$("quarter").addEventListener("change", () => {
  const [y, q] = $("quarter").value.split("-").map(Number);
  if (!y) return;
  const two = (n) => String(n).padStart(2, "0");
  form.elements.from.value = `${y}-${two(3 * q - 2)}-01`;
  form.elements.until.value = `${y}-${two(3 * q)}-${q === 1 || q === 4 ? 31 : 30}`;
  load(false);
});
form.addEventListener("submit", (e) => {
  e.preventDefault();
  load(false);
});
$("more").addEventListener("click", () => load(true));
load(false);
