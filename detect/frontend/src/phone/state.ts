/**
 * What the phone page is doing, as a tagged union, and the pure function that moves it on.
 *
 * Side effects (camera, connection, DOM) live elsewhere and report here as events. Events that come
 * late, after the user has stopped for instance, change nothing.
 */
import type { TrackCondition } from "../protocol.ts";
import type { LinkFailure, LinkState, LinkStats, Trouble } from "../transport.ts";

/** Why there is no picture from the camera. */
export type CameraFailure =
  | { readonly kind: "denied" }
  | { readonly kind: "no_camera" }
  | { readonly kind: "in_use" }
  | { readonly kind: "unusable" }
  | { readonly kind: "insecure" }
  | { readonly kind: "unsupported"; readonly detail: string };

export type Failure = CameraFailure | LinkFailure | { readonly kind: "no_token" };

/** How good the way to the laptop is; the words are in words.ts. */
export type Signal = "good" | "fair" | "weak";

export type PhoneState =
  | { readonly kind: "ready"; readonly isReturning: boolean }
  | { readonly kind: "asking" }
  | {
      readonly kind: "connecting";
      readonly step: "server" | "media";
      readonly trouble: Trouble | null;
      readonly nFailed: number;
      readonly track: TrackCondition;
    }
  | {
      readonly kind: "live";
      readonly sinceMs: number;
      readonly signal: Signal | null;
      readonly track: TrackCondition;
    }
  | { readonly kind: "stopped" }
  | { readonly kind: "failed"; readonly failure: Failure };

export type PhoneEvent =
  | { readonly type: "start" }
  | { readonly type: "camera_opened" }
  | { readonly type: "camera_failed"; readonly failure: CameraFailure }
  | { readonly type: "track"; readonly track: TrackCondition }
  | { readonly type: "link"; readonly link: LinkState }
  | { readonly type: "signal"; readonly signal: Signal | null }
  | { readonly type: "stop" };

export function reduce(state: PhoneState, event: PhoneEvent): PhoneState {
  switch (event.type) {
    case "start":
      return canStart(state) ? { kind: "asking" } : state;
    case "camera_opened":
      return state.kind === "asking" ? connecting("live") : state;
    case "camera_failed":
      return isOver(state) ? state : { kind: "failed", failure: event.failure };
    case "track":
      return usesCamera(state) ? { ...state, track: event.track } : state;
    case "link":
      return usesCamera(state) ? follow(state, event.link) : state;
    case "signal":
      return state.kind === "live" ? { ...state, signal: event.signal } : state;
    case "stop":
      return isOver(state) ? state : { kind: "stopped" };
  }
}

type WithCamera = Extract<PhoneState, { kind: "connecting" | "live" }>;

/** The camera is open and the link tries or lives. */
export function usesCamera(state: PhoneState): state is WithCamera {
  return state.kind === "connecting" || state.kind === "live";
}

function isOver(state: PhoneState): boolean {
  return state.kind === "stopped" || state.kind === "failed";
}

function canStart(state: PhoneState): boolean {
  return state.kind === "ready" || state.kind === "failed";
}

function connecting(track: TrackCondition): PhoneState {
  return { kind: "connecting", step: "server", trouble: null, nFailed: 0, track };
}

function follow(state: WithCamera, link: LinkState): PhoneState {
  switch (link.kind) {
    case "idle":
    case "closed":
      return state; // our own doing: the event that caused it says more
    case "connecting": {
      const { step, trouble, nFailed } = link;
      return { kind: "connecting", step, trouble, nFailed, track: state.track };
    }
    case "live":
      return { kind: "live", sinceMs: link.sinceMs, signal: null, track: state.track };
    case "failed":
      return { kind: "failed", failure: link.failure };
  }
}

/** Above these the picture visibly lags or stutters on a LAN; half of them is already not good. */
const WEAK_RTT_MS = 250;
const WEAK_LOST_FRACTION = 0.08;

export function signalOf(stats: LinkStats): Signal {
  const rtt = (stats.rttMs ?? 0) / WEAK_RTT_MS;
  const lost = (stats.lostFraction ?? 0) / WEAK_LOST_FRACTION;
  const limited = stats.limitation === "bandwidth" ? 0.6 : 0;
  const badness = Math.max(rtt, lost, limited);
  if (badness >= 1) return "weak";
  return badness >= 0.5 ? "fair" : "good";
}
