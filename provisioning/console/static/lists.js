import { $, ask, el, english, put, say, steady, t, watch, when } from "./common.js";

const page = 50;
const form = $("filter");
let offset = 0;
let file = null, token = "";

const sheet = () => form.elements.sheet.value;

const rows = steady(async () => {
  const wanted = sheet();
  const v = await ask(`/lists/view/${wanted}?limit=${page}&offset=${offset}&q=` + encodeURIComponent(form.elements.q.value));
  if (wanted !== sheet()) return rows();
  $("csv").href = "/api/v1/lists/export?sheet=" + wanted;
  document.querySelector("#rows thead").replaceChildren(el("tr", {}, ...v.heads.map((h) => el("th", { scope: "col", title: h.note || null }, english ? h.en : h.zh))));
  document.querySelector("#rows tbody").replaceChildren(...v.rows.map((r) => el("tr", {}, ...r.map((c) => el("td", {}, c)))));
  put($("fit"), v.fit > page ? t(`共 ${v.fit} 行，第 ${offset + 1} 至 ${offset + v.rows.length} 行`, `${v.fit} rows, ${offset + 1} to ${offset + v.rows.length}`) : t(`共 ${v.fit} 行`, `${v.fit} rows`));
  $("empty").hidden = v.total > 0;
  $("back").hidden = offset === 0;
  $("next").hidden = offset + v.rows.length >= v.fit;
}, 250);

const overview = steady(async () => {
  const o = await ask("/lists");
  for (const [k, n] of Object.entries(o.counts)) put($("n-" + k), n);
  $("changes").replaceChildren(...o.changes.map((c) => el("li", {}, when(c.t), " ", el("b", {}, c.who), " ", c.file, el("span", { class: "do" }, c.what))));
  $("nochanges").hidden = o.changes.length > 0;
}, 250);

/** Where the lists of a room stand, in words. */
function stands(d) {
  if (d.trouble) return ["fail", t("不能生成：", "cannot be made: ") + d.trouble];
  if (d.done) return ["pass", d.left_out ? t(`已送达，另有 ${d.left_out} 条因篇幅未下发`, `held; ${d.left_out} entries found no place`) : t("已送达", "held by the room")];
  if (!d.wanted) return ["silent", t("清单中没有此房间", "not in the sheet of rooms")];
  if (!d.online) return ["silent", t("未联网，联网后自动下发", "away; it is sent when it is back")];
  return ["partial", t("正在下发", "being sent")];
}

const deliveries = steady(async () => {
  const a = await ask("/lists/deliveries");
  $("deliveries").replaceChildren(...a.deliveries.map((d) => {
    const [c, words] = stands(d);
    return el("li", { "data-class": c, "data-device": d.device }, el("b", {}, d.name || d.device), " ", d.name ? el("small", {}, d.device + " ") : null, words);
  }));
  $("nodeliveries").hidden = a.deliveries.length > 0;
}, 1000);

function again(keep) {
  if (!keep) offset = 0;
  rows();
}
form.addEventListener("input", () => again());
form.addEventListener("submit", (e) => e.preventDefault());
$("next").addEventListener("click", () => { offset += page; again(true); });
$("back").addEventListener("click", () => { offset = Math.max(0, offset - page); again(true); });

function toast(text) {
  put($("toast"), text);
  $("toast").hidden = !text;
}

async function send(query) {
  const r = await fetch("/api/v1/lists/import?" + query, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
  const a = await r.json().catch(() => null);
  if (!r.ok) throw new Error(a?.error ? say(a.error) : r.statusText);
  return a;
}

const does = { add: ["新增", "new"], change: ["修改", "changed"], remove: ["删除", "removed"] };

function show(p) {
  token = p.token;
  const touched = p.sheets.filter((s) => s.add + s.change + s.remove > 0);
  const sums = p.sheets.map((s) => t(`${s.zh}：新增 ${s.add}，修改 ${s.change}，删除 ${s.remove}，相同 ${s.same}`, `${s.en}: ${s.add} new, ${s.change} changed, ${s.remove} removed, ${s.same} the same`)).join(t("；", "; "));
  put($("verdict"), p.wrong ? t(`有 ${p.wrong} 处错误，未作任何修改。请改正后重新选择文件。`, `${p.wrong} mistakes; nothing was changed. Mend them and choose the file again.`)
    : touched.length ? sums : t("与现有内容相同，无需导入。", "The same as what is there: nothing to import."));
  $("mistakebox").hidden = !p.wrong;
  document.querySelector("#mistakes tbody").replaceChildren(...p.mistakes.map((m) => el("tr", {}, el("td", {}, m.sheet || "–"), el("td", { class: "n" }, m.row || "–"), el("td", {}, m.column || "–"), el("td", {}, say(m)))));
  $("diffbox").hidden = Boolean(p.wrong) || !touched.length;
  document.querySelector("#diffs tbody").replaceChildren(...touched.flatMap((s) => s.diffs.map((d) => el("tr", {}, el("td", {}, english ? s.en : s.zh), el("td", { class: "n" }, d.row), el("td", {}, t(...does[d.do])),
    el("td", {}, el("b", {}, d.key), ...(d.fields || []).map((f) => el("div", {}, `${f.column}：${f.old || "–"} → ${f.new || "–"}`)))))));
  $("apply").hidden = Boolean(p.wrong) || !touched.length;
  $("preview").hidden = false;
  $("h-preview").scrollIntoView();
}

function close() {
  $("preview").hidden = true;
  $("file").value = "";
  file = null;
}

$("file").addEventListener("change", async () => {
  file = $("file").files[0];
  toast("");
  if (!file) return;
  await send("do=preview").then(show).catch((e) => toast(e.message));
});
$("cancel").addEventListener("click", close);
$("apply").addEventListener("click", async () => {
  $("apply").disabled = true;
  try {
    await send("do=apply&token=" + token + "&name=" + encodeURIComponent(file.name));
    close();
    again();
    overview();
    deliveries();
  } catch (e) {
    toast(e.message);
  }
  $("apply").disabled = false;
});
watch(() => deliveries());
