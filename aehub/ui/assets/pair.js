// <aehub-pair>: two clips side by side, in sync if they are equally long.
(() => {
  // Seconds; a smaller offset is invisible, and every seek costs time.
  const MAX_OFFSET = 0.1;

  class Pair extends HTMLElement {
    connectedCallback() {
      // Gradio keeps this element and replaces its content.
      this.observer = new MutationObserver(() => this.connect());
      this.observer.observe(this, { childList: true, subtree: true, attributeFilter: ["src"] });
      this.connect();
    }

    disconnectedCallback() {
      this.observer.disconnect();
      this.sources = null;
      for (const film of this.querySelectorAll("video")) film.pause();
    }

    connect() {
      const films = [...this.querySelectorAll("video")];
      const sources = films.map((film) => film.src).join();
      if (films.length !== 2 || sources === this.sources) return;
      this.sources = sources;
      films.forEach((film, which) => this.listen(film, films[1 - which]));
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      Promise.all(films.map(ready)).then(() => films.forEach(start));
    }

    listen(film, other) {
      if (film.other === other) return;
      film.other = other;
      const follow = () => { if (offset(film, other) > MAX_OFFSET) other.currentTime = film.currentTime; };
      film.addEventListener("seeked", follow);
      // Events arrive late: check the current state of the clip.
      film.addEventListener("play", () => {
        if (!film.paused && sameLength(film, other)) { follow(); start(other); }
      });
      film.addEventListener("pause", () => {
        if (film.paused && film.isConnected && sameLength(film, other)) other.pause();
      });
    }
  }

  const ready = (film) => film.readyState >= 3 ? null
    : new Promise((done) => film.addEventListener("canplay", done, { once: true }));
  const start = (film) => film.play().catch(() => {});
  const sameLength = (one, two) => Math.abs(one.duration - two.duration) < MAX_OFFSET / 2;

  // The clips loop: the end is next to the start.
  const offset = (one, two) => {
    if (!sameLength(one, two) || one.seeking || two.seeking) return 0;
    const distance = Math.abs(one.currentTime - two.currentTime);
    return Math.min(distance, one.duration - distance);
  };

  customElements.define("aehub-pair", Pair);

  // On a phone the clips are below the buttons: scroll so that both are visible, if they fit.
  document.addEventListener("click", (event) => {
    const pair = event.target.closest('button[id^="edit-"]') && document.querySelector("#edited aehub-pair");
    if (pair && pair.getBoundingClientRect().bottom > innerHeight) {
      pair.scrollIntoView({ behavior: "smooth", block: "end" });
    }
  });
})();
