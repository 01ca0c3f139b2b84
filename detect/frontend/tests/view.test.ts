import { describe, expect, it } from "vitest";
import type { Picture, PictureHeader } from "../src/protocol.ts";
import {
  FigureWindow,
  fpsText,
  latencyText,
  type Situation,
  situationWords,
  staleText,
} from "../src/view/figures.ts";
import { type Traits, update, type ViewModel } from "../src/view/model.ts";
import { type Bitmap, PicturePump } from "../src/view/pump.ts";
import { linkWords, modelId, signalAddress, troubleWords } from "../src/view/source.ts";

function header(seq: number, changes: Partial<PictureHeader> = {}): PictureHeader {
  return {
    seq,
    streamId: "s1",
    rtp: seq * 3000,
    sizeWh: [640, 480],
    boxes: [],
    model: "m",
    capturedMs: 1000,
    errorMs: 1.2,
    processingMs: 24,
    stages: {},
    ...changes,
  };
}

class FakeBitmap implements Bitmap {
  readonly width = 640;
  readonly height = 480;
  readonly seq: number;
  isClosed = false;

  constructor(seq: number) {
    this.seq = seq;
  }

  close(): void {
    this.isClosed = true;
  }
}

/** A pump whose decoder answers when the test says so. */
function rig() {
  const log: string[] = [];
  const decoding: { finish: () => Promise<void>; fail: () => Promise<void>; bitmap: FakeBitmap }[] =
    [];
  const pump = new PicturePump<FakeBitmap>({
    decode: (jpeg) => {
      const bitmap = new FakeBitmap(jpeg[0] ?? -1);
      return new Promise((resolve, reject) => {
        const settled = async (settle: () => void) => {
          settle();
          for (let i = 0; i < 8; i += 1) await Promise.resolve(); // let the pump go on
        };
        decoding.push({
          bitmap,
          finish: () => settled(() => resolve(bitmap)),
          fail: () => settled(() => reject(new Error("no JPEG"))),
        });
      });
    },
    ack: (seq) => log.push(`ack ${seq}`),
    draw: (bitmap) => log.push(`draw ${bitmap.seq}`),
    drawn: (seq, times) => log.push(`drawn ${seq} ${times.arrivedMs}→${times.drawnMs}`),
    now: () => 77,
  });
  const offer = (seq: number) => {
    const picture: Picture = { header: header(seq), jpeg: new Uint8Array([seq]) };
    pump.offer(picture, 10 * seq);
  };
  return { pump, log, decoding, offer };
}

describe("PicturePump", () => {
  it("draws and reports in one message", async () => {
    const { log, decoding, offer } = rig();
    offer(1);
    expect(log).toEqual([]);
    await decoding[0]?.finish();
    expect(log).toEqual(["draw 1", "drawn 1 10→77"]);
  });

  it("shows the newest of those that came while one was decoded", async () => {
    const { pump, log, decoding, offer } = rig();
    offer(1);
    offer(2);
    offer(3);
    await decoding[0]?.finish();
    await decoding[1]?.finish();
    expect(decoding).toHaveLength(2);
    expect(log).toEqual(["ack 1", "draw 3", "drawn 3 30→77"]);
    expect(pump.nReplaced).toBe(2);
    expect(decoding[0]?.bitmap.isClosed).toBe(true);
  });

  it("acknowledges what it cannot decode, so that the stream goes on", async () => {
    const { pump, log, decoding, offer } = rig();
    offer(1);
    await decoding[0]?.fail();
    offer(2);
    await decoding[1]?.finish();
    expect(log).toEqual(["ack 1", "draw 2", "drawn 2 20→77"]);
    expect(pump.nBroken).toBe(1);
  });

  it("neither acknowledges nor draws what an earlier connection sent", async () => {
    const { pump, log, decoding, offer } = rig();
    offer(1);
    pump.reset();
    await decoding[0]?.finish();
    expect(log).toEqual([]);
    expect(decoding[0]?.bitmap.isClosed).toBe(true);
  });
});

describe("figures", () => {
  it.each([
    [{ fps: 29.6, figureMs: 41.6, errorMs: 2.3 }, "42 ms ± 3", "30 fps"],
    [{ fps: 12, figureMs: 31, errorMs: null }, "processing 31 ms", "12 fps"],
    [{ fps: 1, figureMs: 20, errorMs: 0.02 }, "20 ms ± 1", "1 fps"], // never "± 0"
  ])("%o reads %s, %s", (figures, latency, fps) => {
    expect(latencyText(figures)).toBe(latency);
    expect(fpsText(figures)).toBe(fps);
  });

  it.each([
    [1000, ""],
    [1001, "stale 1.0 s"],
    [1234, "stale 1.2 s"],
  ])("a picture of %d ms is marked %j", (ageMs, text) => {
    expect(staleText(ageMs)).toBe(text);
  });

  it("takes the rate from intervals and the age from the median of the last second", () => {
    const window = new FigureWindow();
    for (let i = 0; i <= 10; i += 1) {
      const drawnMs = 5000 + i * 50;
      window.add(header(i, { capturedMs: drawnMs - (i === 3 ? 500 : 40) }), drawnMs);
    }
    expect(window.read(5500)).toEqual({ fps: 20, figureMs: 40, errorMs: 1.2 });
    expect(window.read(7000)).toBeNull();
  });

  it("does not mix ages with processing times", () => {
    const window = new FigureWindow();
    window.add(header(1, { capturedMs: 4000 }), 5000);
    window.add(header(2, { capturedMs: null, errorMs: null, processingMs: 24 }), 5050);
    expect(window.read(5060)).toMatchObject({ figureMs: 24, errorMs: null });
  });
});

describe("words", () => {
  const live: Situation = {
    connection: "open",
    state: "live",
    name: "Pixel",
    message: "",
    hasPicture: true,
    sourceWords: "",
  };

  it.each<[string, Partial<Situation>, RegExp | null]>([
    ["a live picture needs none", {}, null],
    ["live, before the first picture", { hasPicture: false }, /Pixel is live/],
    ["the server is gone", { connection: "closed" }, /server is gone — reconnecting/],
    ["nobody yet", { state: "waiting", name: "" }, /Waiting for a phone.*QR/],
    ["on its way", { state: "connecting" }, /Pixel is connecting/],
    ["no pictures", { state: "stalled" }, /No pictures from Pixel/],
    ["gone", { state: "ended" }, /Pixel has left/],
    ["the server's own words", { state: "stalled", message: "Battery empty." }, /Battery empty/],
    ["own camera refused", { state: "waiting", sourceWords: "Allow it." }, /camera Allow it/],
  ])("%s", (_, changes, expected) => {
    const words = situationWords({ ...live, ...changes });
    if (expected === null) expect(words).toBeNull();
    else expect(`${words?.title} ${words?.hint}`).toMatch(expected);
  });

  it.each([
    ["NotAllowedError", /allow it/],
    ["NotFoundError", /no camera/],
    ["NotReadableError", /Another program/],
  ])("says what to do about %s", (name, expected) => {
    expect(troubleWords(Object.assign(new Error("x"), { name }))).toMatch(expected);
  });

  it("tells what keeps the page's own camera from being live", () => {
    expect(linkWords({ kind: "live", sinceMs: 0 })).toBe("");
    expect(linkWords({ kind: "failed", failure: { kind: "no_route" } })).toMatch(/UDP/);
  });
});

describe("addresses", () => {
  it("finds signalling behind the Jupyter proxy", () => {
    expect(signalAddress(new URL("https://hub.example/user/ann/detect/"))).toEqual({
      origin: "https://hub.example",
      path: "/user/ann/detect/socket.io/",
    });
  });

  it.each(["IPY_MODEL_abc", "anywidget:abc", "abc"])("reads the id out of %s", (reference) => {
    expect(modelId(reference)).toBe("abc");
  });
});

describe("update", () => {
  it("sends only what differs", () => {
    const traits: Partial<Traits> = { state: "live", message: "" };
    const saved: Partial<Traits>[] = [];
    const model = {
      get: (name: keyof Traits) => traits[name],
      set: (name: keyof Traits, value: never) => {
        traits[name] = value;
      },
      save_changes: () => saved.push({ ...traits }),
    } as unknown as ViewModel;
    update(model, { state: "live", message: "" });
    update(model, { state: "stalled", message: "" });
    expect(saved).toEqual([{ state: "stalled", message: "" }]);
  });
});
