import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Credential, Results } from "../src/protocol.ts";
import { CameraLink, type CameraLinkOptions, type LinkState } from "../src/transport.ts";
import { FakePeer, FakeServer, FakeTrack, WELCOME } from "./fakes.ts";

const PAIR: Credential = { kind: "pair", token: "once" };

class Bench {
  readonly server = new FakeServer();
  readonly peers: FakePeer[] = [];
  readonly states: LinkState[] = [];
  readonly results: Results[] = [];
  readonly notices: string[] = [];
  readonly track = new FakeTrack();
  readonly page = new EventTarget();
  clockMs = 1_000;
  readonly link: CameraLink;

  constructor(over: Partial<CameraLinkOptions> = {}) {
    this.link = new CameraLink({
      track: this.track.asTrack,
      credential: PAIR,
      deviceName: "iPhone",
      openSocket: this.server.open,
      createPeer: (configuration) => {
        const peer = new FakePeer(configuration);
        this.peers.push(peer);
        return peer as unknown as RTCPeerConnection;
      },
      clock: () => this.clockMs,
      page: this.page,
      onState: (state) => this.states.push(state),
      onResults: (results) => this.results.push(results),
      onNotice: (notice) => this.notices.push(notice.message),
      ...over,
    });
  }

  get peer(): FakePeer {
    const peer = this.peers.at(-1);
    if (!peer) throw new Error("no peer was made");
    return peer;
  }

  get kinds(): string[] {
    return this.states.map((state) => state.kind);
  }

  start(): void {
    void this.link.start();
  }

  /** Let promises settle without moving the clock. */
  async settle(): Promise<void> {
    await vi.advanceTimersByTimeAsync(0);
  }

  async welcome(): Promise<void> {
    this.server.last.emit("welcome", WELCOME);
    await this.settle();
  }

  async goLive(): Promise<void> {
    await this.welcome();
    this.peer.channel("control").open();
    this.peer.become("connected");
    await this.settle();
  }

  /** Live for long enough to count as steady. */
  async liveSteadily(): Promise<void> {
    this.start();
    await this.goLive();
    this.clockMs += 60_000;
  }
}

let bench: Bench;

beforeEach(() => {
  vi.useFakeTimers();
  FakePeer.gathersForEver = false;
  bench = new Bench();
});

afterEach(async () => {
  bench.link.close();
  await bench.settle();
  expect(vi.getTimerCount(), "a closed link leaves no timer").toBe(0);
  for (const socket of bench.server.sockets) expect(socket.isClosed).toBe(true);
  for (const peer of bench.peers) expect(peer.connectionState).toBe("closed");
  vi.useRealTimers();
});

describe("the way to live", () => {
  test("pairs, offers, opens both channels and tells each step", async () => {
    bench.start();
    expect(bench.server.last.auth).toEqual({ protocol: 1, pair: "once", name: "iPhone" });
    await bench.goLive();
    expect(bench.server.last.sent).toEqual([["offer", { sdp: "offer with candidates" }]]);
    expect(bench.peer.configuration.iceServers).toEqual(WELCOME.ice_servers);
    expect(bench.peer.direction).toBe("sendonly");
    expect(bench.peer.channel("control").init).toEqual({ ordered: true });
    expect(bench.peer.channel("results").init).toEqual({ ordered: false, maxRetransmits: 0 });
    expect(bench.peer.remoteDescription).toEqual({ type: "answer", sdp: "answer" });
    expect(bench.states).toEqual([
      { kind: "connecting", step: "server", trouble: null, nFailed: 0 },
      { kind: "connecting", step: "media", trouble: null, nFailed: 0 },
      { kind: "live", sinceMs: 1_000 },
    ]);
  });

  test("limits the encoder to what the server wants", async () => {
    bench.track.settings = { width: 720, height: 1280, frameRate: 30 };
    bench.start();
    await bench.goLive();
    const [parameters] = bench.peer.sender?.parameters ?? [];
    expect(parameters?.encodings).toEqual([
      { maxBitrate: 2_500_000, maxFramerate: 30, scaleResolutionDownBy: 1.5 },
    ]);
    expect(parameters?.degradationPreference).toBe("maintain-resolution");
  });

  test("a gathering that never ends is cut short", async () => {
    FakePeer.gathersForEver = true;
    bench.start();
    await bench.welcome();
    expect(bench.server.last.sent).toEqual([]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(bench.server.last.sent).toHaveLength(1);
  });

  test("a local source comes in by its name, again and again", async () => {
    bench = new Bench({ credential: { kind: "local", name: "laptop" } });
    await bench.liveSteadily();
    bench.peer.become("failed");
    await bench.settle();
    expect(bench.server.sockets.map((socket) => socket.auth)).toEqual([
      { protocol: 1, local: "laptop" },
      { protocol: 1, local: "laptop" },
    ]);
  });

  test("is walked once", async () => {
    bench.start();
    await expect(bench.link.start()).rejects.toThrow("once");
  });
});

describe("while live", () => {
  test("a ping is answered at once, stamped on arrival and on leaving", async () => {
    bench.start();
    await bench.goLive();
    const control = bench.peer.channel("control");
    bench.clockMs = 5_000;
    control.receive({ type: "ping", id: 7, server_ms: 1.5 });
    expect(JSON.parse(control.sent.at(-1) ?? "")).toEqual({
      type: "pong",
      id: 7,
      server_ms: 1.5,
      received_ms: 5_000,
      replied_ms: 5_000,
    });
  });

  test("the phone's condition is told on opening and on change only", async () => {
    const condition = { facing: "environment", track: "live", visible: true } as const;
    bench.link.setCondition(condition);
    bench.start();
    await bench.goLive();
    bench.link.setCondition({ ...condition });
    bench.link.setCondition({ ...condition, visible: false });
    const said = bench.peer.channel("control").sent.map((text) => JSON.parse(text));
    expect(said).toEqual([
      { type: "state", ...condition },
      { type: "state", ...condition, visible: false },
    ]);
  });

  test("results and notices are handed on, broken ones counted and dropped", async () => {
    bench.start();
    await bench.goLive();
    const results = { rtp: 1, size_wh: [4, 3], boxes: [], age_ms: 5, processing_ms: 1, model: "m" };
    bench.peer.channel("results").receive(results);
    bench.peer.channel("results").receive({ ...results, rtp: -1 });
    bench.peer.channel("control").receive("nonsense");
    bench.peer.channel("control").receive({ type: "notice", code: "hot", message: "Warm." });
    expect(bench.results.map((result) => result.ageMs)).toEqual([5]);
    expect(bench.notices).toEqual(["Warm."]);
    expect(bench.link.nBadMessages).toBe(2);
    expect(bench.link.state.kind).toBe("live");
  });

  test("a smaller profile is obeyed by the encoder alone", async () => {
    bench.start();
    await bench.goLive();
    const profile = { width: 320, height: 240, frame_rate: 15, max_bitrate_bps: 300_000 };
    bench.peer.channel("control").receive({ type: "profile", ...profile });
    await bench.settle();
    expect(bench.track.applied).toEqual([]);
    expect(bench.peer.sender?.parameters.at(-1)?.encodings).toEqual([
      { maxBitrate: 300_000, maxFramerate: 15, scaleResolutionDownBy: 2 },
    ]);
  });

  test("a larger profile asks the camera for more", async () => {
    bench.start();
    await bench.goLive();
    const profile = { width: 1280, height: 720, frame_rate: 30, max_bitrate_bps: 2_500_000 };
    bench.peer.channel("control").receive({ type: "profile", ...profile });
    await bench.settle();
    expect(bench.track.applied).toEqual([
      { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
    ]);
  });

  test("another camera replaces the track, also for the next connection", async () => {
    await bench.liveSteadily();
    const front = new FakeTrack();
    await bench.link.replaceTrack(front.asTrack);
    expect(bench.peer.sender?.track).toBe(front);
    expect(front.contentHint).toBe("detail");
    bench.peer.become("failed");
    await bench.welcome();
    expect(bench.peer.sender?.track).toBe(front);
  });

  test("figures of the way up", async () => {
    bench.start();
    expect(await bench.link.stats()).toBeNull();
    await bench.goLive();
    expect(await bench.link.stats()).toEqual({
      sentFps: 29,
      rttMs: 20,
      lostFraction: 0.1,
      limitation: "none",
    });
  });
});

describe("when the connection breaks", () => {
  test("a short break heals by itself", async () => {
    await bench.liveSteadily();
    bench.peer.become("disconnected");
    await vi.advanceTimersByTimeAsync(1_900);
    bench.peer.become("connected");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bench.peers).toHaveLength(1);
    expect(bench.kinds).toEqual(["connecting", "connecting", "live"]);
  });

  test.each([
    ["disconnected for more than 2 s", (peer: FakePeer) => peer.become("disconnected"), 2_000],
    ["failed", (peer: FakePeer) => peer.become("failed"), 0],
    ["closed by the server", (peer: FakePeer) => peer.channel("control").closeByServer(), 0],
  ])("%s: a new peer connection, with the resume token", async (_, breakIt, delayMs) => {
    await bench.liveSteadily();
    const first = bench.peer;
    breakIt(first);
    await vi.advanceTimersByTimeAsync(delayMs);
    expect(first.connectionState).toBe("closed");
    expect(bench.server.last.auth).toMatchObject({ resume: "resume-1" });
    expect(bench.link.state).toMatchObject({ kind: "connecting", trouble: "lost" });
    await bench.goLive();
    expect(bench.peers).toHaveLength(2);
    expect(bench.link.state.kind).toBe("live");
  });

  test("signalling alone may break: the media goes on", async () => {
    await bench.liveSteadily();
    bench.server.last.emit("disconnect", "transport close");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bench.link.state.kind).toBe("live");
    expect(bench.server.sockets).toHaveLength(1);
  });

  test("a link that breaks as soon as it is made is not made again at once", async () => {
    bench.start();
    await bench.goLive();
    bench.peer.become("failed");
    await bench.settle();
    expect(bench.server.sockets).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(bench.server.sockets).toHaveLength(2);
  });

  test("a server that is away is asked again and again, and found when it is back", async () => {
    await bench.liveSteadily();
    bench.peer.become("failed");
    for (let i = 0; i < 20; i += 1) {
      await bench.settle();
      bench.server.last.emit("connect_error", undefined);
      await vi.advanceTimersByTimeAsync(2_000); // the longest pause
    }
    expect(bench.server.sockets.length).toBeGreaterThan(20);
    expect(bench.link.state).toMatchObject({ kind: "connecting", trouble: "server_silent" });
    expect(bench.server.last.auth).toMatchObject({ resume: "resume-1" });
    await bench.goLive();
    expect(bench.link.state.kind).toBe("live");
  });

  test("a server that dies is given ten minutes to come back", async () => {
    await bench.liveSteadily();
    bench.peer.become("failed");
    for (let elapsedMs = 0; elapsedMs < 9.5 * 60_000; elapsedMs += 2_000) {
      await bench.settle();
      bench.server.last.emit("connect_error", undefined); // refused at once: nobody listens
      await vi.advanceTimersByTimeAsync(2_000);
    }
    await bench.goLive();
    expect(bench.link.state.kind).toBe("live");
  });

  test("the network's return cuts the pause short", async () => {
    await bench.liveSteadily();
    bench.peer.become("disconnected");
    bench.page.dispatchEvent(new Event("online"));
    await bench.settle();
    expect(bench.server.sockets).toHaveLength(2);
    bench.server.last.emit("connect_error", undefined);
    await bench.settle();
    bench.page.dispatchEvent(new Event("online"));
    await bench.settle();
    expect(bench.server.sockets).toHaveLength(3);
  });

  test("a busy server is asked again later, not sooner", async () => {
    await bench.liveSteadily();
    bench.peer.become("failed");
    await bench.settle();
    bench.server.last.emit("connect_error", { code: "rate_limited", message: "Slowly." });
    await vi.advanceTimersByTimeAsync(4_900);
    expect(bench.server.sockets).toHaveLength(2);
    expect(bench.link.state).toMatchObject({ kind: "connecting", trouble: "busy" });
    await vi.advanceTimersByTimeAsync(100);
    expect(bench.server.sockets).toHaveLength(3);
  });
});

describe("giving up", () => {
  const failure = () => (bench.link.state.kind === "failed" ? bench.link.state.failure : null);

  test.each(["token_unknown", "token_used", "token_expired", "revoked", "full", "protocol"])(
    "a refusal %s is final",
    async (code) => {
      bench.start();
      bench.server.last.emit("connect_error", { code, message: "No." });
      await vi.advanceTimersByTimeAsync(60_000);
      expect(failure()).toEqual({ kind: "refused", refusal: { code, message: "No." } });
      expect(bench.server.sockets).toHaveLength(1);
    },
  );

  test("a refused offer is told in the server's words", async () => {
    bench.server.answer = { error: { code: "no_video", message: "No video." } };
    bench.start();
    await bench.welcome();
    expect(failure()).toMatchObject({ kind: "refused", refusal: { code: "no_video" } });
  });

  test("removed at the dashboard", async () => {
    await bench.liveSteadily();
    bench.server.last.emit("removed", { code: "revoked", message: "Removed." });
    await bench.settle();
    expect(failure()).toMatchObject({ kind: "removed", refusal: { code: "revoked" } });
  });

  test("three silences at the start: the server cannot be reached", async () => {
    bench.start();
    for (let i = 0; i < 3; i += 1) await vi.advanceTimersByTimeAsync(12_000);
    expect(failure()).toEqual({ kind: "unreachable" });
    expect(bench.server.sockets).toHaveLength(3);
  });

  test.each([
    ["a welcome that makes no sense", () => bench.server.last.emit("welcome", { stream_id: 1 })],
    ["a socket that closes before the welcome", () => bench.server.last.emit("disconnect")],
  ])("%s counts as silence", async (_, happen) => {
    bench.start();
    happen();
    await bench.settle();
    expect(bench.link.state).toMatchObject({ trouble: "server_silent", nFailed: 1 });
  });

  test.each([
    ["no acknowledgement", new Error("timeout")],
    ["an answer that is none", { sdp: 5 }],
  ])("an offer with %s counts as silence", async (_, answer) => {
    bench.server.answer = answer;
    bench.start();
    await bench.welcome();
    expect(bench.link.state).toMatchObject({ trouble: "server_silent", nFailed: 1 });
  });

  test("signalling without media, twice: there is no way through", async () => {
    bench.start();
    await bench.welcome();
    await vi.advanceTimersByTimeAsync(15_000);
    expect(bench.link.state).toMatchObject({ kind: "connecting", trouble: "no_route" });
    await vi.advanceTimersByTimeAsync(250);
    expect(bench.server.last.auth).toMatchObject({ resume: "resume-1" });
    await bench.welcome();
    bench.peer.become("failed");
    await bench.settle();
    expect(failure()).toEqual({ kind: "no_route" });
  });

  test("a browser without WebRTC", async () => {
    bench = new Bench({
      createPeer: () => {
        throw new ReferenceError("RTCPeerConnection is not defined");
      },
    });
    bench.start();
    await bench.welcome();
    expect(failure()).toMatchObject({ kind: "unsupported" });
  });
});

describe("ending", () => {
  test("leave tells the server, then closes everything", async () => {
    await bench.liveSteadily();
    bench.link.leave();
    expect(bench.server.last.sent.at(-1)).toEqual(["leave", {}]);
    expect(bench.server.last.isClosed).toBe(true);
    expect(bench.link.state).toEqual({ kind: "closed" });
  });

  test("a page that goes away closes the connection at once", async () => {
    await bench.liveSteadily();
    bench.page.dispatchEvent(new Event("pagehide"));
    expect(bench.peer.connectionState).toBe("closed");
    expect(bench.server.last.sent.map(([event]) => event)).not.toContain("leave");
  });

  test.each(["before the welcome", "during a pause"])("%s", async (moment) => {
    bench.start();
    if (moment === "during a pause") bench.server.last.emit("connect_error", undefined);
    await bench.settle();
    bench.link.close();
    bench.link.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bench.server.sockets).toHaveLength(1);
    expect(bench.link.state).toEqual({ kind: "closed" });
  });

  test("nothing is told after the end", async () => {
    bench.start();
    bench.link.close();
    const nStates = bench.states.length;
    bench.server.last.emit("welcome", WELCOME);
    await bench.settle();
    expect(bench.states).toHaveLength(nStates);
  });
});
