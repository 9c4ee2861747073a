// What officers pick by touch: booking, body, matter, officers, a hearing to continue; and why something was not
// recorded. It fills the form of the room page and decides nothing.
import { $, ask, el, english, get, officers, t, toast, when } from "./common.js";

/** What was picked beside the fields of the form. @type {{matter?: any, body?: any, booking?: string, continues?: string}} */
export let picked = {};
let choices = null;

export function forget() {
  picked = {};
  shown();
}

const dots = (x, all) => all.some((y) => y.credential === x.credential && y.name === x.name);

/** The officers that stand in the form. */
function inForm() {
  return $("details").elements.officers.value.split(/[;；\n]/).map((x) => x.trim()).filter(Boolean).map((x) => {
    const w = x.split(/\s+/);
    return w.length > 1 ? { name: w.slice(0, -1).join(" "), credential: w[w.length - 1] } : { name: x, credential: "" };
  });
}

function write(name, value) {
  const f = $("details").elements[name];
  f.value = value;
  f.dispatchEvent(new Event("input", { bubbles: true }));
}

async function load(body) {
  choices = await get("/choices" + (body ? "?body=" + encodeURIComponent(body) : ""));
  draw();
}

/** One button of a group; pressed says whether it is chosen. */
function choice(text, small, pressed, act) {
  const b = el("button", { type: "button", class: "choice", "aria-pressed": String(pressed) }, el("b", {}, text), small ? el("span", {}, small) : null);
  b.addEventListener("click", act);
  return b;
}

function group(id, list) {
  $(id).parentElement.hidden = list.length === 0;
  $(id).replaceChildren(...list);
}

const hm = (rfc3339) => when(rfc3339).slice(11, 16);

function draw() {
  const c = choices;
  const running = document.body.dataset.running === "true"; // body and continuation are fixed once it is open
  group("p-bookings", c.bookings.map((b) => choice(`${hm(b.begins)}–${hm(b.until)} ${b.case || t("（无案号）", "(no case)")}`,
    [b.matter.name || b.matter, officers(b.officers), b.note].filter(Boolean).join(" · "), picked.booking === b.id, () => book(b))));
  group("p-bodies", running || c.bodies.length < 2 ? [] : c.bodies.map((b) => choice(b.name, "", c.body === b.uscc, () => {
    picked = { body: b };
    write("officers", "");
    write("matter", "");
    load(b.uscc).catch((err) => toast(err.message));
  })));
  group("p-adjourned", running ? [] : c.adjourned.map((a) => choice(when(a.opened), [a.case, a.matter].filter(Boolean).join(" · "), picked.continues === a.session, () => {
    picked.continues = picked.continues === a.session ? "" : a.session;
    if (picked.continues && a.case) write("case", a.case);
    if (picked.continues && a.matter) write("matter", a.matter);
    draw();
  })));
  group("p-matters", c.matters.map((m) => choice(m.name, [m.starts, m.ends].filter(Boolean).join(" → "), picked.matter?.id === m.id, () => {
    picked.matter = { id: m.id, version: m.version, name: m.name };
    write("matter", m.name);
    draw();
  })));
  const now = inForm();
  group("p-officers", c.officers.map((o) => choice(o.name, o.credential + (o.operator ? t(" · 操作员", " · operator") : ""), dots(o, now), () => {
    const rest = inForm().filter((x) => !dots(x, [o]));
    write("officers", officers(dots(o, inForm()) ? rest : [...rest, o]));
    draw();
  })));
  $("p-none").hidden = Boolean(c.lists);
  $("p-few").hidden = now.length >= 2;
}

function book(b) {
  const body = choices.bodies.find((x) => x.uscc === b.body);
  picked = { ...picked, booking: b.id, matter: b.matter?.id ? b.matter : undefined, body: body && b.body !== choices.bodies[0].uscc ? body : picked.body };
  write("case", b.case);
  write("matter", b.matter?.name || "");
  write("officers", officers(b.officers));
  draw();
}

/** Says under the form what was picked that has no field there. */
export function shown() {
  const parts = [picked.body && picked.body.name, picked.continues && t("继续休庭的听证", "continues an adjourned hearing")].filter(Boolean);
  $("picked").hidden = parts.length === 0;
  $("picked").textContent = parts.join(" · ");
}

$("choose").addEventListener("click", async () => {
  try {
    await load(picked.body?.uscc);
    $("pick").showModal();
  } catch (err) {
    toast(err.message);
  }
});
$("pick").addEventListener("close", () => {
  shown();
  if (document.body.dataset.running === "true") $("details").requestSubmit();
});

// Not recorded, because.
const why = { secret: ["涉及国家秘密、商业秘密", "Secrets"], urgent: ["情况紧急", "Urgency"], objective: ["停电、设备故障等客观原因", "Power, equipment or other objective cause"], other: ["其他", "Another reason"] };
let chosen = "";

function drawWhy() {
  $("u-why").replaceChildren(...Object.entries(why).map(([k, w]) => choice(w[english ? 1 : 0], "", chosen === k, () => {
    chosen = k;
    if (!$("u-reason").value || Object.values(why).some((x) => x[0] === $("u-reason").value)) $("u-reason").value = k === "other" ? "" : why[k][0];
    drawWhy();
  })));
}

$("unrecdialog").addEventListener("input", () => ($("u-say").hidden = true));
$("unrecdialog").addEventListener("click", (e) => { if (e.target.closest(".choice")) $("u-say").hidden = true; });

function drawWho() {
  const list = choices?.officers || [];
  $("u-who").parentElement.hidden = list.length === 0;
  $("u-who").replaceChildren(...list.map((o) => choice(o.name, o.credential, $("u-name").value === o.name + " " + o.credential, () => {
    $("u-name").value = o.name + " " + o.credential;
    drawWho();
  })));
}

$("unrec").addEventListener("click", async () => {
  $("pick").close();
  chosen = "";
  for (const id of ["u-reason", "u-name"]) $(id).value = "";
  $("u-case").value = $("details").elements.case.value;
  choices = await get("/choices").catch(() => choices);
  drawWhy();
  drawWho();
  $("u-say").hidden = true;
  $("unrecdialog").showModal();
});
$("unrecdialog").querySelector("form").addEventListener("submit", async (e) => {
  if (e.submitter?.value !== "yes") return;
  e.preventDefault(); // it stays until it is entered
  const body = { why: chosen, reason: $("u-reason").value.trim(), who: $("u-name").value.trim(), case: $("u-case").value.trim(), matter: $("details").elements.matter.value.trim() };
  $("u-say").hidden = Boolean(body.why && body.reason && body.who);
  if (!$("u-say").hidden) return;
  try {
    await ask("/not-recorded", body);
    $("unrecdialog").close();
    toast(t("已登记：未录制及理由（已签名）", "Entered and signed: not recorded, with the reason"), true);
  } catch (err) {
    $("u-say").textContent = err.message;
    $("u-say").hidden = false;
  }
});
