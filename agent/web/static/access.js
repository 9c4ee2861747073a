// Wishes to look at a session, and their answers.
import { $, ask, el, get, put, t, toast, utc, when } from "./common.js";

const approver = document.body.dataset.approver === "1";
const me = document.body.dataset.name;
const session = new URLSearchParams(location.search).get("session") || "";

const does = { view: ["查看", "look"], play: ["播放", "play"], download: ["下载", "download"], export: ["导出整套", "take it whole"], copy: ["复制给当事人", "copy for a party"] };
const states = { asked: ["等待审批", "waiting"], given: ["已准", "given"], refused: ["未准", "refused"], ended: ["已收回", "taken back"], over: ["已到期", "over"] };
const usual = [["案件复核", "Review of the case"], ["听证准备", "Preparing a hearing"], ["案卷评查", "Case-file review"], ["当事人申请", "On the party's request"], ["投诉、复议或诉讼", "Complaint, review or lawsuit"]];

const word = (table, key) => (table[key] ? t(...table[key]) : key);

/** One question with one or two fields; null when it was put away. */
function askWhy(title, label, second) {
  const d = $("reason");
  put($("h-reason"), title);
  put($("reasonlabel"), label);
  $("secondlabel").hidden = !second;
  if (second) put($("secondlabel").firstElementChild, second);
  $("second").required = !!second;
  $("why").value = $("second").value = "";
  d.returnValue = "";
  d.showModal();
  $("why").focus();
  return new Promise((done) => d.addEventListener("close", () => done(d.returnValue === "ok" ? { why: $("why").value, second: $("second").value } : null), { once: true }));
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

function card(g) {
  const over = g.state === "given" && Date.parse(g.until) <= Date.now();
  const path = "/access/grants/" + encodeURIComponent(g.id);
  const buttons = [];
  if (g.state === "asked" && approver && g.who !== me) {
    buttons.push(
      el("button", { type: "button", class: "strong", onclick: () => change(path + "/answer", { give: true }, t("已批准", "Given")) }, t("批准", "Approve")),
      el("button", { type: "button", onclick: async () => {
        const r = await askWhy(t("不批准", "Refuse"), t("理由", "Reason"));
        if (r) change(path + "/answer", { give: false, why: r.why }, t("已回复", "Answered"));
      } }, t("不批准", "Refuse")),
    );
  }
  if (g.state === "given" && !over && g.who === me && g.do.includes("copy") && g.session) {
    buttons.push(el("a", { class: "button", href: `/api/v1/sessions/${encodeURIComponent(g.session)}/bundle?copy=1`, download: "" }, t("下载复制件 ZIP", "Take the copy (ZIP)")));
    if (!g.receipt)
      buttons.push(el("button", { type: "button", onclick: async () => {
        const r = await askWhy(t("登记回执", "Put the receipt on record"), t("介质（如 光盘 1 张）", "Medium (such as 1 disc)"), t("签收人", "Signed by"));
        if (r) change(path + "/receipt", { medium: r.why, signed: r.second }, t("回执已登记", "Receipt on record"));
      } }, t("登记回执", "Receipt")));
  }
  if (g.receipt) buttons.push(el("button", { type: "button", onclick: () => print(g) }, t("打印回执", "Print the receipt")));
  if ((g.state === "given" && !over) || (g.state === "asked" && g.who === me))
    buttons.push(el("button", { type: "button", onclick: async () => {
      const r = await askWhy(t("收回", "Take back"), t("理由", "Reason"));
      if (r) change(path + "/end", { why: r.why }, t("已收回", "Taken back"));
    } }, t("收回", "Take back")));
  if (g.session) buttons.push(el("a", { class: "button", href: "/sessions/" + encodeURIComponent(g.session) }, t("打开会话", "Open the session")));
  return el("li", { class: "session", "data-id": g.id, "data-state": over ? "over" : g.state },
    el("h2", {}, el("span", {}, word(states, over ? "over" : g.state)), el("span", {}, g.who), el("span", {}, g.do.map((d) => word(does, d)).join(t("、", ", ")))),
    el("div", {}, g.purpose),
    el("div", { class: "small" }, g.session ? t("会话 ", "session ") + g.session : t("本案全部会话 ", "all sessions of the case ") + g.case),
    g.for ? el("div", { class: "small" }, t("为 ", "for ") + `${g.for.name}（${g.for.capacity}，${g.for.document}）`) : null,
    el("div", { class: "small", title: utc(g.asked) }, t("提出 ", "asked ") + when(g.asked)),
    g.answered ? el("div", { class: "small" }, g.rule === "own" ? t("说明事由即可（本人承办或审计）", "the stated purpose is enough (own session, or audit)") : t("由 ", "answered by ") + g.by + t(" 答复 ", " ") + when(g.answered)) : null,
    g.state === "given" ? el("div", { class: "small" }, t("有效至 ", "good until ") + when(g.until)) : null,
    g.why ? el("div", { class: "small" }, t("理由：", "reason: ") + g.why) : null,
    g.receipt ? el("div", { class: "small" }, t("回执：", "receipt: ") + `${g.receipt.medium}，${g.receipt.signed}，${when(g.receipt.at)}`) : null,
    el("div", { class: "row" }, ...buttons));
}

/** The receipt as a page of its own to print and sign. */
function print(g) {
  const rows = [[t("会话", "Session"), g.session], [t("复制给", "Copied for"), `${g.for.name} ${g.for.capacity}`], [t("证件", "Document"), g.for.document], [t("事由", "Purpose"), g.purpose],
    [t("批准", "Approved by"), `${g.by} ${when(g.answered)}`], [t("介质", "Medium"), g.receipt.medium], [t("交付", "Handed over"), `${g.receipt.by} ${when(g.receipt.at)}`],
    [t("清单摘要 SHA-256", "Digest of the manifest, SHA-256"), g.receipt.digest], [t("签收人", "Signed by"), g.receipt.signed]];
  const sheet = el("section", { id: "sheet", class: "sheet" }, el("h1", {}, t("录音录像复制回执", "Receipt for a copy of a recording")),
    el("dl", {}, ...rows.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])),
    el("p", {}, t("签收人签名：________________　　日期：________________", "Signature: ________________    Date: ________________")));
  $("sheet")?.remove();
  document.body.append(sheet);
  document.body.classList.add("printing");
  window.addEventListener("afterprint", () => { document.body.classList.remove("printing"); sheet.remove(); }, { once: true });
  window.print();
}

async function load() {
  const { grants } = await get("/access/grants");
  const asked = approver ? grants.filter((g) => g.state === "asked" && g.who !== me) : [];
  const rest = grants.filter((g) => !asked.includes(g));
  $("waiting").hidden = !approver;
  $("nowaiting").hidden = asked.length > 0;
  $("asked").replaceChildren(...asked.map(card));
  $("grants").replaceChildren(...rest.map(card));
  $("empty").hidden = rest.length > 0;
}

const form = $("wish");
form.addEventListener("change", () => {
  const copy = form.querySelector("[value=copy]").checked;
  $("party").hidden = !copy;
  for (const n of ["party", "capacity", "document"]) form.elements[n].required = copy;
});
form.addEventListener("submit", async (e) => {
  e.preventDefault();
  const d = [...form.querySelectorAll("[name=do]:checked")].map((c) => c.value);
  if (!d.length) return toast(t("请选择要做什么。", "Choose what is to be done."));
  const body = { session, do: d, purpose: form.elements.purpose.value, whole: form.elements.whole.checked };
  if (d.includes("copy")) body.for = { name: form.elements.party.value, capacity: form.elements.capacity.value, document: form.elements.document.value };
  try {
    const g = await (await ask("/access/grants", body)).json();
    if (g.state === "given") return location.assign("/sessions/" + encodeURIComponent(session));
    toast(t("已提出，等待审批。", "Asked. It waits for an answer."), true);
    form.reset();
    $("party").hidden = true;
    await load();
  } catch (err) {
    toast(err.message);
  }
});

async function open() {
  if (session) {
    $("new").hidden = false;
    $("usual").append(...usual.map((u) => el("button", { type: "button", onclick: () => (form.elements.purpose.value = t(...u)) }, t(...u))));
    $("back").href = "/sessions/" + encodeURIComponent(session);
    put($("about"), session);
    const s = await get("/sessions/" + encodeURIComponent(session)).catch(() => null); // who may not see it yet asks by its number
    if (s) {
      put($("about"), [when(s.opened), s.case, session].filter(Boolean).join(" · "));
      $("wholecase").hidden = !s.case;
    }
  }
  await load();
}
open().catch((err) => toast(err.message));
