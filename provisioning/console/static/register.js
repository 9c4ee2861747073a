// The auditor's question: who looked, and what was not recorded?
import { $, ask, el, put, steady, t, when } from "./common.js";

const acts = {
  watch: ["观看实时", "watched live"], view: ["查看", "looked at"], play: ["播放", "played"], verify: ["核验", "verified"], download: ["下载", "downloaded"],
  export: ["导出整套", "took it whole"], copy: ["为当事人复制", "copied for a party"], "grant.asked": ["申请", "asked"], "grant.given": ["批准", "gave leave"],
  "grant.refused": ["未批准", "refused"], "grant.ended": ["收回", "took back"], "grant.handed": ["交付复制件", "handed the copy over"],
};
const content = ["play", "download", "export", "copy"];
const form = $("filter");
const two = (n) => String(n).padStart(2, "0");

const wanted = () => {
  const w = new URLSearchParams();
  for (const f of ["from", "until", "body", "who", "text"]) if (form.elements[f].value.trim()) w.set(f, form.elements[f].value.trim());
  if (form.elements.looks.checked) w.set("looks", "true");
  return w;
};

function row(l) {
  const bare = content.includes(l.action) && !l.purpose;
  const purpose = [l.purpose, l.for ? t("为 ", "for ") + `${l.for.name}（${l.for.capacity}，${l.for.document}）` : "", l.why].filter(Boolean).join(" · ");
  const leave = l.rule === "own" ? t("说明事由", "stated purpose") : l.by || (content.includes(l.action) ? t("按角色", "by role") : "");
  return el("tr", { "data-bare": bare || null },
    el("td", { class: "n" }, when(l.at)), el("td", {}, l.room), el("td", {}, l.who), el("td", {}, acts[l.action] ? t(...acts[l.action]) : l.action, l.channel ? " " + l.channel : ""),
    el("td", {}, [l.case, l.session].filter(Boolean).join(" · ")), el("td", {}, purpose || (bare ? t("未说明事由", "no purpose stated") : "")), el("td", {}, leave));
}

let next = 0;
async function load(older) {
  const w = wanted();
  $("csv").href = "/api/v1/register/export?" + w;
  const asked = w.toString();
  if (older) w.set("before", String(next));
  const a = await ask("/register?" + w).catch((e) => {
    put($("toast"), e.message);
    $("toast").hidden = false;
    throw e;
  });
  if (asked !== wanted().toString()) return list();
  $("toast").hidden = true;
  const body = document.querySelector("#looks tbody");
  if (!older) body.replaceChildren();
  body.append(...a.looks.map(row));
  next = a.next;
  $("more").hidden = !next;
  $("empty").hidden = body.children.length > 0;
  put($("count"), t(`${body.children.length} 条`, `${body.children.length} lines`));
  if (older) return;
  const u = new URLSearchParams(wanted());
  for (const k of ["who", "text", "looks"]) u.delete(k);
  const { unrecorded } = await ask("/unrecorded?" + u);
  $("unrecorded").replaceChildren(...unrecorded.map((x) => el("li", {}, [when(x.t), x.room, x.body, x.case, x.reason, x.who].filter(Boolean).join(" · "))));
  $("nounrecorded").hidden = unrecorded.length > 0;
  put($("uncount"), t(`${unrecorded.length} 次`, `${unrecorded.length}`));
}
const list = steady(() => load(false), 300);

const now = new Date();
const quarter = Math.floor(now.getMonth() / 3) + 1;
for (let y = now.getFullYear(); y >= now.getFullYear() - 2; y--)
  for (let q = 4; q >= 1; q--) $("quarter").append(el("option", { value: `${y}-${q}`, selected: y === now.getFullYear() && q === quarter }, t(`${y} 年第${"一二三四"[q - 1]}季度`, `${y} Q${q}`)));
function take() {
  const [y, q] = $("quarter").value.split("-").map(Number);
  form.elements.from.value = `${y}-${two(3 * q - 2)}-01`;
  form.elements.until.value = `${y}-${two(3 * q)}-${q === 1 || q === 4 ? 31 : 30}`;
}
$("quarter").addEventListener("change", () => {
  take();
  list();
});
form.addEventListener("input", (e) => e.target.id !== "quarter" && list());
form.addEventListener("submit", (e) => e.preventDefault());
$("more").addEventListener("click", () => load(true));
take();
const { bodies } = await ask("/sessions/bodies");
form.elements.body.append(...bodies.map((b) => el("option", { value: b.key }, b.name)));
list();
