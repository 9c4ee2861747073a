// The equipment standard, item by item, kept new while the page is looked at.
import { $, clock, el, get, keyed, put, say, t, toast, utc, when } from "./common.js";

const verdicts = {
  fail: [t("✕ 不符合", "✕ fail"), "bad"], unknown: [t("? 未知", "? unknown"), "warn"],
  pass: [t("✓ 符合", "✓ pass"), "ok"], "not-applicable": [t("– 不适用", "– not now"), "muted"],
};
const severities = { must: t("必须", "must"), should: t("宜", "should"), info: t("仅供参考", "for information") };
const kinds = {
  law: t("法律法规", "law"), national: t("国家标准", "national standard"), judicial: t("司法机关", "judicial"), police: t("公安", "police"), city: t("市级", "city"),
  county: t("县级", "county"), industry: t("行业标准", "industry"), vendor: t("通行做法", "common practice"),
};
const words = { "true": t("是", "yes"), "false": t("否", "no") };
const rank = ["fail", "unknown", "pass", "not-applicable"];
const every = 2000;

let shown = "fail unknown";
let newest = null;

/** A value or a limit as people write it. */
const number = (v) => Number(v).toLocaleString("en", { maximumSignificantDigits: 4 });
const people = (v) => (v === null || v === undefined ? "—" : typeof v === "number" ? number(v) : words[String(v)] || String(v));
const limit = (x) => x.replace(/^= (true|false)$/, (_, v) => "= " + words[v]).replace(/\b\d{5,}\b/g, number);

function row() {
  const cell = (name, ...inside) => el("td", { class: name }, ...inside);
  return el("tr", {},
    cell("verdict"), cell("item", el("b"), " ", el("span", { class: "subject" }), el("div", { class: "small id" })), cell("value"), cell("limit"),
    cell("basis", el("span", { class: "kind" }), el("div", { class: "small clause" })), cell("since"), cell("why", el("div"), el("div", { class: "do" })));
}

function fill(e, x) {
  const part = (name) => e.querySelector(name);
  const [word, c] = verdicts[x.verdict] || [x.verdict, "warn"];
  e.dataset.verdict = x.verdict;
  part(".verdict").className = "verdict state " + c;
  put(part(".verdict"), word);
  put(part(".item b"), say(x));
  put(part(".subject"), x.subject);
  put(part(".id"), x.item + " · " + (severities[x.severity] || x.severity));
  const unit = x.unit && x.unit !== "ratio" ? " " + x.unit : "";
  put(part(".value"), people(x.value) + (typeof x.value === "number" ? unit : ""));
  put(part(".limit"), x.limit ? limit(x.limit) + (/\d/.test(x.limit) ? unit : "") : "—");
  const rule = x.basis !== "default";
  part(".kind").className = "kind " + (rule ? "rule" : "ours");
  put(part(".kind"), rule ? t("规定 · ", "Rule · ") + (kinds[x.basis] || x.basis) : t("本系统默认", "Our default"));
  put(part(".clause"), (x.clause || "") + (x.seen === "memory" ? t("（待核原文）", " (wording to be checked)") : ""));
  put(part(".since"), when(x.since).startsWith(when(newest.t).slice(0, 10)) ? clock(x.since) : when(x.since));
  part(".since").title = utc(x.since);
  put(part(".why div"), say(x.why));
  put(part(".do"), x.verdict === "fail" ? "→ " + say(x.do) : x.verdict === "unknown" ? t("如一直未知：", "If it stays unknown: ") + say(x.do) : "");
}

function show() {
  const n = { fail: 0, unknown: 0, pass: 0, "not-applicable": 0 };
  for (const x of newest.items) n[x.verdict]++;
  for (const b of document.querySelectorAll(".filters button")) {
    const mine = b.dataset.show.split(" ");
    put(b.querySelector("b"), String(mine.reduce((sum, v) => sum + n[v], 0)));
    b.setAttribute("aria-pressed", String(b.dataset.show === shown));
  }
  const wanted = shown.split(" ");
  const items = newest.items.filter((x) => wanted.includes(x.verdict)).sort((a, b) => rank.indexOf(a.verdict) - rank.indexOf(b.verdict));
  $("table").hidden = items.length === 0;
  $("none").hidden = items.length > 0;
  keyed($("items"), items, (x) => x.item + "/" + x.subject, row, fill);
  const p = newest.profile;
  put($("profile"), `${say({ zh: p.zh || p.id, en: p.en || p.id })} ${p.version}`);
  meets();
}

/** Rules and our own numbers are counted apart: only the first are what others ask for. */
function meets() {
  const count = (rule) => {
    const worst = new Map();
    for (const x of newest.items) {
      if (x.severity === "info" || (x.basis !== "default") !== rule) continue;
      const w = worst.get(x.item);
      if (w === undefined || worse(x.verdict) > worse(w)) worst.set(x.item, x.verdict);
    }
    const all = [...worst.values()];
    return ["pass", "fail", "unknown"].map((v) => all.filter((x) => x === v).length);
  };
  const line = (name, [pass, fail, unknown]) => [el("dt", {}, name), el("dd", {},
    el("span", { class: "state ok" }, `✓ ${t("符合", "pass")} ${pass}`), el("span", { class: fail ? "state bad" : "muted" }, `✕ ${t("不符合", "fail")} ${fail}`),
    el("span", { class: unknown ? "state warn" : "muted" }, `? ${t("未知", "unknown")} ${unknown}`))];
  const e = el("dl", {}, ...line(t("规定", "Rules"), count(true)), ...line(t("本系统默认", "Our defaults"), count(false)));
  if ($("meets").textContent === e.textContent) return;
  put($("live"), e.textContent);
  $("meets").replaceChildren(...e.childNodes);
}

const worse = (v) => ["not-applicable", "pass", "unknown", "fail"].indexOf(v);

for (const b of document.querySelectorAll(".filters button")) {
  b.addEventListener("click", () => {
    shown = b.dataset.show;
    if (newest) show();
  });
}

async function look() {
  try {
    newest = await get("/compliance");
    $("toast").hidden = true;
    show();
  } catch (err) {
    toast(err.message);
  }
  setTimeout(wait, every);
}

function wait() {
  if (document.hidden) document.addEventListener("visibilitychange", look, { once: true });
  else look();
}
look();
