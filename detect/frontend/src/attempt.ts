/**
 * One try at a connection, from the first signalling byte to the end of the media.
 *
 * A connection that broke is never repaired: the server's ICE stack ignores restarts, so the next
 * try is a new {@link Attempt} with a new socket and a new RTCPeerConnection.
 */
import type { Clock } from "./clock.ts";
import { completeOffer, limitSender, MAX_BITRATE_BPS, scaleDownBy } from "./peer.ts";
import {
  type ControlMessage,
  parseControl,
  parseOfferAck,
  parseRefusal,
  parseResults,
  parseWelcome,
  pongText,
  type Refusal,
  type Results,
  type Welcome,
} from "./protocol.ts";
import type { OpenSocket, SignalSocket } from "./signalling.ts";

/** Media must flow this long after the answer, or there is no way between the two. */
export const MEDIA_LIMIT_MS = 15_000;
/** Shorter breaks heal by themselves (a lost beacon, a roaming handover). */
export const DISCONNECTED_LIMIT_MS = 2_000;
const OFFER_LIMIT_MS = 10_000;

/** Why an attempt ended. */
export type Outcome =
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "removed"; readonly refusal: Refusal }
  /** No answer to signalling, or one that makes no sense. */
  | { readonly kind: "unreachable" }
  /** Signalling worked, media never did. */
  | { readonly kind: "no_route" }
  /** Media flowed and stopped. */
  | { readonly kind: "lost" }
  /** The browser could not make a connection. */
  | { readonly kind: "unsupported"; readonly detail: string }
  | { readonly kind: "closed" };

/** What an attempt needs from, and tells, the link it belongs to. */
export interface AttemptHost {
  readonly openSocket: OpenSocket;
  readonly createPeer: (configuration: RTCConfiguration) => RTCPeerConnection;
  readonly clock: Clock;
  readonly auth: Record<string, unknown>;
  readonly welcomeLimitMs: number;
  /** The track to send now; read when the offer is made. */
  track(): MediaStreamTrack;
  /** What to tell the server about this phone when the control channel opens. */
  stateText(): string;
  onWelcome(welcome: Welcome): void;
  onConnected(): void;
  onResults(results: Results): void;
  onNotice(notice: Refusal): void;
  onBadMessage(error: string): void;
}

export class Attempt {
  readonly #host: AttemptHost;
  readonly #life = new AbortController();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #finish: (outcome: Outcome) => void = () => {};
  #socket: SignalSocket | null = null;
  #pc: RTCPeerConnection | null = null;
  #sender: RTCRtpSender | null = null;
  #control: RTCDataChannel | null = null;
  #brokenTimer: ReturnType<typeof setTimeout> | null = null;
  #wasConnected = false;

  constructor(host: AttemptHost) {
    this.#host = host;
  }

  get peer(): RTCPeerConnection | null {
    return this.#pc;
  }

  /** Media is interrupted right now. */
  get isBroken(): boolean {
    return this.#brokenTimer !== null;
  }

  /** Resolves when the connection is over, with everything it held released. Call once. */
  async run(): Promise<Outcome> {
    const outcome = await new Promise<Outcome>((resolve) => {
      this.#finish = resolve;
      this.#signal();
    });
    this.#release();
    return outcome;
  }

  /** End the attempt; the first reason given counts. */
  end(outcome: Outcome): void {
    this.#finish(outcome);
    this.#release();
  }

  /** Tell the server that the user is done. */
  sayGoodbye(): void {
    this.#socket?.send("leave", {});
  }

  sendControl(text: string): void {
    if (this.#control?.readyState === "open") this.#control.send(text);
  }

  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    await this.#sender?.replaceTrack(track);
  }

  #release(): void {
    this.#life.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#brokenTimer = null;
    this.#control = null;
    this.#pc?.close();
    this.#socket?.close();
    this.#socket = null;
  }

  #after(delayMs: number, action: () => void): ReturnType<typeof setTimeout> {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
    return timer;
  }

  #cancel(timer: ReturnType<typeof setTimeout>): void {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }

  // ── signalling ──────────────────────────────────────────────────────────────────────────────

  #signal(): void {
    const socket = this.#host.openSocket(this.#host.auth);
    this.#socket = socket;
    const noWelcome = this.#after(this.#host.welcomeLimitMs, () => {
      this.end({ kind: "unreachable" });
    });
    socket.on("connect_error", (data) => this.#onRefused(data));
    socket.on("removed", (payload) => this.#onRemoved(payload));
    // Without signalling there is no answer to the offer. Later the media tells better than the
    // socket whether the connection still lives.
    socket.on("disconnect", () => {
      if (!this.#wasConnected) this.end({ kind: "unreachable" });
    });
    socket.on("welcome", (payload) => {
      this.#cancel(noWelcome);
      this.#onWelcome(payload);
    });
  }

  #onRefused(data: unknown): void {
    const refusal = parseRefusal(data);
    this.end(refusal.ok ? { kind: "refused", refusal: refusal.value } : { kind: "unreachable" });
  }

  #onRemoved(payload: unknown): void {
    const parsed = parseRefusal(payload);
    const refusal = parsed.ok ? parsed.value : { code: "removed", message: "" };
    this.end({ kind: "removed", refusal });
  }

  #onWelcome(payload: unknown): void {
    // Too late, or a second one on the same socket.
    if (this.#life.signal.aborted || this.#pc) return;
    const welcome = parseWelcome(payload);
    if (!welcome.ok) {
      this.#host.onBadMessage(welcome.error);
      this.end({ kind: "unreachable" });
      return;
    }
    this.#host.onWelcome(welcome.value);
    this.#connect(welcome.value).catch((error: unknown) => {
      if (!this.#life.signal.aborted) this.end({ kind: "unsupported", detail: String(error) });
    });
  }

  // ── media ───────────────────────────────────────────────────────────────────────────────────

  async #connect(welcome: Welcome): Promise<void> {
    const pc = this.#host.createPeer({
      iceServers: welcome.iceServers,
      bundlePolicy: "max-bundle",
    });
    this.#pc = pc;
    pc.addEventListener("connectionstatechange", () => this.#onConnectionState(pc), this.#while());
    this.#addChannels(pc);
    const track = this.#host.track();
    this.#sender = pc.addTransceiver(track, { direction: "sendonly" }).sender;
    const sdp = await completeOffer(pc, this.#life.signal);
    if (this.#life.signal.aborted) return;
    const answerSdp = await this.#exchange(sdp);
    if (answerSdp === null || this.#life.signal.aborted) return;
    await pc.setRemoteDescription({ type: "answer", sdp: answerSdp });
    this.#after(MEDIA_LIMIT_MS, () => {
      if (!this.#wasConnected) this.end({ kind: "no_route" });
    });
    await this.#limit({ ...welcome.video, maxBitrateBps: MAX_BITRATE_BPS });
  }

  #while(): AddEventListenerOptions {
    return { signal: this.#life.signal };
  }

  #addChannels(pc: RTCPeerConnection): void {
    const control = pc.createDataChannel("control", { ordered: true });
    const results = pc.createDataChannel("results", { ordered: false, maxRetransmits: 0 });
    this.#control = control;
    const on = this.#while();
    control.addEventListener("open", () => control.send(this.#host.stateText()), on);
    control.addEventListener("message", (event) => this.#onControl(event.data), on);
    // The server closed the connection, or its process ended: known here seconds before ICE knows.
    control.addEventListener("close", () => this.#endMedia(), on);
    results.addEventListener("message", (event) => this.#onResults(event.data), on);
  }

  /** @returns the answer, or null when the attempt has ended instead */
  async #exchange(sdp: string): Promise<string | null> {
    let payload: unknown;
    try {
      payload = await this.#socket?.request("offer", { sdp }, OFFER_LIMIT_MS);
    } catch {
      this.end({ kind: "unreachable" });
      return null;
    }
    const answer = parseOfferAck(payload);
    if (answer.ok && answer.value.kind === "answer") return answer.value.sdp;
    if (answer.ok && answer.value.kind === "refused") {
      this.end({ kind: "refused", refusal: answer.value.refusal });
    } else if (!answer.ok) {
      this.#host.onBadMessage(answer.error);
      this.end({ kind: "unreachable" });
    }
    return null;
  }

  #onConnectionState(pc: RTCPeerConnection): void {
    if (this.#brokenTimer) this.#cancel(this.#brokenTimer);
    this.#brokenTimer = null;
    switch (pc.connectionState) {
      case "connected":
        this.#wasConnected = true;
        this.#host.onConnected();
        break;
      case "disconnected":
        this.#brokenTimer = this.#after(DISCONNECTED_LIMIT_MS, () => this.#endMedia());
        break;
      case "failed":
      case "closed":
        this.#endMedia();
        break;
    }
  }

  #endMedia(): void {
    this.end({ kind: this.#wasConnected ? "lost" : "no_route" });
  }

  // ── data channels ───────────────────────────────────────────────────────────────────────────

  #onControl(data: unknown): void {
    const receivedMs = this.#host.clock(); // first of all: parsing must not count as network time
    const message = parseControl(String(data));
    if (!message.ok) {
      this.#host.onBadMessage(message.error);
      return;
    }
    this.#obey(message.value, receivedMs);
  }

  #obey(message: ControlMessage, receivedMs: number): void {
    switch (message.type) {
      case "ping": {
        const { id, serverMs } = message;
        this.sendControl(pongText({ id, serverMs, receivedMs, repliedMs: this.#host.clock() }));
        break;
      }
      case "profile":
        this.#limit(message).catch((error: unknown) => this.#host.onBadMessage(String(error)));
        break;
      case "notice":
        this.#host.onNotice({ code: message.code, message: message.message });
        break;
    }
  }

  /** Change what is sent without renegotiating: the encoder's limits, and the camera's when they must grow. */
  async #limit(
    profile: Extract<ControlMessage, { type: "profile" }> | LocalProfile,
  ): Promise<void> {
    const sender = this.#sender;
    const track = sender?.track;
    if (!sender || !track) return;
    if (asksForMore(track.getSettings(), profile)) {
      await track.applyConstraints({
        width: { ideal: profile.width },
        height: { ideal: profile.height },
        frameRate: { ideal: profile.frameRate },
      });
    }
    await limitSender(sender, {
      maxBitrateBps: profile.maxBitrateBps,
      frameRate: profile.frameRate,
      scaleDownBy: scaleDownBy(track.getSettings(), profile),
    });
  }

  #onResults(data: unknown): void {
    const results = parseResults(String(data));
    if (results.ok) this.#host.onResults(results.value);
    else this.#host.onBadMessage(results.error);
  }
}

interface LocalProfile {
  readonly width: number;
  readonly height: number;
  readonly frameRate: number;
  readonly maxBitrateBps: number;
}

/** The camera gives less than `profile` wants; compared by the short side (phones are held upright). */
function asksForMore(captured: MediaTrackSettings, profile: LocalProfile): boolean {
  const { width, height, frameRate } = captured;
  if (!width || !height) return false;
  const isSmaller = Math.min(width, height) < Math.min(profile.width, profile.height);
  return isSmaller || (frameRate !== undefined && frameRate < profile.frameRate - 1);
}
