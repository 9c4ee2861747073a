// Plays the channels of a session in step on its one media timeline, by Media Source Extensions:
// fragments are fetched by their offsets, so that segments join without a seam and nothing is
// fetched that is not seen. Times are µs of media time; the media's own times are the same (base 0).
import { el, put, t } from "./common.js";

const AHEAD = 20e6; // kept ready before the play head
const BEHIND = 20e6;
const LEAD = 12e6; // a seek fetches from here before it, so that a keyframe is in it
const CHUNK = 4 << 20; // bytes fetched at once
const NEAR = 1e5; // a part that begins this soon is there: channels do not begin at the same µs
const TOGETHER = 2e6; // the head stands first where all channels have begun, if that is so soon
const DRIFT = 0.25; // s a channel may be off the common time before it jumps there
const NUDGE = 0.12; // a channel that is less off runs faster or slower by at most this part, until it is in step
const STEP = 0.008; // s that are in step: a fifth of a frame at 25 a second
const FRAME = 40e3; // µs a frame step goes where no frame is known

/** The type for MSE. Browsers know Opus by its WebM name in small letters. */
const mime = (codecs) => (codecs.some((c) => /^(avc|hvc|hev)/.test(c)) ? "video" : "audio") + `/mp4; codecs="${codecs.map((c) => (c === "Opus" ? "opus" : c)).join(", ")}"`;

const seconds = (us) => us / 1e6;

/** The boxes between two offsets (ISO 14496-12 4.2). */
function* boxes(d, from, to) {
  for (let at = from; at + 8 <= to && d.getUint32(at) >= 8; at += d.getUint32(at)) {
    yield { at, end: Math.min(at + d.getUint32(at), to), type: String.fromCharCode(...new Uint8Array(d.buffer, at + 4, 4)) };
  }
}

/** Hides track id of an init or of fragments from the browser: its boxes become free space. */
function hide(buffer, id) {
  const d = new DataView(buffer);
  const free = (b) => d.setUint32(b.at + 4, 0x66726565);
  const names = (b, head) => [...boxes(d, b.at + 8, b.end)].some((c) => c.type === head && d.getUint32(c.at + (head === "tkhd" ? (d.getUint8(c.at + 8) ? 28 : 20) : 12)) === id);
  for (const top of boxes(d, 0, d.byteLength)) {
    if (top.type !== "moov" && top.type !== "moof") continue;
    for (const b of boxes(d, top.at + 8, top.end)) {
      if (b.type === "trak" && names(b, "tkhd") || b.type === "traf" && names(b, "tfhd")) free(b);
      if (b.type === "mvex") for (const c of boxes(d, b.at + 8, b.end)) if (c.type === "trex" && d.getUint32(c.at + 12) === id) free(c);
    }
  }
  return buffer;
}

/** The track of pictures of an init: its id, timescale and default duration; null without one. */
function pictures(buffer) {
  const d = new DataView(buffer);
  const inside = (b, type) => (b ? [...boxes(d, b.at + 8, b.end)].filter((c) => c.type === type) : []);
  const moov = [...boxes(d, 0, d.byteLength)].find((b) => b.type === "moov");
  for (const trak of inside(moov, "trak")) {
    const mdia = inside(trak, "mdia")[0];
    const hdlr = inside(mdia, "hdlr")[0], mdhd = inside(mdia, "mdhd")[0], tkhd = inside(trak, "tkhd")[0];
    if (!hdlr || !mdhd || !tkhd || d.getUint32(hdlr.at + 16) !== 0x76696465) continue; // "vide"
    const id = d.getUint32(tkhd.at + (d.getUint8(tkhd.at + 8) ? 28 : 20));
    const trex = inside(inside(moov, "mvex")[0], "trex").find((x) => d.getUint32(x.at + 12) === id);
    return { id, scale: d.getUint32(mdhd.at + (d.getUint8(mdhd.at + 8) ? 28 : 20)), long: trex ? d.getUint32(trex.at + 20) : 0 };
  }
  return null;
}

/** When each picture of the fragments in buffer is shown, µs (ISO 14496-12 8.8.7, 8.8.8, 8.8.12). */
function* shownAt(buffer, track) {
  const d = new DataView(buffer);
  for (const moof of boxes(d, 0, d.byteLength)) {
    if (moof.type !== "moof") continue;
    for (const traf of boxes(d, moof.at + 8, moof.end)) {
      if (traf.type !== "traf") continue;
      let at = 0, long = track.long, mine = false;
      for (const b of boxes(d, traf.at + 8, traf.end)) {
        const flags = d.getUint32(b.at + 8) & 0xffffff;
        if (b.type === "tfhd") {
          mine = d.getUint32(b.at + 12) === track.id;
          if (flags & 8) long = d.getUint32(b.at + 16 + (flags & 1 ? 8 : 0) + (flags & 2 ? 4 : 0));
        } else if (b.type === "tfdt") {
          at = d.getUint8(b.at + 8) ? Number(d.getBigUint64(b.at + 12)) : d.getUint32(b.at + 12);
        } else if (b.type === "trun" && mine) {
          let p = b.at + 16 + (flags & 1 ? 4 : 0) + (flags & 4 ? 4 : 0);
          const wide = 4 * [0x100, 0x200, 0x400, 0x800].filter((f) => flags & f).length;
          for (let n = d.getUint32(b.at + 12); n > 0 && p + wide <= b.end; n--, p += wide) {
            const late = flags & 0x800 ? d.getInt32(p + wide - 4) : 0;
            yield Math.round(((at + late) * 1e6) / track.scale);
            at += flags & 0x100 ? d.getUint32(p) : long;
          }
        }
      }
    }
  }
}

/** Parts of one channel to be shown at a time. */
class Channel {
  constructor(media, changed) {
    this.media = media;
    this.changed = changed;
    this.parts = media.segments.flatMap((seg) => seg.fragments.map((f) => ({ ...f, seg })));
    const codecs = media.segments[0]?.codecs || [];
    this.stuck = -1; // index of a part that could not be decoded
    this.video = media.kind !== "microphone";
    this.note = el("p", { class: "say", role: "status" });
    this.mute = el("p", {});
    this.type = this.shown(codecs);
    this.player = el(this.video ? "video" : "audio", { playsinline: true, preload: "auto", "aria-label": media.id });
    this.box = el("div", { class: "screen" }, el("p", {}, media.id + (this.video ? "" : t(" · 声音", " · sound"))), this.player, this.note, this.mute);
    this.usable = this.parts.length > 0 && this.playable(codecs);
    this.next = 0; // index of the part to fetch
    this.seg = null; // whose init is in the buffer
    this.generation = 0; // of the fetching: a seek makes the old one void
    this.frames = new Set(); // when pictures are shown, µs, near the head
    if (this.usable) this.attach();
  }

  /** The type of what the browser is given: no browser plays PCM, so a picture is shown without it. */
  shown(codecs) {
    const pcm = codecs.length > 1 ? codecs.indexOf("ipcm") : -1;
    this.hidden = pcm < 0 ? 0 : pcm + 1; // tracks are numbered in the order of their codecs
    if (this.hidden) put(this.mute, t("这路声音是 G.711，浏览器不能播放，此处只有画面；要听声音请下载后用播放软件打开。", "The sound of this channel is G.711, which browsers cannot play: the picture is shown without it. To hear it, download the file and open it with a media player."));
    return mime(codecs.filter((_, i) => i !== pcm));
  }

  playable(codecs) {
    const can = "MediaSource" in window && MediaSource.isTypeSupported(this.type);
    if (can) return true;
    const hevc = codecs.some((c) => /^(hvc1|hev1)/.test(c));
    put(this.note, (hevc ? t("此浏览器不能播放 H.265 画面。", "This browser cannot show H.265.") : t("此浏览器不能播放此格式（", "This browser cannot play this format (") + codecs.join(", ") + t("）。", ").")) +
      t("录像本身完好，请下载后用播放软件打开。", " The recording itself is sound: download it and open it with a media player."));
    return false;
  }

  attach() {
    this.source = new MediaSource();
    this.player.src = URL.createObjectURL(this.source);
    this.source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(this.player.src);
      this.buffer = this.source.addSourceBuffer(this.type);
      this.source.duration = seconds(this.end);
      this.fill(this.generation);
    }, { once: true });
    for (const e of ["canplay", "seeked", "waiting"]) this.player.addEventListener(e, this.changed);
    this.player.addEventListener("error", () => this.broken(t("播放出错：", "Cannot play: ") + (this.player.error?.message || "")));
  }

  get end() { return this.parts.length ? this.parts[this.parts.length - 1].to : 0; }

  /** The part that holds time at or begins right after it, or null in a gap. */
  covers(at) {
    const part = this.parts[this.index(at)];
    return part && part.from <= at + NEAR ? part : null;
  }

  /** Where its own media is to be at time at, in s. */
  place(at) { return seconds(Math.max(at, this.covers(at)?.from ?? at)); }

  /** The first part that ends after at. */
  index(at) {
    let lo = 0, hi = this.parts.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.parts[mid].to > at) hi = mid; else lo = mid + 1;
    }
    return lo;
  }

  buffered(at) {
    const b = this.player.buffered;
    for (let i = 0; i < b.length; i++) if (b.start(i) - 0.1 <= seconds(at) && seconds(at) < b.end(i)) return true;
    return false;
  }

  broken(why) {
    this.usable = false;
    put(this.note, why + t(" 请下载后用播放软件打开。", " Download it and open it with a media player."));
    this.changed();
  }

  seek(at, from = at - LEAD) {
    this.at = at;
    if (!this.usable) return;
    this.player.currentTime = this.place(at);
    if (this.buffered(at)) return;
    const i = this.index(at);
    if (i >= this.parts.length) return;
    const first = this.parts.findIndex((p) => p.seg === this.parts[i].seg); // a segment begins with a keyframe
    this.next = Math.max(first, this.index(from));
    this.from = this.next;
    this.generation++;
    if (this.buffer) this.fill(this.generation);
  }

  /** Fetches until AHEAD is there; runs once at a time per generation. */
  async fill(generation) {
    if (this.filling === generation) return;
    this.filling = generation;
    try {
      while (generation === this.generation && this.usable && this.next < this.parts.length && this.parts[this.next].from < this.at + AHEAD) {
        const first = this.parts[this.next];
        let last = this.next;
        while (last + 1 < this.parts.length && this.parts[last + 1].seg === first.seg && this.parts[last + 1].off === this.parts[last].off + this.parts[last].len &&
          this.parts[last + 1].off + this.parts[last + 1].len - first.off <= CHUNK && this.parts[last + 1].from < this.at + AHEAD) last++;
        if (this.seg !== first.seg) {
          const type = this.shown(first.seg.codecs);
          if (type !== this.type) {
            this.type = type;
            if (!this.playable(first.seg.codecs)) { this.usable = false; return; }
            await this.turn(() => this.buffer.changeType(this.type));
          }
          const init = await this.bytes(first.seg, first.seg.init.off, first.seg.init.len);
          this.track = this.video ? pictures(init) : null;
          await this.append(init, generation);
          if (generation !== this.generation) return; // the init may not have gone in
          this.seg = first.seg;
        }
        const bytes = await this.bytes(first.seg, first.off, this.parts[last].off + this.parts[last].len - first.off);
        if (generation !== this.generation) return;
        if (this.track) for (const at of shownAt(bytes, this.track)) this.frames.add(at);
        await this.append(bytes, generation);
        this.next = last + 1;
        await this.forget();
        this.changed();
      }
      // Nothing decodable although all around is there: no keyframe within LEAD. Begin with the segment.
      const part = this.covers(this.at);
      if (generation !== this.generation || !part || this.buffered(this.at)) return;
      if (this.parts[this.from]?.from > part.seg.start + 1e5) this.seek(this.at, part.seg.start);
      else this.stuck = this.index(this.at);
    } catch (err) {
      if (generation === this.generation) this.broken(err.message);
    } finally {
      if (this.filling === generation) this.filling = -1;
    }
  }

  async bytes(seg, off, len) {
    const r = await fetch(this.media.url(seg.n), { headers: { Range: `bytes=${off}-${off + len - 1}` } });
    if (r.status === 503) { // busy: recording comes first
      await new Promise((ok) => setTimeout(ok, 2000));
      return this.bytes(seg, off, len);
    }
    if (r.status !== 206) {
      const e = await r.json().catch(() => null);
      throw new Error(e?.error ? t(e.error.zh, e.error.en) : t("文件读取失败。", "The file cannot be read."));
    }
    const b = await r.arrayBuffer();
    return this.hidden ? hide(b, this.hidden) : b;
  }

  /** Appends in order, never two at once. */
  append(bytes, generation) { return this.turn(() => generation === this.generation && this.buffer.appendBuffer(bytes)); }

  /** When the picture after (or before) the one shown at time at is shown; undefined where none is known. */
  frame(at, back) {
    const all = [...this.frames].sort((a, b) => a - b);
    const now = all.findLastIndex((f) => f <= at);
    return all[now + (back ? -1 : 1)];
  }

  forget() {
    for (const f of this.frames) if (Math.abs(f - this.at) > AHEAD + BEHIND) this.frames.delete(f);
    const to = seconds(this.at - BEHIND);
    const b = this.player.buffered;
    if (!b.length || b.start(0) >= to - 10) return Promise.resolve();
    return this.turn(() => this.buffer.remove(0, to));
  }

  turn(what) {
    const next = (this.busy || Promise.resolve()).then(() => new Promise((ok, bad) => {
      const b = this.buffer;
      if (what() === false || !b.updating) { ok(); return; }
      b.onupdateend = () => ok();
      b.onerror = () => bad(new Error(t("此浏览器不能解码此文件。", "This browser cannot decode this file.")));
    }));
    this.busy = next.catch(() => {});
    return next;
  }

  /** Follows the common time. Returns false while it should show something and is not ready. */
  follow(at, playing, rate) {
    this.at = at;
    if (!this.usable) return true;
    const p = this.player;
    if (!this.covers(at)) {
      put(this.note, t("此处没有记录", "Nothing recorded here"));
      if (!p.paused) p.pause();
      return true;
    }
    if (this.stuck === this.index(at)) {
      put(this.note, t("此处不能解码", "Cannot be decoded here"));
      return true;
    }
    put(this.note, "");
    if (this.buffer && this.filling !== this.generation && !this.buffered(at) && (this.next >= this.parts.length || this.parts[this.next].from > at || this.parts[this.next].to < at - LEAD)) this.seek(at);
    else this.fill(this.generation);
    if (!this.buffered(at) || p.readyState < 2) return false;
    const place = this.place(at);
    const behind = place - p.currentTime;
    if (Math.abs(behind) > (playing ? DRIFT * rate : 0.02) && !p.seeking) p.currentTime = place;
    const nudge = playing && Math.abs(behind) > STEP ? Math.max(-NUDGE, Math.min(NUDGE, behind / rate)) : 0;
    if (Math.abs(p.playbackRate - rate * (1 + nudge)) > 0.004) p.playbackRate = rate * (1 + nudge);
    if (playing && p.paused) p.play().catch(() => {});
    if (!playing && !p.paused) p.pause();
    return true;
  }
}

/** The common time. shown is called when something to be shown changed. */
export class Player {
  constructor(place, media, shown) {
    this.shown = shown;
    this.channels = media.map((m) => new Channel(m, () => this.step()));
    place.replaceChildren(...this.channels.map((c) => c.box));
    this.end = Math.max(0, ...this.channels.map((c) => c.end));
    const begins = this.channels.filter((c) => c.parts.length).map((c) => c.parts[0].from);
    const first = Math.min(...begins, this.end);
    this.at = Math.max(first, ...begins.filter((b) => b <= first + TOGETHER));
    this.playing = false;
    this.rate = 1;
    for (const c of this.channels) c.seek(this.at);
  }

  toggle() {
    if (!this.playing && this.at >= this.end - 1e5) this.seek(0);
    this.playing = !this.playing;
    this.last = performance.now();
    if (this.playing) requestAnimationFrame(() => this.tick());
    this.step();
  }

  speed(rate) { this.rate = rate; }

  /** On to the next picture, or back to the one before, of the first channel that shows one here; stops playing. */
  frame(back) {
    if (this.playing) this.toggle();
    const lead = this.channels.find((c) => c.usable && c.video && c.covers(this.at));
    const to = lead?.frame(this.at, back);
    this.seek(to === undefined ? this.at + (back ? -FRAME : FRAME) : to + 1e3); // within the picture, not on its edge
  }

  mute() {
    this.muted = !this.muted;
    for (const c of this.channels) c.player.muted = this.muted;
    this.shown();
  }

  seek(at) {
    this.at = Math.max(0, Math.min(at, this.end));
    for (const c of this.channels) c.seek(this.at);
    this.step();
  }

  /** Wall time of the head, from the segment that holds it; "" unknown. */
  wall() {
    for (const c of this.channels) {
      const p = c.covers(this.at);
      if (p?.seg.wall) return new Date(new Date(p.seg.wall).getTime() + (this.at - p.seg.start) / 1000).toISOString();
    }
    return "";
  }

  tick() {
    if (!this.playing) return;
    const now = performance.now();
    const passed = Math.min(now - this.last, 500);
    this.last = now;
    if (this.step()) this.at += passed * 1000 * this.rate; // time waits for whoever is not ready
    if (!this.channels.some((c) => c.covers(this.at))) { // a break: on to where somebody has something again
      const next = Math.min(...this.channels.map((c) => c.parts[c.index(this.at)]?.from ?? Infinity));
      if (next === Infinity) { this.at = this.end; this.playing = false; } else this.seek(next);
    }
    this.step();
    if (this.playing) requestAnimationFrame(() => this.tick());
  }

  step() {
    let ready = true;
    for (const c of this.channels || []) ready = c.follow(this.at, this.playing, this.rate) && ready;
    this.shown();
    return ready;
  }
}
