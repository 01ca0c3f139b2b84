/**
 * Every sentence the phone page says: what is happening, and after a failure what to do next.
 */
import type { Refusal, Results } from "../protocol.ts";
import type { Trouble } from "../transport.ts";
import type { Failure, PhoneState, Signal } from "./state.ts";

/** What the page can offer after a failure. */
export type Action = "retry" | "none";

export interface Words {
  readonly title: string;
  /** What happened and why. */
  readonly text: string;
  /** What to do now, one thing per line; empty when there is nothing to do. */
  readonly steps: readonly string[];
  readonly action: Action;
}

export type Platform = "ios" | "android" | "other";

export function platformOf(userAgent: string, maxTouchPoints: number): Platform {
  // An iPad calls itself a Mac, but a Mac has no touch screen.
  if (/iPhone|iPad|iPod/.test(userAgent)) return "ios";
  if (/Macintosh/.test(userAgent) && maxTouchPoints > 1) return "ios";
  return /Android/.test(userAgent) ? "android" : "other";
}

const SCAN_AGAIN = "On the dashboard, show a new code and scan it with this phone.";
const AFTER_COLON = SCAN_AGAIN.charAt(0).toLowerCase() + SCAN_AGAIN.slice(1);

const ALLOW_STEPS: Readonly<Record<Platform, readonly string[]>> = {
  ios: [
    "Tap the icon at the left of the address, then the “…” menu or “Website Settings”, and set Camera to Allow.",
    "If it is not there: Settings → Apps → Safari → Camera → Allow.",
    "Come back and tap “Try again”.",
  ],
  android: [
    "Tap the icon at the left of the address, then Permissions, and allow Camera.",
    "If it is not there: Android Settings → Apps → your browser → Permissions → Camera.",
    "Come back and tap “Try again”.",
  ],
  other: ["Allow the camera in the address bar of the browser.", "Then choose “Try again”."],
};

export function failureWords(failure: Failure, platform: Platform): Words {
  switch (failure.kind) {
    case "denied":
      return {
        title: "The camera is not allowed",
        text: "The browser was told not to give this page the camera.",
        steps: ALLOW_STEPS[platform],
        action: "retry",
      };
    case "no_camera":
      return {
        title: "No camera found",
        text: "The browser sees no camera on this device.",
        steps: [
          "Open the link on a device with a camera.",
          "If there is one, check that it is switched on and not covered by a privacy setting.",
        ],
        action: "retry",
      };
    case "in_use":
      return {
        title: "The camera is busy",
        text: "Another app or browser tab is using the camera.",
        steps: ["Close video calls, camera apps and other tabs.", "Then tap “Try again”."],
        action: "retry",
      };
    case "unusable":
      return {
        title: "The camera gave no picture",
        text: "It refused every picture size this page asked for.",
        steps: ["Restart the browser, or the phone.", "Then open this page again."],
        action: "retry",
      };
    case "insecure":
      return {
        title: "This page is not secure",
        text: "Browsers give the camera only to pages with https:// in front of the address.",
        steps: [SCAN_AGAIN, "Open the link as it is, with https://."],
        action: "none",
      };
    case "unsupported":
      return {
        title: "This browser cannot send video",
        text: "It has no WebRTC. Browsers inside other apps (chat, mail, QR readers) often lack it.",
        steps: ["Open the link in Safari on an iPhone, or in Chrome on Android.", SCAN_AGAIN],
        action: "none",
      };
    case "no_token":
      return {
        title: "Scan the code first",
        text: "This page opens with the QR code on the dashboard; the address alone is not enough.",
        steps: ["Point this phone's camera app at the QR code and open the link."],
        action: "none",
      };
    case "unreachable":
      return {
        title: "The laptop does not answer",
        text: "This page cannot reach the program on the laptop any more.",
        steps: [
          "Check that the dashboard is still running.",
          "Check that phone and laptop are on the same Wi-Fi, and that the phone is not on mobile data.",
        ],
        action: "retry",
      };
    case "no_route":
      return {
        title: "The picture cannot get through",
        text: "This page reaches the laptop, but video between the two is blocked.",
        steps: [
          "Guest and hotel Wi-Fi often keep devices apart: use a home or office network, or this phone's hotspot.",
          "Switch off VPNs on the phone and on the laptop.",
          "Let Python through the laptop's firewall.",
        ],
        action: "retry",
      };
    case "refused":
    case "removed":
      return refusalWords(failure.refusal, failure.kind);
  }
}

/** The same news twice: as it happens (`removed`), and when the phone knocks again (`revoked`). */
const REMOVED_WORDS: Words = {
  title: "This phone was removed",
  text: "Someone at the dashboard removed this phone.",
  steps: [`To join again: ${AFTER_COLON}`],
  action: "none",
};

/** Codes of docs/protocol.md §1.1; others are told in the server's own words. */
const REFUSALS: Readonly<Record<string, Words>> = {
  token_used: {
    title: "This code was already used",
    text: "A code works once, so that nobody else can join with a photo of it.",
    steps: [SCAN_AGAIN],
    action: "none",
  },
  token_expired: {
    title: "This code is too old",
    text: "A code is good for ten minutes.",
    steps: [SCAN_AGAIN],
    action: "none",
  },
  token_unknown: {
    title: "The laptop does not know this code",
    text: "The laptop has made a newer code since, or has not seen this phone for half a day.",
    steps: [SCAN_AGAIN],
    action: "none",
  },
  removed: REMOVED_WORDS,
  revoked: REMOVED_WORDS,
  full: {
    title: "No room for another phone",
    text: "As many phones are connected as the laptop allows.",
    steps: ["Remove one on the dashboard, or stop one on the phone itself.", "Then try again."],
    action: "retry",
  },
  rate_limited: {
    title: "Too many tries",
    text: "This phone has asked too often in a short time.",
    steps: ["Wait a minute, then try again."],
    action: "retry",
  },
  protocol: {
    title: "Page and laptop do not match",
    text: "This page comes from another version than the one that runs on the laptop.",
    steps: ["Close this page.", SCAN_AGAIN],
    action: "none",
  },
  no_video: {
    title: "The laptop got no video",
    text: "This browser offered no video format that the laptop can read.",
    steps: ["Open the link in Safari on an iPhone, or in Chrome on Android.", SCAN_AGAIN],
    action: "none",
  },
};

function refusalWords(refusal: Refusal, kind: "refused" | "removed"): Words {
  const known = REFUSALS[refusal.code];
  if (known) return known;
  const wasRemoved = kind === "removed";
  return {
    title: wasRemoved ? "This phone was disconnected" : "The laptop said no",
    text: refusal.message || "It gave no reason.",
    steps: wasRemoved ? [SCAN_AGAIN] : ["Try again.", SCAN_AGAIN],
    action: wasRemoved ? "none" : "retry",
  };
}

const TROUBLES: Readonly<Record<Trouble, string>> = {
  server_silent: "The laptop does not answer. Trying again…",
  no_route: "Video is blocked on the way. Trying again…",
  lost: "Connection lost. Reconnecting…",
  busy: "The laptop is busy. Trying again in a moment…",
};

/** From this many failures in a row the user is told what to check. */
const N_FAILED_FOR_HINT = 2;

/** The state in a few words, for the line that is always in view. */
export function statusText(state: PhoneState): string {
  switch (state.kind) {
    case "ready":
      return state.isReturning ? "Paused" : "Ready";
    case "asking":
      return "Waiting for the camera…";
    case "connecting":
      if (state.trouble) return TROUBLES[state.trouble];
      return state.step === "server" ? "Connecting…" : "Opening the video…";
    case "live":
      return liveText(state);
    case "stopped":
      return "Stopped";
    case "failed":
      return "Not connected";
  }
}

function liveText(state: Extract<PhoneState, { kind: "live" }>): string {
  if (state.track === "muted") return "The phone has paused the camera";
  if (state.track === "ended") return "Waking the camera…";
  return state.signal === "weak" ? "Live, weak network" : "Live";
}

/** A second line under the status while reconnecting drags on; empty when there is none. */
export function hintText(state: PhoneState): string {
  if (state.kind !== "connecting" || state.nFailed < N_FAILED_FOR_HINT) return "";
  return state.trouble === "no_route"
    ? "Is this a guest Wi-Fi, or is a VPN on? Both can block video."
    : "Is the dashboard running? Is this phone on the same Wi-Fi?";
}

export const SIGNAL_WORDS: Readonly<Record<Signal, string>> = {
  good: "good",
  fair: "fair",
  weak: "weak",
};

export interface Figure {
  readonly label: string;
  readonly value: string;
}

/**
 * How long the last frame took. Without a synchronised clock only the laptop's share is known, and
 * it is called that.
 */
export function latencyFigure(results: Pick<Results, "ageMs" | "processingMs"> | null): Figure {
  if (!results) return { label: "latency", value: "–" };
  return results.ageMs === null
    ? { label: "processing", value: milliseconds(results.processingMs) }
    : { label: "latency", value: milliseconds(results.ageMs) };
}

function milliseconds(value: number): string {
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export const READY_WORDS: Words = {
  title: "Use this phone as the camera",
  text:
    "The browser will ask for the camera. Its picture goes to the computer whose code you scanned, " +
    "which looks for objects in it.",
  steps: [],
  action: "none",
};

export const RETURNING_WORDS: Words = {
  title: "Welcome back",
  text: "This phone is still known to the dashboard. Continue where you left off.",
  steps: [],
  action: "none",
};

export const ASKING_WORDS: Words = {
  title: "Allow the camera",
  text: "Answer the browser's question with “Allow”. Without the camera there is nothing to look at.",
  steps: [],
  action: "none",
};

export const STOPPED_WORDS: Words = {
  title: "Stopped",
  text: "The camera is off and the dashboard has forgotten this phone.",
  steps: [`To send again: ${AFTER_COLON}`],
  action: "none",
};
