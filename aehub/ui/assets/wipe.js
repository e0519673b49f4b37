// <aehub-wipe>: one video with the original above the reconstruction, drawn twice under a divider.
// Both halves are of the same decoded frame, so they cannot be out of sync.
(() => {
  if (customElements.get("aehub-wipe")) return;

  const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
  const ICONS = {
    play: icon("M8 5v14l11-7z"),
    pause: icon("M7 5h4v14H7zM13 5h4v14h-4z"),
    back: icon("M6 5h2.5v14H6zM19 5v14l-9.5-7z"),
    forward: icon("M15.5 5H18v14h-2.5zM5 5v14l9.5-7z"),
    sound: icon("M4 9v6h4l5 4V5L8 9zM15.5 8.5a5 5 0 0 1 0 7M18 6a8.5 8.5 0 0 1 0 12"),
    silent: icon("M4 9v6h4l5 4V5L8 9zM16 9.5l5 5M21 9.5l-5 5"),
  };

  const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");

  class Wipe extends HTMLElement {
    connectedCallback() {
      if (this.video) return;
      this.W = Number(this.getAttribute("width"));
      this.H = Number(this.getAttribute("height"));
      this.half = Number(this.getAttribute("half"));
      this.times = JSON.parse(this.getAttribute("times"));
      // A picture is a clip of one frame, without controls for playing and stepping.
      this.still = this.times.length === 1;
      this.label = this.getAttribute("label") || "AEHub";
      this.at = 0.5;
      this.frame = 0;
      this.build();
      this.listen();
      this.place(0.5);
      this.watch();
      this.showPoster();
      if (this.hasAttribute("sweep") && !REDUCED_MOTION.matches) this.sweep();
    }

    disconnectedCallback() {
      this.video.pause();
      this.video.removeAttribute("src");
      this.video.load();
    }

    build() {
      const sound = this.hasAttribute("sound");
      const last = this.times.length - 1;
      const moves = this.still ? "hidden" : "";
      this.innerHTML = `
        <div class="aw-stage" style="--w:${this.W};--h:${this.H}">
          <video src="${this.getAttribute("src")}" muted ${this.still ? "" : "loop"} playsinline preload="auto"
                 aria-hidden="true" tabindex="-1"></video>
          <canvas width="${this.W}" height="${this.H}" role="img"
                  aria-label="The clip, original left of the divider, ${this.label} right of it"></canvas>
          <img class="aw-error" alt="" hidden>
          <span class="aw-tag aw-left">original</span><span class="aw-tag aw-right">${this.label}</span>
          <div class="aw-divider" role="slider" tabindex="0" aria-label="Divider"
               aria-valuemin="0" aria-valuemax="100" aria-orientation="horizontal"><i></i></div>
        </div>
        <div class="aw-bar">
          <button type="button" class="aw-play" ${moves} title="Play or pause (space)">${ICONS.pause}</button>
          <button type="button" class="aw-back" ${moves} title="One frame back (left arrow)"
                  aria-label="One frame back">${ICONS.back}</button>
          <button type="button" class="aw-forward" ${moves} title="One frame on (right arrow)"
                  aria-label="One frame on">${ICONS.forward}</button>
          <input class="aw-seek" type="range" min="0" max="${last}" value="0" step="1"
                 aria-label="Frame" ${moves}>
          <output class="aw-count"></output>
          <button type="button" class="aw-sound" ${sound ? "" : "hidden"}></button>
          <button type="button" class="aw-mode" aria-pressed="false"
                  title="Show the error of each frame, eight times as strong">Difference</button>
        </div>`;
      const find = (name) => this.querySelector(name);
      this.video = find("video");
      this.video.muted = true;
      this.canvas = find("canvas");
      this.context = this.canvas.getContext("2d", { alpha: false });
      this.stage = find(".aw-stage");
      this.divider = find(".aw-divider");
      this.error = find(".aw-error");
      this.seek = find(".aw-seek");
      this.count = find(".aw-count");
      this.mode = find(".aw-mode");
      this.play = find(".aw-play");
      this.sound = find(".aw-sound");
      this.tabIndex = -1;
      this.show();
      this.showState();
    }

    listen() {
      const on = (element, event, action) => element.addEventListener(event, action);
      on(this.play, "click", () => this.toggle());
      on(this.querySelector(".aw-back"), "click", () => this.step(-1));
      on(this.querySelector(".aw-forward"), "click", () => this.step(1));
      on(this.seek, "input", () => { this.video.pause(); this.go(Number(this.seek.value)); });
      on(this.mode, "click", () => this.setMode(this.mode.getAttribute("aria-pressed") !== "true"));
      on(this.sound, "click", () => { this.video.muted = !this.video.muted; this.showState(); });
      on(this.video, "play", () => this.showState());
      // Stay on the displayed frame: the next may already be decoded when the video pauses.
      on(this.video, "pause", () => { this.showState(); if (!this.still) this.go(this.frame); });
      on(this.video, "seeked", () => this.draw());
      on(this.video, "loadeddata", () => this.begin());
      on(this.stage, "pointerdown", (event) => this.drag(event));
      on(this.divider, "keydown", (event) => this.slide(event));
      on(this, "keydown", (event) => this.key(event));
    }

    // Draw before playing: a loop shorter than a display refresh never has a frame ready.
    begin() {
      this.draw();
      if (!this.still && !REDUCED_MOTION.matches) this.video.play().catch(() => {});
    }

    watch() {
      if (!this.video.requestVideoFrameCallback) {
        const loop = () => { if (this.isConnected) { this.draw(); requestAnimationFrame(loop); } };
        loop();
        return;
      }
      const next = (now, facts) => {
        if (!this.isConnected) return;
        this.draw(facts.mediaTime);
        this.video.requestVideoFrameCallback(next);
      };
      this.video.requestVideoFrameCallback(next);
    }

    draw(time) {
      if (this.video.readyState < 2) return;
      const { W, H, half } = this;
      const x = Math.round(this.at * W);
      if (x > 0) this.context.drawImage(this.video, 0, 0, x, H, 0, 0, x, H);
      if (x < W) this.context.drawImage(this.video, x, half, W - x, H, x, 0, W - x, H);
      const frame = this.frameAt(time ?? this.video.currentTime);
      if (frame !== this.frame) { this.frame = frame; this.show(); }
    }

    // Shown until the video is loaded.
    showPoster() {
      const address = this.getAttribute("poster");
      if (!address) return;
      const poster = new Image();
      poster.onload = () => {
        if (this.video.readyState < 2) this.context.drawImage(poster, 0, 0, this.W, this.H);
      };
      poster.src = address;
    }

    // Move the divider to and fro until the visitor drags it.
    sweep() {
      this.sweeping = true;
      const began = performance.now();
      const move = (now) => {
        if (!this.sweeping || !this.isConnected) return;
        if (!this.video.paused) this.place(0.5 + 0.32 * Math.sin((now - began) / 1300));
        requestAnimationFrame(move);
      };
      requestAnimationFrame(move);
    }

    frameAt(time) {
      let low = 0, high = this.times.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (this.times[middle] <= time + 1e-3) low = middle; else high = middle - 1;
      }
      return low;
    }

    go(frame) {
      const last = this.times.length - 1;
      const place = Math.max(0, Math.min(last, frame));
      const next = place < last ? this.times[place + 1] : this.video.duration || this.times[last] + 0.02;
      // The middle of the frame's duration: after rounding, its ends may belong to adjacent frames.
      this.video.currentTime = (this.times[place] + next) / 2;
      this.frame = place;
      this.show();
    }

    step(by) { this.video.pause(); this.go(this.frame + by); }

    toggle() {
      if (this.still) return;
      if (!this.video.paused) { this.video.pause(); return; }
      this.setMode(false);
      this.video.play().catch(() => {});
    }

    setMode(error) {
      this.mode.setAttribute("aria-pressed", String(error));
      this.classList.toggle("aw-shows-error", error);
      if (error) this.video.pause();
      this.error.hidden = !error;
      this.show();
    }

    show() {
      const frame = this.frame, n = this.times.length;
      this.seek.value = frame;
      this.seek.setAttribute("aria-valuetext", `frame ${frame + 1} of ${n}`);
      this.count.textContent = `${String(frame + 1).padStart(String(n).length, "\u2007")} / ${n}`;
      if (!this.error.hidden) {
        this.error.src = `${this.getAttribute("stills")}/difference/${frame}.png`;
        this.error.alt = `Error of frame ${frame + 1}, eight times as strong; black where nothing was lost`;
      }
      this.dispatchEvent(new CustomEvent("ae-frame", { bubbles: true, detail: { frame, n } }));
    }

    showState() {
      const paused = this.video.paused;
      this.play.innerHTML = paused ? ICONS.play : ICONS.pause;
      this.play.setAttribute("aria-label", paused ? "Play" : "Pause");
      this.sound.innerHTML = this.video.muted ? ICONS.silent : ICONS.sound;
      this.sound.setAttribute("aria-label", this.video.muted ? "Sound on" : "Sound off");
    }

    place(at) {
      this.at = Math.max(0, Math.min(1, at));
      const percent = Math.round(this.at * 100);
      this.divider.style.left = `${this.at * 100}%`;
      this.divider.setAttribute("aria-valuenow", percent);
      this.divider.setAttribute("aria-valuetext", `${percent} % original`);
      this.style.setProperty("--at", this.at);
      this.draw();
    }

    drag(event) {
      if (!this.error.hidden || event.button) return;
      event.preventDefault();
      this.sweeping = false;
      this.divider.focus({ preventScroll: true });
      const follow = (move) => {
        const box = this.canvas.getBoundingClientRect();
        this.place((move.clientX - box.left) / box.width);
      };
      const end = () => {
        this.stage.removeEventListener("pointermove", follow);
        this.stage.removeEventListener("pointerup", end);
        this.stage.removeEventListener("pointercancel", end);
      };
      this.stage.setPointerCapture(event.pointerId);
      this.stage.addEventListener("pointermove", follow);
      this.stage.addEventListener("pointerup", end);
      this.stage.addEventListener("pointercancel", end);
      follow(event);
    }

    slide(event) {
      this.sweeping = false;
      const by = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1 }[event.key];
      if (by !== undefined) this.place(this.at + by);
      else if (event.key === "Home") this.place(0);
      else if (event.key === "End") this.place(1);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const onButton = event.target.closest("button");
      if (event.key === " " && !onButton) this.toggle();
      else if (event.key === "ArrowLeft" && event.target !== this.seek) this.step(-1);
      else if (event.key === "ArrowRight" && event.target !== this.seek) this.step(1);
      else return;
      event.preventDefault();
    }
  }

  customElements.define("aehub-wipe", Wipe);

  // On a phone the result may be out of sight of the controls: scroll there when a job starts.
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#go, .ae-example")) return;
    setTimeout(() => {
      const stage = document.querySelector("#stage");
      const top = stage ? stage.getBoundingClientRect().top : 0;
      if (top < 0 || top > innerHeight * 0.7) stage.scrollIntoView({ block: "start" });
    }, 400);
  });

  // Mark the current frame in the curves below the player.
  document.addEventListener("ae-frame", ({ detail: { frame, n } }) => {
    for (const chart of document.querySelectorAll(`.ae-chart[data-ae-frames="${n}"]`)) {
      for (const line of chart.querySelectorAll(".now")) {
        const x = Number(line.dataset.left) + Number(line.dataset.wide) * (frame + 0.5) / n;
        line.setAttribute("x1", x);
        line.setAttribute("x2", x);
      }
    }
  });
})();
