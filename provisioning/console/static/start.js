import { $, ask, el, fails, put, say, standing, steady, t, watch, when } from "./common.js";

const lists = steady(async () => {
  const [a, r] = await Promise.all([ask("/alarms"), ask("/rooms?class=fail&limit=50")]);
  $("alarmlist").replaceChildren(...a.alarms.slice(0, 50).map((x) =>
    el("li", { "data-class": "alarm" }, el("a", { class: "whole", href: "/rooms/" + x.device }, el("b", {}, say(x)), el("span", {}, x.room), when(x.since)), el("span", { class: "do" }, t(x.do_zh, x.do_en)))));
  $("noalarms").hidden = a.alarms.length > 0;
  $("faillist").replaceChildren(...r.rooms.map((x) => el("li", { "data-class": x.class }, el("a", { class: "whole", href: "/rooms/" + x.device }, el("b", {}, x.room), standing(x.class), el("span", { class: "muted" }, x.body)), fails(x))));
  $("nofails").hidden = r.rooms.length > 0;
}, 700);

function count(c) {
  for (const k of ["fail", "silent", "partial", "pass", "recording", "alarms"]) put($("n-" + k), c[k]);
  $("empty").hidden = c.rooms > 0;
  put($("sums"), t(`共 ${c.rooms} 个房间 · 事件 ${c.events} 条 · 缺号 ${c.missing} · 拒收 ${c.refused}`, `${c.rooms} rooms · ${c.events} events · ${c.missing} numbers missing · ${c.refused} refused`));
}

ask("/counts").then(count, (e) => console.warn(e.message));
watch((u) => {
  count(u.counts);
  lists();
});
