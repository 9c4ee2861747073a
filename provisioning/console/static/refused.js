import { $, ask, el, steady, t, watch, when, why } from "./common.js";

const load = steady(async () => {
  const { refused } = await ask("/refused");
  document.querySelector("#refused tbody").replaceChildren(...refused.map((r) => el("tr", {}, el("td", { class: "n" }, r.n), el("td", {}, r.device ? el("a", { href: "/rooms/" + r.device }, r.device) : t("未登录者", "a stranger")),
    el("td", {}, why(r.why, r.detail)), el("td", { class: "n" }, when(r.last)), el("td", {}, r.detail))));
  $("empty").hidden = refused.length > 0;
}, 500);
watch(() => load());
