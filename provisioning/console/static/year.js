import { $, ask, el, put, steady, t, when } from "./common.js";

const form = $("filter");
const two = (n) => String(n).padStart(2, "0");
const hours = (ms) => (ms / 3600000).toFixed(1);

const q = new URLSearchParams(location.search);
const now = new Date();
form.elements.from.value = q.get("from") || `${now.getFullYear()}-01-01`;
form.elements.until.value = q.get("until") || `${now.getFullYear()}-12-31`;

function shortfall(a) {
  if (!a) return el("span", { class: "muted" }, t("未分类", "no class"));
  const basis = el("span", { class: a.basis === "default" ? "basis default" : "basis rule" }, a.clause);
  if (!a.need) return el("span", {}, a.officers ? t("按需配备", "as needed") : t("清单中没有持证人员", "no officer in the lists"), " ", basis);
  return el("span", {}, el("span", { class: "chip", "data-class": a.short ? "fail" : "pass" }, a.short ? t(`缺 ${a.short} 套`, `${a.short} short`) : t("已达标", "enough")), " ", basis);
}

const kinds = { interview: ["询问室", "an interview room"], hearing: ["听证室", "a hearing room"] };

function body(b) {
  const a = b.allocate;
  return el("tr", { "data-body": b.key },
    el("td", {}, el("b", {}, b.name || t("未注明单位", "no body named")), b.system ? el("small", {}, " " + b.system) : null, b.lacks.length && a ? el("div", {}, el("small", {}, t("没有可用的", "lacks ") + b.lacks.map((l) => t(...kinds[l])).join(t("、", ", ")))) : null),
    el("td", { class: "n", "data-l": t("会话", "sessions") }, el("a", { href: `/sessions?body=${encodeURIComponent(b.key)}&from=${form.elements.from.value}&until=${form.elements.until.value}` }, b.sessions)),
    el("td", { class: "n", "data-l": t("小时", "hours") }, hours(b.media_ms)), el("td", { class: "n", "data-l": t("未录制", "not recorded") }, b.unrecorded), el("td", { class: "n", "data-l": t("调阅", "looks") }, b.looks), el("td", { class: "n", "data-l": t("恢复", "recovered") }, b.recovered),
    el("td", { class: "n", "data-l": t("房间", "rooms") }, `${b.rooms}（${b.failing}/${b.silent}）`), el("td", { class: "n", "data-l": t("应配/现有", "need/has") }, a ? t(`${a.need} / ${a.sets} 套（${a.class} 类，持证 ${a.officers} 人）`, `${a.need} / ${a.sets} sets (class ${a.class}, ${a.officers} officers)`) : "–"),
    el("td", {}, shortfall(a)));
}

/** One bar; its length is an attribute of SVG, for the policy lets no style stand in the page. */
function bar(part) {
  const ns = "http://www.w3.org/2000/svg";
  const s = document.createElementNS(ns, "svg");
  s.setAttribute("viewBox", "0 0 100 10");
  s.setAttribute("preserveAspectRatio", "none");
  s.setAttribute("aria-hidden", "true");
  const r = document.createElementNS(ns, "rect");
  r.setAttribute("width", String(100 * part));
  r.setAttribute("height", "10");
  s.append(r);
  return s;
}

const show = steady(async () => {
  if (!form.checkValidity()) return;
  const w = `from=${form.elements.from.value}&until=${form.elements.until.value}`;
  history.replaceState(null, "", "/year?" + w);
  $("xlsx").href = "/api/v1/year/export?" + w;
  const [y, u] = await Promise.all([ask("/year?" + w), ask("/unrecorded?" + w)]).catch((e) => {
    put($("toast"), e.message);
    $("toast").hidden = false;
    throw e;
  });
  $("toast").hidden = true;
  const sum = y.total;
  put($("s-sessions"), sum.sessions);
  put($("s-hours"), hours(sum.media_ms));
  put($("s-unrecorded"), sum.unrecorded);
  put($("s-looks"), sum.looks);
  put($("s-failing"), sum.failing);
  put($("s-short"), sum.allocate ? sum.allocate.short : "–");
  document.querySelector("#bodies tbody").replaceChildren(...y.bodies.map(body));
  $("empty").hidden = y.bodies.length > 0;
  const most = Math.max(1, ...sum.months.map((m) => m[0]));
  $("months").replaceChildren(...y.months.map((m, i) => el("li", {}, el("span", {}, m), bar(sum.months[i][0] / most), el("span", { class: "n" }, t(`${sum.months[i][0]} 次，${hours(sum.months[i][1])} 小时`, `${sum.months[i][0]}, ${hours(sum.months[i][1])} h`)))));
  $("items").replaceChildren(...y.items.map((it) => el("li", { "data-class": it.severity === "must" ? "fail" : "partial" }, el("b", {}, t(it.zh || it.item, it.en || it.item)), " ", el("span", { class: it.rule ? "basis rule" : "basis default" }, it.rule ? t("规定", "rule") : t("本系统默认", "our default")), " ", it.rooms.join(t("、", ", ")))));
  $("noitems").hidden = y.items.length > 0;
  $("reasons").replaceChildren(...y.reasons.map((r) => el("li", {}, el("b", {}, r.reason), " ", t(`${r.n} 次`, `${r.n} times`))));
  $("noreasons").hidden = y.reasons.length > 0;
  $("unrecorded").replaceChildren(...u.unrecorded.map((x) => el("li", {}, when(x.t), " ", el("b", {}, x.reason || t("未注明原因", "no reason given")), " ", [x.room, x.body, x.case, x.who].filter(Boolean).join(" · "))));
  put($("note"), t(`会话：期间内开始，不含演练 ${sum.drills} 次。房间、人员和套数为现在的情况。标准：${y.profile}。`, `Sessions: opened in that time, ${sum.drills} drills left out. Rooms, officers and sets are as they are now. Standard: ${y.profile}.`));
}, 300);

function move(years) {
  for (const f of ["from", "until"]) {
    const d = form.elements[f].value.split("-").map(Number);
    form.elements[f].value = `${d[0] + years}-${two(d[1])}-${two(Math.min(d[2], new Date(d[0] + years, d[1], 0).getDate()))}`;
  }
  show();
}
$("before").addEventListener("click", () => move(-1));
$("after").addEventListener("click", () => move(1));
form.addEventListener("input", show);
form.addEventListener("submit", (e) => e.preventDefault());
