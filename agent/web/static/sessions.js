// The list of sessions, newest first.
import { $, ask, el, events, get, matter, officers, put, size, span, t, toast, utc, when } from "./common.js";
import { timebar, verdict } from "./timebar.js";

export const states = {
  recording: ["● 正在录制", "● recording"], paused: ["❚❚ 已暂停", "❚❚ paused"], postroll: ["● 即将结束", "● ending"], sealing: ["正在封存", "sealing"],
  sealed: ["已封存", "sealed"], recovered: ["断电后封存", "sealed after recovery"], open: ["未封存", "not sealed"],
};

function item(s) {
  const w = states[s.state] || [s.state, s.state];
  const bar = el("div", {}, timebar(s.spans, s.duration_us));
  const result = el("span", { class: "verdict" });
  if (s.checked) tell(result, s.checked.exit);
  const button = el("button", { type: "button", class: "verify", disabled: ["recording", "paused", "postroll", "sealing"].includes(s.state) }, t("核验", "Verify"));
  button.addEventListener("click", () => verify(s, button, result, bar));
  const facts = [s.case, matter(s.matter), officers(s.officers), s.channels.map((c) => c.id).join(t("、", ", ")), size(s.size_bytes)].filter(Boolean);
  return el("li", { class: "session", "data-id": s.id },
    el("h2", {}, el("time", { title: utc(s.opened) }, when(s.opened)), el("span", {}, span(s.duration_us / 1000)), el("span", {}, t(w[0], w[1]))),
    el("div", { class: "small" }, facts.join(" · ")),
    s.continues ? el("div", { class: "small" }, t("接续 ", "continues ") + s.continues) : null,
    bar,
    el("div", { class: "row" }, el("a", { href: "/sessions/" + encodeURIComponent(s.id) }, t("打开", "Open")), button, result));
}

function tell(e, exit) {
  const [c, words] = verdict(exit);
  e.className = "verdict " + c;
  put(e, words);
}

async function verify(s, button, result, bar) {
  button.disabled = true;
  result.className = "verdict";
  put(result, t("正在核验…", "Verifying…"));
  try {
    const r = await ask(`/sessions/${encodeURIComponent(s.id)}/verify`, {}, { headers: { Accept: "text/event-stream" } });
    let ended = false;
    await events(r, (event, data) => {
      if (event === "progress" && data.all > 0) put(result, t("正在核验 ", "Verifying ") + Math.floor((100 * data.done) / data.all) + " %");
      if (event === "error") throw new Error(t(data.error.zh, data.error.en));
      if (event !== "result") return;
      ended = true;
      tell(result, data.exit);
      put($("live"), result.textContent);
      if (data.sessions?.[0]) bar.replaceChildren(timebar(data.sessions[0].spans || [], s.duration_us));
    });
    if (!ended) throw new Error(t("核验中断。请重试。", "The check was broken off. Try again."));
  } catch (err) {
    put(result, "");
    toast(err.message);
  }
  button.disabled = false;
}

let next = "";
async function more() {
  $("more").disabled = true;
  try {
    const l = await get("/sessions?limit=50" + (next ? "&before=" + encodeURIComponent(next) : ""));
    $("sessions").append(...l.sessions.map(item));
    next = l.next;
    $("empty").hidden = $("sessions").children.length > 0;
    $("more").hidden = !next;
  } catch (err) {
    toast(err.message);
  }
  $("more").disabled = false;
}

$("more").addEventListener("click", more);
more();
