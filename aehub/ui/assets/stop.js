// A click that soon follows one on Stop is made once that is over: Gradio closes the connection of
// a stopped job a moment later, and with it whatever the same visitor has begun meanwhile.
(() => {
  // Seconds that this takes, and some more.
  const rest = 0.7;
  let stopped = -Infinity;

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button:not([role=tab])");
    if (!button || !event.isTrusted) return;
    const left = stopped + 1000 * rest - performance.now();
    if (button.textContent.trim() === "Stop") {
      stopped = performance.now();
    } else if (left > 0) {
      event.stopImmediatePropagation();
      event.preventDefault();
      setTimeout(() => button.click(), left);
    }
  }, true);
})();
