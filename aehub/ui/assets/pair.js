// <aehub-pair>: two clips side by side that play in step where they are equally long.
(() => {
  // Seconds; less than this nobody sees, and every jump costs a little.
  const FAR = 0.1;

  class Pair extends HTMLElement {
    connectedCallback() {
      // Gradio keeps this element and changes what is in it.
      this.watch = new MutationObserver(() => this.take());
      this.watch.observe(this, { childList: true, subtree: true, attributeFilter: ["src"] });
      this.take();
    }

    disconnectedCallback() {
      this.watch.disconnect();
      this.taken = null;
      for (const film of this.querySelectorAll("video")) film.pause();
    }

    take() {
      const films = [...this.querySelectorAll("video")];
      const taken = films.map((film) => film.src).join();
      if (films.length !== 2 || taken === this.taken) return;
      this.taken = taken;
      films.forEach((film, which) => this.listen(film, films[1 - which]));
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      Promise.all(films.map(ready)).then(() => films.forEach(start));
    }

    listen(film, other) {
      if (film.other === other) return;
      film.other = other;
      const follow = () => { if (apart(film, other) > FAR) other.currentTime = film.currentTime; };
      film.addEventListener("seeked", follow);
      // Events come late: what counts is how the film is now.
      film.addEventListener("play", () => {
        if (!film.paused && alike(film, other)) { follow(); start(other); }
      });
      film.addEventListener("pause", () => {
        if (film.paused && film.isConnected && alike(film, other)) other.pause();
      });
    }
  }

  const ready = (film) => film.readyState >= 3 ? null
    : new Promise((done) => film.addEventListener("canplay", done, { once: true }));
  const start = (film) => film.play().catch(() => {});
  const alike = (one, two) => Math.abs(one.duration - two.duration) < FAR / 2;

  // On a loop, so that the last moment lies beside the first.
  const apart = (one, two) => {
    if (!alike(one, two) || one.seeking || two.seeking) return 0;
    const distance = Math.abs(one.currentTime - two.currentTime);
    return Math.min(distance, one.duration - distance);
  };

  customElements.define("aehub-pair", Pair);

  // On a phone the clips lie below the buttons: as far as both fit, both are shown.
  document.addEventListener("click", (event) => {
    const pair = event.target.closest('button[id^="edit-"]') && document.querySelector("#edited aehub-pair");
    if (pair && pair.getBoundingClientRect().bottom > innerHeight) {
      pair.scrollIntoView({ behavior: "smooth", block: "end" });
    }
  });
})();
