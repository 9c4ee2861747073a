import { $, ask, el, fails, put, say, standing, steady, t, watch, when } from "./common.js";

const lists = steady(async () => {
  const [a, r] = await Promise.all([ask("/alarms"), ask("/rooms?class=fail&limit=50")]);
  $("alarmlist").replaceChildren(...a.alarms.slice(0, 50).map((x) =>
    el("li", { "data-class": "alarm" }, el("a", { class: "whole", href: "/rooms/" + x.device }, el("b", {}, say(x)), el("span", {}, x.room), when(x.since)), el("span", { class: "do" }, t(x.do_zh, x.do_en)))));
  $("noalarms").hidden = a.alarms.length > 0;
  $("faillist").replaceChildren(...r.rooms.map((x) => el("li", { "data-class": x.class }, el("a", { class: "whole", href: "/rooms/" + x.device }, el("b", {}, x.room), standing(x.class), el("span", { class: "muted" }, x.body)), fails(x))));
  $("nofails").hidden = r.rooms.length > 0;
}, 700);

watch((u) => {
  for (const k of ["fail", "silent", "partial", "pass", "recording", "alarms"]) put($("n-" + k), u.counts[k]);
  $("empty").hidden = u.counts.rooms > 0;
  put($("sums"), t(`共 ${u.counts.rooms} 个房间 · 事件 ${u.counts.events} 条 · 缺号 ${u.counts.missing} · 拒收 ${u.counts.refused}`, `${u.counts.rooms} rooms · ${u.counts.events} events · ${u.counts.missing} numbers missing · ${u.counts.refused} refused`));
  lists();
});
