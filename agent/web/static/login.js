import { $, ask, toast } from "./common.js";

$("login").addEventListener("submit", async (e) => {
  e.preventDefault();
  const form = e.currentTarget;
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await ask("/login", { name: form.elements.name.value, password: form.elements.password.value });
    const next = new URLSearchParams(location.search).get("next") || "/";
    location.assign(/^\/(?![/\\])/.test(next) ? next : "/"); // a path of this device, never another site
  } catch (err) {
    toast(err.message);
    form.elements.password.select();
  }
  button.disabled = false;
});
