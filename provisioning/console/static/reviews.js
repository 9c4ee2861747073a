import { $, ask, el, put, t, when } from "./common.js";

const form = $("draw");
const year = new Date().getFullYear();
form.elements.from.value = `${year}-01-01`;
form.elements.until.value = `${year}-12-31`;

const day = (s) => new Date(s).toLocaleDateString("sv");

function row(r) {
  const last = new Date(r.until);
  last.setDate(last.getDate() - 1);
  return el("tr", { "data-review": r.id },
    el("td", {}, el("a", { href: "/reviews/" + r.id }, r.id), el("div", {}, when(r.made))), el("td", {}, r.body || t("全部单位", "all bodies"), el("div", {}, el("small", {}, `${day(r.from)} – ${day(last)}`))),
    el("td", {}, el("code", {}, r.seed)), el("td", { class: "n", "data-l": t("抽取", "drawn") }, t(`${r.of} 中 ${r.n}`, `${r.n} of ${r.of}`)), el("td", { class: "n", "data-l": t("已评", "scored") }, `${r.scored} / ${r.n}`),
    el("td", { class: "n", "data-l": t("平均分", "mean") }, r.scored ? r.mean.toFixed(1) : "–"), el("td", {}, r.by));
}

const { bodies } = await ask("/sessions/bodies");
form.elements.body.append(...bodies.map((b) => el("option", { value: b.key }, b.name)));
const { reviews } = await ask("/reviews");
document.querySelector("#reviews tbody").replaceChildren(...reviews.map(row));
$("empty").hidden = reviews.length > 0;

form.addEventListener("submit", async (e) => {
  e.preventDefault();
  const f = form.elements;
  try {
    const a = await ask("/reviews", { body: f.body.value, from: f.from.value, until: f.until.value, n: Number(f.n.value), seed: f.seed.value });
    location.assign("/reviews/" + a.review.id);
  } catch (x) {
    put($("toast"), x.message);
    $("toast").hidden = false;
  }
});
