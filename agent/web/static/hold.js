/**
 * A button that acts when held, by pointer, Enter or Space; a short press, or the click of a screen
 * reader, asks instead.
 * @param {HTMLButtonElement} button @param {number} ms @param {() => void} act @param {() => void} short
 */
export function hold(button, ms, act, short) {
  let timer = 0;
  let acted = false;
  const down = () => {
    if (timer || button.disabled) return;
    acted = false;
    button.classList.add("held");
    timer = window.setTimeout(() => {
      up();
      acted = true;
      if (!button.disabled) act();
    }, ms);
  };
  const up = () => {
    clearTimeout(timer);
    timer = 0;
    button.classList.remove("held");
  };
  button.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    button.setPointerCapture(e.pointerId);
    down();
  });
  for (const end of ["pointerup", "pointercancel", "blur"]) {
    button.addEventListener(end, () => {
      up();
      setTimeout(() => (acted = false), 100); // the click of this press comes before that
    });
  }
  button.addEventListener("contextmenu", (e) => e.preventDefault()); // a long touch is no menu here
  const key = (e) => e.key === "Enter" || e.key === " ";
  button.addEventListener("keydown", (e) => {
    if (!key(e)) return;
    e.preventDefault(); // Enter would click at once and again
    if (!e.repeat) down();
  });
  button.addEventListener("keyup", (e) => {
    if (!key(e)) return;
    e.preventDefault();
    const wasDown = timer !== 0;
    up();
    acted = false;
    if (wasDown) short();
  });
  button.addEventListener("click", () => {
    up();
    if (acted) acted = false; // the click that follows a finished hold
    else short();
  });
}
