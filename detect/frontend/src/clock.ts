/**
 * This page's clock: milliseconds since 1970, monotonic while the page lives.
 *
 * Not `Date.now()`: that one jumps when the device sets its clock. RTCP sender reports of the
 * browser count on the same base, which is what lets the server map RTP time to this clock.
 */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Something that tells {@link nowMs}; tests pass their own. */
export type Clock = () => number;
