import { $, ask, does, el, fails, put, standing, steady, t, watch, when } from "./common.js";

const form = $("filter");
const q = new URLSearchParams(location.search);
form.elements.q.value = q.get("q") || "";
form.elements.class.value = q.get("class") || "";
form.elements.recording.checked = q.get("recording") === "true";

const wanted = () => {
  const w = new URLSearchParams();
  if (form.elements.q.value) w.set("q", form.elements.q.value);
  if (form.elements.class.value) w.set("class", form.elements.class.value);
  if (form.elements.recording.checked) w.set("recording", "true");
  return w.toString();
};

const row = (r) => el("tr", { "data-device": r.device, "data-class": r.class },
  el("td", {}, standing(r.class), r.items.unknown > 0 && r.class !== "silent" ? el("div", {}, el("small", {}, t(`${r.items.unknown} 项未知`, `${r.items.unknown} unknown`))) : null),
  el("td", {}, el("a", { href: "/rooms/" + r.device }, r.room, el("small", {}, [r.body, r.device].filter(Boolean).join(" · ")))),
  el("td", {}, does(r)), el("td", { class: "n", "data-l": t("自", "since") }, when(r.class === "silent" ? "" : r.since)), el("td", {}, r.class === "silent" && r.failed.length ? el("small", {}, t("最后上报：", "at last report: ")) : null, fails(r)),
  el("td", { class: "n", "data-l": t("告警", "alarms") }, r.nalarms || ""), el("td", { class: "n", "data-l": t("最后上报", "last heard") }, r.never ? t("从未", "never") : when(r.heard)));

const list = steady(async () => {
  const w = wanted();
  const a = await ask("/rooms?limit=500&" + w);
  if (w !== wanted()) return list();
  const body = document.querySelector("#rooms tbody");
  const had = document.activeElement?.closest?.("tr")?.dataset.device;
  body.replaceChildren(...a.rooms.map(row));
  if (had) body.querySelector(`tr[data-device="${CSS.escape(had)}"] a`)?.focus();
  put($("fit"), a.fit > a.rooms.length ? t(`共 ${a.fit} 个，显示前 ${a.rooms.length} 个`, `${a.fit} fit, the first ${a.rooms.length} are shown`) : t(`共 ${a.fit} 个`, `${a.fit} rooms`));
  $("empty").hidden = a.fit > 0;
}, 400);

form.addEventListener("input", () => {
  history.replaceState(null, "", "/rooms" + (wanted() ? "?" + wanted() : ""));
  list();
});
form.addEventListener("submit", (e) => e.preventDefault());
watch((u) => (u.resync || u.rooms.length) && list());
