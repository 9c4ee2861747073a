import { $, ask, el, length, put, sessionState, steady, t, when } from "./common.js";

const page = 50;
const form = $("filter");
const fields = ["case", "officer", "room", "body", "from", "until", "state"];
let offset = 0;

const wanted = () => {
  const w = new URLSearchParams();
  for (const f of fields) if (form.elements[f].value) w.set(f, form.elements[f].value);
  if (form.elements.drills.checked) w.set("drills", "true");
  return w;
};

const row = (s) => el("tr", { "data-session": s.id },
  el("td", { class: "n" }, when(s.opened)), el("td", { class: "n", "data-l": t("时长", "length") }, s.media_ms ? length(s.media_ms) : ""),
  el("td", { "data-l": t("案号", "case") }, s.case || el("span", { class: "muted" }, t("未填", "none"))), el("td", {}, s.matter),
  el("td", {}, s.officers.map((o) => [o.name, o.credential].filter(Boolean).join(" ")).join(t("、", ", "))), el("td", {}, s.body),
  el("td", {}, el("a", { href: "/rooms/" + s.device }, s.room)), el("td", {}, sessionState(s)));

const list = steady(async () => {
  const w = wanted().toString();
  const a = await ask(`/sessions?limit=${page}&offset=${offset}&` + w).catch((e) => {
    put($("toast"), e.message);
    $("toast").hidden = false;
    throw e;
  });
  $("toast").hidden = true;
  if (w !== wanted().toString()) return list();
  document.querySelector("#sessions tbody").replaceChildren(...a.sessions.map(row));
  put($("fit"), a.more ? t(`超过 ${a.fit} 次`, `more than ${a.fit}`) : t(`共 ${a.fit} 次`, `${a.fit} sessions`));
  $("empty").hidden = a.fit > 0;
  $("back").hidden = offset === 0;
  $("next").hidden = a.sessions.length < page || offset + page >= a.fit;
}, 300);

form.addEventListener("input", () => {
  offset = 0;
  const w = wanted().toString();
  history.replaceState(null, "", "/sessions" + (w ? "?" + w : ""));
  list();
});
form.addEventListener("submit", (e) => e.preventDefault());
$("next").addEventListener("click", () => { offset += page; list(); });
$("back").addEventListener("click", () => { offset = Math.max(0, offset - page); list(); });

const q = new URLSearchParams(location.search);
const { bodies } = await ask("/sessions/bodies");
form.elements.body.append(...bodies.map((b) => el("option", { value: b.key }, b.name)));
for (const f of fields) if (q.get(f)) form.elements[f].value = q.get(f);
form.elements.drills.checked = q.get("drills") === "true";
list();
