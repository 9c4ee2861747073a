// One channel live, by WHEP: a View keeps a <video> connected, watch() puts it into words.
// Nothing here decides who may look: the server does, and writes it down.
import { t } from "./common.js";

/** What a view is doing, and what people are told: [中文, English, ok | warn | bad]. */
export const words = {
  off: ["未播放", "not playing", "warn"],
  connecting: ["正在连接…", "connecting…", "warn"],
  live: ["● 实时", "● live", "ok"],
  stalled: ["画面停滞，正在恢复…", "stalled, recovering…", "warn"],
  waiting: ["连接中断，稍后自动重试", "no connection, trying again", "warn"],
  paused: ["已暂停：暂停期间不显示", "paused: nothing is shown", "warn"],
  idle: ["未在录制：不显示画面", "not recording: nothing is shown", "warn"],
  refused: ["无法播放", "cannot be played", "bad"],
  login: ["请登录后观看实时画面", "log in to watch live", "bad"],
};

const last = ["h265", "h264", "aac", "nothing", "channel"]; // another try brings the same
const connectWithin = 10000; // ms, from the request to the first picture
const stallAfter = 3000; // ms without a picture
const giveUp = 8000;

/** Waits grow from half a second to ten, and differ, so that not all come back at once. */
const delay = (tries) => Math.min(10000, 500 * 2 ** tries) * (0.8 + 0.4 * Math.random());

/**
 * One view of one channel. It comes back by itself until stop().
 * The states are the keys of `words`; `text` is what the server said, if it refused.
 */
export class View {
  /**
   * @param {HTMLVideoElement} video
   * @param {string} channel
   * @param {{sound?: string, base?: string, onchange?: (v: View) => void}} [o] sound: a microphone's channel id, or "none"
   */
  constructor(video, channel, o = {}) {
    this.video = video;
    this.channel = channel;
    this.o = o;
    this.state = "off";
    this.text = "";
    this.sound = ""; // where the sound comes from: Minglu-Sound
    this.picture = ""; // Minglu-Picture
    this.stats = { fps: 0, kbps: 0, lost: 0, width: 0, height: 0, level_db: /** @type {number | null} */ (null) };
    this.tries = 0;
    this.wanted = false;
    /** @type {RTCPeerConnection | null} */ this.pc = null;
    this.resource = "";
    this.left = () => this.#goodbye();
  }

  start() {
    if (this.wanted) return;
    this.wanted = true;
    this.tries = 0;
    addEventListener("pagehide", this.left);
    this.#connect();
  }

  stop() {
    this.wanted = false;
    removeEventListener("pagehide", this.left);
    this.#down();
    this.#is("off");
  }

  /** Tries again now, if it is waiting: call it when the room begins to record, or a pause ends. */
  kick() {
    if (!this.wanted || this.pc) return;
    this.tries = 0;
    this.#connect();
  }

  #is(state, text = "") {
    if (this.state === state && this.text === text) return;
    this.state = state;
    this.text = text;
    this.o.onchange?.(this);
  }

  #goodbye() {
    if (this.resource) fetch(this.resource, { method: "DELETE", keepalive: true }).catch(() => {});
    this.resource = "";
  }

  #down() {
    clearTimeout(this.again);
    clearInterval(this.watch);
    this.#goodbye();
    const pc = this.pc;
    this.pc = null;
    if (pc) {
      pc.onconnectionstatechange = pc.ontrack = null;
      pc.close();
    }
    this.video.srcObject = null;
    this.stats.level_db = null;
  }

  /** Takes all down and comes back later, unless it makes no sense. */
  #later(state, text = "") {
    this.#down();
    this.#is(state, text);
    if (!this.wanted || state === "refused" || state === "login") return;
    const wait = state === "paused" || state === "idle" ? 5000 : delay(this.tries++);
    this.again = setTimeout(() => this.#connect(), wait);
  }

  async #connect() {
    this.#down();
    this.#is("connecting");
    const pc = new RTCPeerConnection();
    this.pc = pc;
    const media = new MediaStream();
    pc.addTransceiver("video", { direction: "recvonly" });
    if (this.o.sound !== "none") pc.addTransceiver("audio", { direction: "recvonly" });
    pc.ontrack = (e) => {
      media.addTrack(e.track);
      this.video.srcObject = media;
      this.video.play().catch(() => {}); // with sound a page may need a click first: it stays muted until then
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "failed" || pc.connectionState === "closed") this.#later("waiting");
    };
    try {
      await pc.setLocalDescription(await pc.createOffer());
      const query = this.o.sound ? "?sound=" + encodeURIComponent(this.o.sound) : "";
      const r = await fetch((this.o.base || "/whep/") + encodeURIComponent(this.channel) + query, {
        method: "POST", headers: { "Content-Type": "application/sdp" }, body: pc.localDescription.sdp, signal: AbortSignal.timeout(8000),
      });
      const resource = r.headers.get("Location") || "";
      if (this.pc !== pc) { // stopped meanwhile
        if (resource) fetch(resource, { method: "DELETE" }).catch(() => {});
        return;
      }
      if (!r.ok) {
        const error = (await r.json().catch(() => null))?.error;
        if (this.pc === pc) this.#refused(r.status, error);
        return;
      }
      this.resource = resource;
      this.sound = r.headers.get("Minglu-Sound") || "";
      this.picture = r.headers.get("Minglu-Picture") || "";
      await pc.setRemoteDescription({ type: "answer", sdp: await r.text() });
      if (this.pc !== pc) return;
      // The server's goodbye ends DTLS; connectionState would tell of it only much later.
      const dtls = pc.getReceivers()[0]?.transport;
      if (dtls) dtls.onstatechange = () => { if (this.pc === pc && dtls.state === "closed") this.#later("waiting"); };
      this.#observe(pc);
    } catch {
      if (this.pc === pc) this.#later("waiting");
    }
  }

  #refused(status, error) {
    const code = error?.code || "";
    const text = error ? t(error.zh, error.en) : "";
    if (status === 401 || status === 403) this.#later("login", text);
    else if (code === "paused" || code === "idle") this.#later(code, text);
    else if (last.includes(code)) this.#later("refused", text);
    else this.#later("waiting", text);
  }

  /** Looks once a second whether pictures, or sound alone, still come. */
  #observe(pc) {
    let before = null;
    const slow = this.picture.includes("reordered") ? 4 : 1; // keyframes only
    let moved = performance.now();
    let shown = false;
    const look = async () => {
      const all = [...(await pc.getStats()).values()].filter((s) => s.type === "inbound-rtp");
      if (this.pc !== pc) return;
      const v = all.find((s) => s.kind === "video" && s.packetsReceived > 0);
      const a = all.find((s) => s.kind === "audio" && s.packetsReceived > 0);
      const count = v ? v.framesDecoded || 0 : a ? a.packetsReceived : 0;
      const now = { count, bytes: (v?.bytesReceived || 0) + (a?.bytesReceived || 0), energy: a?.totalAudioEnergy || 0, time: a?.totalSamplesDuration || 0, at: performance.now() };
      if (before) this.#measure(before, now, v, a);
      if (count > (before?.count || 0)) {
        moved = now.at;
        shown = true;
        this.tries = 0;
        this.#is("live");
      } else if (shown && now.at - moved > giveUp * slow) this.#later("waiting");
      else if (shown && now.at - moved > stallAfter * slow) this.#is("stalled");
      else if (!shown && now.at - moved > connectWithin * slow) this.#later("waiting");
      before = now;
    };
    this.watch = setInterval(look, 1000);
    this.video.requestVideoFrameCallback?.(() => {
      if (this.pc !== pc) return;
      shown = true;
      this.#is("live");
    });
  }

  #measure(before, now, v, a) {
    const s = (now.at - before.at) / 1000;
    const dt = now.time - before.time;
    this.stats = {
      fps: v ? (now.count - before.count) / s : 0,
      kbps: ((now.bytes - before.bytes) * 8) / 1000 / s,
      lost: (v?.packetsLost || 0) + (a?.packetsLost || 0),
      width: v?.frameWidth || 0,
      height: v?.frameHeight || 0,
      // totalAudioEnergy is the integral of level² (webrtc-stats): its slope is the mean square. Sound
      // that is switched off has none in Chromium, whatever comes in.
      level_db: a && dt > 0 && !this.video.muted ? Math.max(-120, 10 * Math.log10(Math.max(1e-12, (now.energy - before.energy) / dt))) : null,
    };
    this.o.onchange?.(this);
  }
}

/**
 * Shows a channel in a <video> until stop(). It starts muted: browsers play no sound before a click.
 * @param {string} channel
 * @param {HTMLVideoElement} video
 * @param {(text: string, sound: boolean, note: string) => void} tell what to say where the picture would
 *   be, "" while it plays; whether there is sound; what else people should know
 * @param {{sound?: string, base?: string}} [o] as for View
 * @returns {{stop: () => void, sound: (on: boolean) => void, kick: () => void, view: View}}
 */
export function watch(channel, video, tell, o = {}) {
  video.muted = true;
  let told = "";
  const view = new View(video, channel, { ...o, onchange: () => {
    const w = words[view.state];
    const live = view.state === "live";
    const now = [live ? "" : view.text || t(w[0], w[1]), live && !view.sound.startsWith("none"), live ? notes(view) : ""];
    if (now.join("\n") === told) return;
    told = now.join("\n");
    tell(now[0], now[1], now[2]);
  } });
  view.start();
  return { view, stop: () => view.stop(), kick: () => view.kick(), sound: (on) => { video.muted = !on; } };
}

/** What the answer said of picture and sound that people should know. */
function notes(view) {
  const n = [];
  const codec = /codec=(\w+)/.exec(view.sound);
  if (view.state === "live" && codec) n.push(t(`摄像机声音为 ${codec[1].toUpperCase()}，浏览器无法实时播放；录制有声音。`, `The camera's sound is ${codec[1].toUpperCase()}, which cannot be played live; the recording has it.`));
  if (view.picture.includes("reordered")) n.push(t("码流含 B 帧，实时只能显示关键帧；请在摄像机中关闭 B 帧。录制不受影响。", "The stream has B-frames: only keyframes are shown live. Switch B-frames off in the camera. The recording has all."));
  return n.join(" ");
}
