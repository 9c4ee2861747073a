// Completes a sealed session: facts, files bound to it, a signature that was refused. Each is an amendment.
import { $, ask, el, get, matter, officers, put, size, t, toast, when } from "./common.js";

const id = document.body.dataset.session;
const path = "/sessions/" + encodeURIComponent(id);
const kinds = { record: t("笔录", "written record"), "evidence-list": t("证据清单", "list of evidence"), "sheet-scan": t("会话单扫描件", "session sheet, scanned"), other: t("其他", "other") };
let session = null;

function show(s) {
  session = s;
  put($("h"), when(s.opened));
  const f = $("whose").elements;
  f.case.value = s.case;
  f.matter.value = matter(s.matter);
  f.officers.value = officers(s.officers);
  for (const flag of ["minor", "secret", "drill"]) {
    f[flag].checked = s.flags.includes(flag);
    f[flag].disabled = f[flag].checked;
  }
  $("attached").replaceChildren(...s.attached.map((a) => el("li", {}, el("a", { href: `/api/v1${path}/attachments/${a.sha256}`, download: "" }, a.name),
    el("span", { class: "muted" }, [kinds[a.kind] || a.kind, size(a.size), when(a.at), a.who, "SHA-256 " + a.sha256.slice(0, 16) + "…"].join(" · ")))));
  $("refusals").replaceChildren(...s.refused.map((r) => el("li", {}, `${r.party}：${r.reason}`, el("span", { class: "muted" }, ` ${when(r.at)} ${r.who}`))));
}

/** Sends an amendment; the answer is the session as it is then. */
async function send(button, what, done) {
  button.disabled = true;
  try {
    show(await (await what()).json());
    toast(done, true);
    return true;
  } catch (err) {
    toast(err.message);
    return false;
  } finally {
    button.disabled = false;
  }
}

$("whose").addEventListener("submit", (e) => {
  e.preventDefault();
  const f = $("whose").elements;
  /** @type {any} */
  const body = {};
  if (f.case.value.trim() !== session.case) body.case = f.case.value.trim();
  const name = f.matter.value.trim();
  const option = [...$("matters").children].find((o) => o.value === name);
  if (name !== matter(session.matter)) body.matter = option ? { id: option.dataset.id, version: option.dataset.version, name } : name;
  if (f.officers.value.trim() !== officers(session.officers)) body.officers = f.officers.value.split(/[;；]/).map((x) => x.trim()).filter(Boolean);
  const flags = ["minor", "secret", "drill"].filter((x) => f[x].checked && !session.flags.includes(x));
  if (flags.length) body.flags = flags;
  if (Object.keys(body).length === 0) {
    toast(t("没有改动。", "Nothing was changed."));
    return;
  }
  send($("savefacts"), () => ask(path + "/details", body), t("已补正并签名", "Completed and signed"));
});

$("attach").addEventListener("submit", async (e) => {
  e.preventDefault();
  const f = $("attach").elements;
  const file = f.file.files[0];
  if (!file) {
    toast(t("请先选择文件。", "Choose a file first."));
    return;
  }
  const query = `?name=${encodeURIComponent(file.name)}&kind=${f.kind.value}`;
  const ok = await send($("savefile"), () => ask(path + "/attachments" + query, undefined, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file }), t("已绑定并签名", "Bound and signed"));
  if (ok) f.file.value = "";
});

$("refused").addEventListener("submit", async (e) => {
  e.preventDefault();
  const f = $("refused").elements;
  const body = { party: f.party.value.trim(), reason: f.reason.value.trim() };
  if (!body.party || !body.reason) {
    toast(t("请写明谁没有签字，以及理由。", "Say who did not sign, and why."));
    return;
  }
  if (await send($("saverefusal"), () => ask(path + "/refused", body), t("已登记并签名", "Entered and signed"))) f.party.value = f.reason.value = "";
});

get(path).then(async (s) => {
  show(s);
  const c = await get("/choices?body=" + encodeURIComponent(s.body.uscc));
  $("matters").replaceChildren(...c.matters.map((m) => el("option", { value: m.name, "data-id": m.id, "data-version": m.version })));
}).catch((err) => toast(err.message));
