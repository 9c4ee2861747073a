import { $ } from "./common.js";

$("print").addEventListener("click", () => window.print());
