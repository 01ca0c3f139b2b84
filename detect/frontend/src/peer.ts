/**
 * Small steps around one RTCPeerConnection that sends a camera: offer, limits, figures.
 */
import type { VideoProfile } from "./protocol.ts";

/** Longest wait for ICE candidates; with no STUN server gathering takes some milliseconds. */
export const GATHERING_LIMIT_MS = 2_000;
/** Enough for a crisp 640×480 at 30 fps; the server may ask for another with `profile`. */
export const MAX_BITRATE_BPS = 2_500_000;

/**
 * Tell the encoder that detail matters more than smoothness.
 *
 * Chromium then keeps the size when bandwidth is short ("motion" drops to 480×360), and neither
 * denoises nor paces: on a 640×480 clip at 30 fps, two loaded cores, encoding took 3.8–4.8 ms a frame
 * at 0.9 Mb/s, against 6.7–9.6 ms at 1.1–1.4 Mb/s with "motion" or no hint, at the same frame rate.
 */
export function preferDetail(track: MediaStreamTrack): void {
  track.contentHint = "detail";
}

/** What is known about the way up, for the page's signal display. */
export interface LinkStats {
  /** Frames per second that left the encoder; null when unknown. */
  readonly sentFps: number | null;
  readonly rttMs: number | null;
  /** Share of lost packets in [0, 1]. */
  readonly lostFraction: number | null;
  /** What holds the encoder back, by its own account. */
  readonly limitation: "none" | "cpu" | "bandwidth" | "other";
}

/** Make the offer and resolve with it once all candidates are in it (the server does not trickle). */
export async function completeOffer(pc: RTCPeerConnection, signal: AbortSignal): Promise<string> {
  await pc.setLocalDescription(await pc.createOffer());
  await gatheringDone(pc, signal);
  const sdp = pc.localDescription?.sdp;
  if (!sdp) throw new Error("the browser made no offer");
  return sdp;
}

function gatheringDone(pc: RTCPeerConnection, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, GATHERING_LIMIT_MS);
    function done(): void {
      clearTimeout(timer);
      pc.removeEventListener("icegatheringstatechange", check);
      signal.removeEventListener("abort", done);
      resolve();
    }
    function check(): void {
      if (pc.iceGatheringState === "complete") done();
    }
    pc.addEventListener("icegatheringstatechange", check);
    signal.addEventListener("abort", done);
    check();
  });
}

/**
 * Send less when the network or the phone is short of breath by lowering the rate, not the size:
 * small objects vanish from a smaller picture, while a lower rate only makes boxes rarer.
 */
export async function limitSender(
  sender: RTCRtpSender,
  limits: {
    readonly maxBitrateBps: number;
    readonly frameRate: number;
    readonly scaleDownBy: number;
  },
): Promise<void> {
  const parameters = sender.getParameters();
  // Firefox before 110 gives no encodings until some are set.
  const [encoding = {}] = parameters.encodings ?? [];
  encoding.maxBitrate = limits.maxBitrateBps;
  encoding.maxFramerate = limits.frameRate;
  encoding.scaleResolutionDownBy = limits.scaleDownBy;
  parameters.encodings = [encoding];
  parameters.degradationPreference = "maintain-resolution";
  await sender.setParameters(parameters);
}

/**
 * How much smaller than the camera's picture `profile` is, at least 1.
 *
 * Compared by the short side, because a phone held upright turns 640×480 into 480×640.
 */
export function scaleDownBy(captured: MediaTrackSettings, profile: VideoProfile): number {
  const { width, height } = captured;
  if (!width || !height) return 1;
  return Math.max(1, Math.min(width, height) / Math.min(profile.width, profile.height));
}

/** Read the figures of the one outgoing video stream. */
export async function readStats(pc: RTCPeerConnection): Promise<LinkStats> {
  let sentFps: number | null = null;
  let rttMs: number | null = null;
  let lostFraction: number | null = null;
  let limitation: LinkStats["limitation"] = "none";
  for (const entry of (await pc.getStats()).values()) {
    if (entry.type === "outbound-rtp" && entry.kind === "video") {
      sentFps = entry.framesPerSecond ?? null;
      limitation = entry.qualityLimitationReason ?? "none";
    } else if (entry.type === "remote-inbound-rtp" && entry.kind === "video") {
      lostFraction = entry.fractionLost ?? null;
      if (entry.roundTripTime !== undefined) rttMs = entry.roundTripTime * 1000;
    } else if (entry.type === "candidate-pair" && entry.nominated && rttMs === null) {
      if (entry.currentRoundTripTime !== undefined) rttMs = entry.currentRoundTripTime * 1000;
    }
  }
  return { sentFps, rttMs, lostFraction, limitation };
}
