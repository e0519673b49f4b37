// <aehub-wipe>: one video with the original above the reconstruction, drawn twice under a divider.
// Both halves are of the same decoded frame, so they cannot be out of sync. With the attribute
// streams, [[label, first row], ...], any two of several pictures are shown.
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

  const ZOOMS = [1, 2, 4, 8];
  const text = (given) => given.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");

  class Wipe extends HTMLElement {
    connectedCallback() {
      if (this.video) return;
      this.W = Number(this.getAttribute("width"));
      this.H = Number(this.getAttribute("height"));
      this.times = JSON.parse(this.getAttribute("times"));
      // A picture is a clip of one frame, without controls for playing and stepping.
      this.still = this.times.length === 1;
      this.label = this.getAttribute("label") || "AEHub";
      const several = this.getAttribute("streams");
      this.streams = several ? JSON.parse(several)
        : [["original", 0], [this.label, Number(this.getAttribute("half"))]];
      this.several = Boolean(several);
      this.shown = [0, 1];
      this.zoom = 1;
      // Of what is on show, in pixels of the picture.
      this.corner = [0, 0];
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
      const tag = (side, which) => this.several
        ? `<select class="aw-tag aw-${side}" aria-label="Shown ${side} of the divider">${
          this.streams.map(([label], n) => `<option value="${n}" ${n === which ? "selected" : ""}>${text(label)}</option>`).join("")}</select>`
        : `<span class="aw-tag aw-${side}">${text(this.streams[which][0])}</span>`;
      this.innerHTML = `
        <div class="aw-stage" style="--w:${this.W};--h:${this.H}">
          <video src="${this.getAttribute("src")}" muted ${this.still ? "" : "loop"} playsinline preload="auto"
                 aria-hidden="true" tabindex="-1"></video>
          <canvas width="${this.W}" height="${this.H}" role="img"
                  aria-label=""></canvas>
          <img class="aw-error" alt="" hidden>
          ${tag("left", 0)}${tag("right", 1)}
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
          <button type="button" class="aw-zoom"
                  title="Zoom (+ and -); drag the picture to move it"><span>Zoom <b>1×</b></span></button>
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
      this.picks = [...this.querySelectorAll("select")];
      this.tabIndex = -1;
      this.classList.toggle("aw-several", this.several);
      this.describe();
      this.show();
      this.showState();
    }

    listen() {
      const on = (element, event, action) => element.addEventListener(event, action);
      const find = (name) => this.querySelector(name);
      on(this.play, "click", () => this.toggle());
      on(this.querySelector(".aw-back"), "click", () => this.step(-1));
      on(this.querySelector(".aw-forward"), "click", () => this.step(1));
      on(this.seek, "input", () => { this.video.pause(); this.go(Number(this.seek.value)); });
      on(this.mode, "click", () => this.setMode(this.mode.getAttribute("aria-pressed") !== "true"));
      on(find(".aw-zoom"), "click", () => this.magnify(ZOOMS[(ZOOMS.indexOf(this.zoom) + 1) % ZOOMS.length]));
      this.picks.forEach((pick, side) => on(pick, "change", () => this.pick(side, Number(pick.value))));
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
      const { W, context } = this, x = Math.round(this.at * W), [left, right] = this.shown;
      context.imageSmoothingEnabled = this.zoom === 1;
      if (this.several && this.isDifference) {
        this.paint(left, 0, W);
        context.globalCompositeOperation = "difference";
        this.paint(right, 0, W);
        context.globalCompositeOperation = "source-over";
      } else {
        this.paint(left, 0, x);
        this.paint(right, x, W);
      }
      const frame = this.frameAt(time ?? this.video.currentTime);
      if (frame !== this.frame) { this.frame = frame; this.show(); }
    }

    // Draw the columns from..to of the canvas from one stream.
    paint(stream, from, to) {
      if (from >= to) return;
      const { H, zoom, corner: [x, y] } = this, row = this.streams[stream][1];
      this.context.drawImage(this.video, x + from / zoom, row + y, (to - from) / zoom, H / zoom,
        from, 0, to - from, H);
    }

    // Show a stream left (side 0) or right (1) of the divider.
    pick(side, stream) {
      this.shown[side] = stream;
      if (this.picks[side]) this.picks[side].value = stream;
      this.describe();
      this.draw();
    }

    describe() {
      const [left, right] = this.shown.map((stream) => this.streams[stream][0]);
      this.canvas.setAttribute("aria-label", `The clip, ${left} left of the divider, ${right} right of it`);
    }

    // Zoom about the middle of what is on show.
    magnify(zoom) {
      const middle = [this.W, this.H].map((size, axis) => this.corner[axis] + size / this.zoom / 2);
      this.zoom = zoom;
      this.classList.toggle("aw-zoomed", zoom > 1);
      this.querySelector(".aw-zoom b").textContent = `${zoom}×`;
      this.move(middle[0] - this.W / zoom / 2, middle[1] - this.H / zoom / 2);
    }

    move(x, y) {
      this.corner = [[x, this.W], [y, this.H]].map(([at, size]) =>
        Math.round(Math.max(0, Math.min(size - size / this.zoom, at))));
      const [right, down] = [this.corner[0] / this.W, this.corner[1] / this.H].map((share) => -100 * share);
      this.error.style.transform = `scale(${this.zoom}) translate(${right}%, ${down}%)`;
      this.draw();
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
      if (!this.several) this.setMode(false);
      this.video.play().catch(() => {});
    }

    setMode(error) {
      this.mode.setAttribute("aria-pressed", String(error));
      this.classList.toggle("aw-shows-error", error);
      this.isDifference = error;
      // Of several streams the browser draws the difference; the server has that of one, exactly.
      if (!this.several) {
        if (error) this.video.pause();
        this.error.hidden = !error;
      }
      this.show();
      this.draw();
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
      this.divider.setAttribute("aria-valuetext", `${percent} % ${this.streams[this.shown[0]][0]}`);
      this.style.setProperty("--at", this.at);
      this.draw();
    }

    drag(event) {
      if (event.button || event.target.closest("select")) return;
      const moves = this.zoom > 1 && !event.target.closest(".aw-divider");
      if (this.isDifference && !moves) return;
      event.preventDefault();
      this.sweeping = false;
      if (!moves) this.divider.focus({ preventScroll: true });
      const box = this.canvas.getBoundingClientRect(), [x, y] = this.corner;
      const scale = this.W / box.width / this.zoom;
      const follow = (to) => {
        if (moves) this.move(x - (to.clientX - event.clientX) * scale, y - (to.clientY - event.clientY) * scale);
        else this.place((to.clientX - box.left) / box.width);
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
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select")) return;
      const zoomed = { "+": this.zoom * 2, "-": this.zoom / 2 }[event.key];
      const onButton = event.target.closest("button");
      if (event.key === " " && !onButton) this.toggle();
      else if (ZOOMS.includes(zoomed)) this.magnify(zoomed);
      else if (event.key === "ArrowLeft" && event.target !== this.seek) this.step(-1);
      else if (event.key === "ArrowRight" && event.target !== this.seek) this.step(1);
      else return;
      event.preventDefault();
    }
  }

  customElements.define("aehub-wipe", Wipe);

  // On a phone the result may be out of sight of the controls: scroll there when a job starts.
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#go, #reconstruct, .ae-example")) return;
    setTimeout(() => {
      const stage = [...document.querySelectorAll("#stage, #arena")].find((one) => one.offsetParent);
      const top = stage ? stage.getBoundingClientRect().top : 0;
      if (top < 0 || top > innerHeight * 0.7) stage.scrollIntoView({ block: "start" });
    }, 400);
  });

  // A button that names a stream shows it right of the divider.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-ae-stream]");
    const wipe = button && document.querySelector("aehub-wipe[streams]");
    if (wipe) wipe.pick(1, Number(button.dataset.aeStream));
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
