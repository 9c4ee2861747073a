import { $, ask, put } from "./common.js";

$("login").addEventListener("submit", async (e) => {
  e.preventDefault();
  const form = e.currentTarget;
  try {
    await ask("/login", { name: form.elements.name.value, password: form.elements.password.value });
    const next = new URLSearchParams(location.search).get("next") || "/";
    location.assign(/^\/(?![/\\])/.test(next) ? next : "/"); // a path of this office, never another site
  } catch (err) {
    $("toast").hidden = false;
    put($("toast"), err.message);
    form.elements.password.select();
  }
});
