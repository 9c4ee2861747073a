import { $, ask, event, steady, watch } from "./common.js";

const form = $("filter");
const q = new URLSearchParams(location.search);
form.elements.device.value = q.get("device") || "";
form.elements.type.value = q.get("type") || "";
let older = 0; // pages of older ones that are shown
let oldest = 0;

const path = (before) => "/events?limit=100&device=" + encodeURIComponent(form.elements.device.value) + "&type=" + form.elements.type.value + (before ? "&before=" + before : "");

function add(list, events) {
  list.append(...events.flatMap((e) => event(e)));
  oldest = events.length ? events[events.length - 1].id : oldest;
  $("more").hidden = events.length < 100;
}

const load = steady(async () => {
  if (older) return; // somebody reads history: leave it as it is
  const { events } = await ask(path(0));
  $("events").replaceChildren();
  add($("events"), events);
  $("empty").hidden = events.length > 0;
}, 500);

$("more").addEventListener("click", async () => {
  older++;
  add($("events"), (await ask(path(oldest))).events);
});
form.addEventListener("input", () => {
  older = 0;
  load();
});
form.addEventListener("submit", (e) => e.preventDefault());
watch(() => load());
