/**
 * The phone page: wires camera, connection, state and screen together.
 */
import "./phone.css";
import { nowMs } from "../clock.ts";
import type { Credential, Facing, Results } from "../protocol.ts";
import { CameraLink, socketIoOpener } from "../transport.ts";
import { controlsOf, facingOf, openCamera, otherFacing, setControl, stopStream } from "./camera.ts";
import { deviceName } from "./device.ts";
import { Rate } from "./rate.ts";
import { Screen } from "./screen.ts";
import { Stage } from "./stage.ts";
import { type PhoneEvent, type PhoneState, reduce, signalOf, usesCamera } from "./state.ts";
import { forgetResume, keepResume, type TokenPlaces, takeCredential } from "./token.ts";
import { ScreenLock } from "./wakelock.ts";
import { platformOf } from "./words.ts";

/** Figures change slower than results come, so that they can be read. */
const FIGURES_MS = 500;
const SIGNAL_MS = 2_000;

const places: TokenPlaces = { location, history, storage: sessionStorage };

class PhonePage {
  readonly #life = new AbortController();
  readonly #screen: Screen;
  readonly #stage: Stage;
  readonly #lock: ScreenLock;
  readonly #rate = new Rate();
  #credential: Credential | null;
  #state: PhoneState;
  #link: CameraLink | null = null;
  #stream: MediaStream | null = null;
  #facing: Facing = "environment";
  #isOpening = false;
  #results: Results | null = null;
  #figuresShownMs = 0;
  #signalTimer: ReturnType<typeof setInterval> | undefined;

  constructor() {
    const { signal } = this.#life;
    const { userAgent, maxTouchPoints } = navigator;
    this.#screen = new Screen(platformOf(userAgent, maxTouchPoints), signal);
    this.#stage = new Stage(this.#screen.video, this.#screen.canvas, signal);
    this.#lock = new ScreenLock(document, navigator.wakeLock, signal);
    this.#credential = takeCredential(places);
    this.#state = this.#credential
      ? { kind: "ready", isReturning: this.#credential.kind === "resume" }
      : { kind: "failed", failure: { kind: "no_token" } };
    this.#listen(signal);
    this.#screen.render(this.#state);
  }

  /** After a reload nobody wants to tap again, and a camera that is allowed need not ask. */
  async resume(): Promise<void> {
    if (this.#credential?.kind === "resume" && (await isCameraGranted())) await this.#start();
  }

  #listen(signal: AbortSignal): void {
    const { start, stop, flip, torch, zoom } = this.#screen;
    start.addEventListener("click", () => void this.#start(), { signal });
    stop.addEventListener("click", () => this.#stop(), { signal });
    flip.addEventListener("click", () => void this.#flip(), { signal });
    torch.addEventListener("click", () => void this.#toggleTorch(), { signal });
    zoom.addEventListener("input", () => void this.#zoom(), { signal });
    document.addEventListener("visibilitychange", () => this.#onVisibility(), { signal });
    globalThis.addEventListener("pagehide", () => this.#end(), { signal });
    // Another code scanned into the same tab changes nothing but the part behind the #.
    globalThis.addEventListener("hashchange", () => location.reload(), { signal });
    // Not released with the rest: a page that comes back from the cache has already ended.
    globalThis.addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  }

  #dispatch(event: PhoneEvent): void {
    const before = this.#state;
    this.#state = reduce(before, event);
    if (this.#state === before) return;
    if (usesCamera(before) && !usesCamera(this.#state)) this.#release();
    if (before.kind === "live" && this.#state.kind !== "live") this.#forgetResults();
    this.#lock.want(usesCamera(this.#state));
    this.#screen.render(this.#state);
  }

  // ── start and stop ──────────────────────────────────────────────────────────────────────────

  async #start(): Promise<void> {
    if (this.#isOpening || usesCamera(this.#state)) return;
    this.#dispatch({ type: "start" });
    const track = await this.#open(this.#facing);
    if (!track || !this.#credential) return;
    this.#dispatch({ type: "camera_opened" });
    this.#connect(track, this.#credential);
  }

  #connect(track: MediaStreamTrack, credential: Credential): void {
    this.#link = new CameraLink({
      track,
      credential,
      deviceName: deviceName(navigator.userAgent, navigator.maxTouchPoints),
      openSocket: socketIoOpener({ path: new URL("socket.io/", document.baseURI).pathname }),
      onState: (link) => this.#dispatch({ type: "link", link }),
      onWelcome: (welcome) => {
        this.#credential = { kind: "resume", token: welcome.resume };
        keepResume(places.storage, welcome.resume);
        this.#stage.setClassNames(welcome.classNames);
      },
      onResults: (results) => this.#onResults(results),
      onNotice: (notice) => this.#screen.showNotice(notice.message),
    });
    this.#tellCondition();
    this.#signalTimer = setInterval(() => void this.#measureSignal(), SIGNAL_MS);
    void this.#link.start();
  }

  #stop(): void {
    this.#link?.leave();
    forgetResume(places.storage);
    this.#dispatch({ type: "stop" });
  }

  /** Let go of camera and connection; the state says why. */
  #release(): void {
    clearInterval(this.#signalTimer);
    this.#link?.close();
    this.#link = null;
    this.#stage.show(null);
    stopStream(this.#stream);
    this.#stream = null;
    if (this.#state.kind === "failed" && isFinal(this.#state)) forgetResume(places.storage);
  }

  #end(): void {
    this.#release();
    this.#life.abort();
  }

  // ── camera ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Open a camera and show it; while `fallback` is given, that one when the first does not open.
   *
   * @returns null when it failed, which the state then says
   */
  async #open(facing: Facing, fallback?: Facing): Promise<MediaStreamTrack | null> {
    this.#isOpening = true;
    const result = await openCamera(facing);
    this.#isOpening = false;
    if (!result.ok && fallback) {
      this.#screen.showNotice("The other camera did not open.");
      return this.#open(fallback);
    }
    if (!result.ok) {
      this.#dispatch({ type: "camera_failed", failure: result.failure });
      return null;
    }
    const isWanted = this.#state.kind === "asking" || usesCamera(this.#state);
    if (this.#life.signal.aborted || !isWanted) {
      stopStream(result.stream); // it opened after the user had left, or the link had failed
      return null;
    }
    this.#stream = result.stream;
    this.#facing = facing;
    this.#stage.show(result.stream);
    this.#watch(result.track);
    this.#screen.showControls(controlsOf(result.track), await hasTwoCameras());
    return result.track;
  }

  #watch(track: MediaStreamTrack): void {
    const { signal } = this.#life;
    const update = () => {
      if (track !== this.#track()) return; // an old camera's last words
      const condition = track.readyState === "ended" ? "ended" : track.muted ? "muted" : "live";
      this.#dispatch({ type: "track", track: condition });
      this.#tellCondition();
      if (condition === "ended") void this.#reopen();
    };
    for (const type of ["mute", "unmute", "ended"])
      track.addEventListener(type, update, { signal });
  }

  #track(): MediaStreamTrack | undefined {
    return this.#stream?.getVideoTracks()[0];
  }

  /** Change the camera under the running connection: the old one first, phones open one at a time. */
  async #switchTo(facing: Facing): Promise<void> {
    if (this.#isOpening || !usesCamera(this.#state)) return;
    stopStream(this.#stream);
    const track = await this.#open(facing, facing === this.#facing ? undefined : this.#facing);
    if (!track) return;
    await this.#link?.replaceTrack(track);
    this.#dispatch({ type: "track", track: "live" });
    this.#tellCondition();
  }

  async #flip(): Promise<void> {
    await this.#switchTo(otherFacing(this.#facing));
  }

  /** The phone took the camera away (a call, the lock screen); take it back when we are seen again. */
  async #reopen(): Promise<void> {
    const isGone = this.#track()?.readyState === "ended";
    if (isGone && document.visibilityState === "visible") await this.#switchTo(this.#facing);
  }

  async #toggleTorch(): Promise<void> {
    const track = this.#track();
    const torch = this.#screen.torch.getAttribute("aria-pressed") !== "true";
    if (track && (await setControl(track, { torch }))) this.#screen.setTorch(torch);
  }

  async #zoom(): Promise<void> {
    const track = this.#track();
    if (track) await setControl(track, { zoom: this.#screen.zoom.valueAsNumber });
  }

  // ── while running ───────────────────────────────────────────────────────────────────────────

  #onVisibility(): void {
    this.#tellCondition();
    if (document.visibilityState !== "visible") return;
    this.#link?.hurry();
    void this.#reopen();
  }

  #tellCondition(): void {
    const track = this.#track();
    if (!track) return;
    this.#link?.setCondition({
      facing: facingOf(track),
      track: track.readyState === "ended" ? "ended" : track.muted ? "muted" : "live",
      visible: document.visibilityState === "visible",
    });
  }

  #onResults(results: Results): void {
    const now = nowMs();
    this.#results = results;
    this.#rate.add(now);
    if (document.visibilityState === "visible") this.#stage.showResults(results);
    if (now - this.#figuresShownMs >= FIGURES_MS) this.#showFigures(now);
  }

  #showFigures(now: number): void {
    this.#figuresShownMs = now;
    this.#screen.showFigures({ fps: this.#rate.perSecond(now), results: this.#results });
  }

  #forgetResults(): void {
    this.#results = null;
    this.#rate.clear();
    this.#stage.clear();
    this.#showFigures(nowMs());
  }

  async #measureSignal(): Promise<void> {
    const stats = await this.#link?.stats().catch(() => null);
    if (stats) this.#dispatch({ type: "signal", signal: signalOf(stats) });
    if (this.#rate.perSecond(nowMs()) !== null) return;
    this.#results = null; // nothing came lately: an old figure would look like a new one
    this.#showFigures(nowMs());
  }
}

/** The server has said no for good: a reload with the same token would only hear it again. */
function isFinal(state: Extract<PhoneState, { kind: "failed" }>): boolean {
  const { failure } = state;
  if (failure.kind === "removed") return true;
  return failure.kind === "refused" && /^(token_|revoked)/.test(failure.refusal.code);
}

async function isCameraGranted(): Promise<boolean> {
  try {
    const status = await navigator.permissions.query({ name: "camera" });
    return status.state === "granted";
  } catch {
    return false; // a browser that does not know the question: the user taps "Continue"
  }
}

async function hasTwoCameras(): Promise<boolean> {
  const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  return devices.filter((device) => device.kind === "videoinput").length > 1;
}

void new PhonePage().resume();
