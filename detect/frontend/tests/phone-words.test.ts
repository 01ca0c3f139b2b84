import { describe, expect, test } from "vitest";
import type { Failure, PhoneState } from "../src/phone/state.ts";
import {
  failureWords,
  hintText,
  latencyFigure,
  type Platform,
  platformOf,
  statusText,
} from "../src/phone/words.ts";

const refused = (code: string, message = ""): Failure => ({
  kind: "refused",
  refusal: { code, message },
});

const FAILURES: readonly Failure[] = [
  { kind: "denied" },
  { kind: "no_camera" },
  { kind: "in_use" },
  { kind: "unusable" },
  { kind: "insecure" },
  { kind: "unsupported", detail: "x" },
  { kind: "no_token" },
  { kind: "unreachable" },
  { kind: "no_route" },
  ...["token_unknown", "token_used", "token_expired", "revoked", "full", "rate_limited"].map(
    (code) => refused(code),
  ),
  refused("protocol"),
  refused("no_video"),
  refused("something_new", "The server's own words."),
  { kind: "removed", refusal: { code: "removed", message: "" } },
  { kind: "removed", refusal: { code: "replaced", message: "Another page took over." } },
];
const PLATFORMS: readonly Platform[] = ["ios", "android", "other"];

describe.each(PLATFORMS)("on %s", (platform) => {
  test.each(FAILURES)("%j has a title, a reason and a next step", (failure) => {
    const words = failureWords(failure, platform);
    expect(words.title).not.toMatch(/[.:_]/);
    expect(words.text).toMatch(/\.$/);
    expect(words.steps.length).toBeGreaterThan(0);
    for (const step of words.steps) expect(step).toMatch(/^[A-Z].*\.$/);
  });
});

test("a removed phone hears the same at once and when it comes back", () => {
  const removed = { kind: "removed", refusal: { code: "removed", message: "" } } as const;
  expect(failureWords(removed, "other")).toEqual(failureWords(refused("revoked"), "other"));
});

test("no sentence speaks in codes or of exceptions", () => {
  for (const failure of FAILURES) {
    const { title, text, steps } = failureWords(failure, "other");
    const all = [title, text, ...steps].join(" ");
    expect(all).not.toMatch(/token|NotAllowed|ICE|undefined|Error/);
  }
});

test.each([
  [{ kind: "denied" }, "retry"],
  [{ kind: "in_use" }, "retry"],
  [{ kind: "unreachable" }, "retry"],
  [refused("full"), "retry"],
  [refused("token_used"), "none"],
  [refused("token_expired"), "none"],
  [refused("revoked"), "none"],
  [{ kind: "insecure" }, "none"],
] as const)("%j: %s", (failure, action) => {
  expect(failureWords(failure, "other").action).toBe(action);
});

test("an unknown refusal is told in the server's own words", () => {
  expect(failureWords(refused("new", "Closed for today."), "ios").text).toBe("Closed for today.");
  expect(failureWords(refused("new"), "ios").text).not.toBe("");
});

test("a blocked way through names guest networks, VPNs and the firewall", () => {
  const steps = failureWords({ kind: "no_route" }, "ios").steps.join(" ");
  expect(steps).toMatch(/[Gg]uest/);
  expect(steps).toMatch(/VPN/);
  expect(steps).toMatch(/firewall/);
});

const connecting = (over: object = {}): PhoneState => ({
  kind: "connecting",
  step: "server",
  trouble: null,
  nFailed: 0,
  track: "live",
  ...over,
});

test.each<[PhoneState, string]>([
  [{ kind: "ready", isReturning: false }, "Ready"],
  [{ kind: "asking" }, "Waiting for the camera…"],
  [connecting(), "Connecting…"],
  [connecting({ step: "media" }), "Opening the video…"],
  [connecting({ trouble: "lost" }), "Connection lost. Reconnecting…"],
  [{ kind: "live", sinceMs: 0, signal: "good", track: "live" }, "Live"],
  [{ kind: "live", sinceMs: 0, signal: "weak", track: "live" }, "Live, weak network"],
  [{ kind: "live", sinceMs: 0, signal: "weak", track: "muted" }, "The phone has paused the camera"],
  [{ kind: "stopped" }, "Stopped"],
])("%j reads “%s”", (state, expected) => {
  expect(statusText(state)).toBe(expected);
});

test("a hint comes when reconnecting drags on, not before", () => {
  expect(hintText(connecting({ trouble: "server_silent", nFailed: 1 }))).toBe("");
  expect(hintText(connecting({ trouble: "server_silent", nFailed: 2 }))).toMatch(/Wi-Fi/);
  expect(hintText(connecting({ trouble: "no_route", nFailed: 2 }))).toMatch(/VPN/);
  expect(hintText({ kind: "stopped" })).toBe("");
});

test.each([
  [null, { label: "latency", value: "–" }],
  [
    { ageMs: 41.6, processingMs: 20 },
    { label: "latency", value: "42 ms" },
  ],
  [
    { ageMs: null, processingMs: 20.2 },
    { label: "processing", value: "20 ms" },
  ],
  [
    { ageMs: 2345, processingMs: 20 },
    { label: "latency", value: "2.3 s" },
  ],
] as const)("the latency figure of %j", (results, expected) => {
  expect(latencyFigure(results)).toEqual(expected);
});

test.each<[Platform, string, number]>([
  ["ios", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Safari/604.1", 5],
  ["ios", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15", 5],
  ["other", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15", 0],
  ["android", "Mozilla/5.0 (Linux; Android 10; K) Chrome/140 Mobile Safari/537.36", 5],
  ["other", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", 0],
])("platform %s: %s", (expected, userAgent, touchPoints) => {
  expect(platformOf(userAgent, touchPoints)).toBe(expected);
});
