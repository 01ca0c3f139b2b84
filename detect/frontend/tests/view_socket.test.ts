import { describe, expect, it } from "vitest";
import { viewerUrl } from "../src/view/session.ts";
import { pauseMs, type SocketLike, ViewerSocket } from "../src/view/socket.ts";

class FakeSocket implements SocketLike {
  binaryType: BinaryType = "blob";
  readyState: 0 | 1 | 2 | 3 = 1;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  readonly sent: Record<string, unknown>[] = [];
  isClosed = false;

  send(data: unknown): void {
    this.sent.push(JSON.parse(String(data)));
  }

  close(): void {
    this.isClosed = true;
  }

  receive(data: unknown): void {
    this.onmessage?.({ data } as MessageEvent);
  }

  break(): void {
    this.readyState = 3;
    this.onclose?.({} as CloseEvent);
  }
}

const HELLO = JSON.stringify({ type: "hello", protocol: 1, class_names: ["person"], model: "m" });

function pictureBytes(seq: number): ArrayBuffer {
  const text = new TextEncoder().encode(
    JSON.stringify({
      seq,
      stream_id: "s1",
      rtp: 1,
      size_wh: [640, 480],
      boxes: [[1, 2, 3, 4, 0.9, 0, 5]],
      model: "m",
      captured_ms: null,
      error_ms: null,
      processing_ms: 20,
      stages: { infer: 15 },
    }),
  );
  const bytes = new Uint8Array(4 + text.length + 2);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  bytes.set([0xff, 0xd8], 4 + text.length);
  return bytes.buffer;
}

function rig() {
  const sockets: FakeSocket[] = [];
  const log: string[] = [];
  const pauses: { ms: number; run: () => void; isCancelled: boolean }[] = [];
  let nowMs = 100;
  const viewer = new ViewerSocket(
    {
      url: "ws://host/detect/api/view",
      now: () => nowMs++,
      connect: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket;
      },
      after: (ms, run) => {
        const pause = { ms, run, isCancelled: false };
        pauses.push(pause);
        return () => {
          pause.isCancelled = true;
        };
      },
    },
    {
      onConnection: (connection) => log.push(connection),
      onMessage: (message) => log.push(message.type),
      onPicture: ({ header, jpeg }, arrivedMs) =>
        log.push(`picture ${header.seq} ${jpeg.length} ${arrivedMs}`),
    },
  );
  viewer.open();
  const socket = (i: number): FakeSocket => {
    const found = sockets[i];
    if (!found) throw new Error(`no socket ${i}`);
    return found;
  };
  return { viewer, sockets, socket, log, pauses };
}

describe("ViewerSocket", () => {
  it("is open with the server's hello, and then says what it watches", () => {
    const { viewer, socket, log } = rig();
    viewer.watch("s1");
    viewer.setVisible(false);
    expect(socket(0).sent).toEqual([]); // the proxy would lose it
    socket(0).receive(HELLO);
    expect(log).toEqual(["open", "hello"]);
    expect(socket(0).sent).toEqual([
      { type: "watch", stream_id: "s1" },
      { type: "visible", value: false },
    ]);
    socket(0).receive(HELLO); // the model changed
    expect(log).toEqual(["open", "hello", "hello"]);
  });

  it("answers a ping at once, in viewer time", () => {
    const { socket } = rig();
    socket(0).receive(HELLO);
    socket(0).receive(JSON.stringify({ type: "ping", id: 7, server_ms: 5 }));
    expect(socket(0).sent.at(-1)).toEqual({
      type: "pong",
      id: 7,
      received_ms: 101,
      replied_ms: 102,
    });
  });

  it("parses pictures, counts what breaks the protocol, and goes on", () => {
    const { viewer, socket, log } = rig();
    socket(0).receive(HELLO);
    socket(0).receive("{");
    socket(0).receive(JSON.stringify({ type: "surprise" }));
    socket(0).receive(new ArrayBuffer(2));
    socket(0).receive(pictureBytes(3));
    expect(viewer.nInvalid).toBe(3);
    expect(log.at(-1)).toBe("picture 3 2 104");
  });

  it("waits longer after every failure, and from the start again after a success", () => {
    const { sockets, socket, pauses, log } = rig();
    socket(0).break();
    pauses[0]?.run();
    socket(1).break();
    pauses[1]?.run();
    socket(2).receive(HELLO);
    socket(2).break();
    expect(pauses.map((pause) => pause.ms)).toEqual([250, 500, 250]);
    expect(log).toEqual(["closed", "closed", "open", "hello", "closed"]);
    expect(sockets).toHaveLength(3);
  });

  it("tries at once when told so, but never twice", () => {
    const { viewer, sockets, socket, pauses } = rig();
    viewer.retryNow();
    expect(sockets).toHaveLength(1);
    socket(0).break();
    viewer.retryNow();
    viewer.retryNow();
    expect(sockets).toHaveLength(2);
    expect(pauses[0]?.isCancelled).toBe(true);
  });

  it("stays closed", () => {
    const { viewer, sockets, socket, log, pauses } = rig();
    viewer.close();
    viewer.open();
    socket(0).break();
    expect(socket(0).isClosed).toBe(true);
    expect([sockets.length, log.length, pauses.length]).toEqual([1, 0, 0]);
  });

  it.each([
    [0, 250],
    [1, 250],
    [3, 1000],
    [30, 4000],
  ])("after %d failures pauses %d ms", (nFailures, ms) => {
    expect(pauseMs(nFailures)).toBe(ms);
  });
});

describe("viewerUrl", () => {
  it.each([
    ["http://localhost:8866/detect/", "ws://localhost:8866/detect/api/view"],
    ["https://hub/user/ann/detect/", "wss://hub/user/ann/detect/api/view"],
  ])("of %s is %s", (server, viewer) => {
    expect(viewerUrl(new URL(server))).toBe(viewer);
  });
});
