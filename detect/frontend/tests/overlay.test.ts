import { describe, expect, test } from "vitest";
import {
  boxOnCanvas,
  classColour,
  drawBoxes,
  fontSizePx,
  labelText,
  lineWidthPx,
  type OverlayContext,
  placeLabel,
} from "../src/overlay.ts";
import type { Box, SizeWh } from "../src/protocol.ts";

const box = (over: Partial<Box> = {}): Box => ({
  x1: 100,
  y1: 100,
  x2: 200,
  y2: 200,
  score: 0.87,
  classId: 0,
  trackId: 3,
  ...over,
});

type Call = readonly [name: string, ...args: unknown[]];

/** Writes down what is drawn, with the style of that moment. */
class Recorder {
  readonly calls: Call[] = [];
  strokeStyle = "";
  fillStyle = "";
  lineWidth = 0;
  font = "";
  textBaseline = "alphabetic";
  textAlign = "start";
  dash: number[] = [];
  save = () => this.calls.push(["save"]);
  restore = () => this.calls.push(["restore"]);
  clearRect = (...args: number[]) => this.calls.push(["clearRect", ...args]);
  strokeRect = (...args: number[]) =>
    this.calls.push(["strokeRect", ...args, this.strokeStyle, this.dash.length > 0]);
  fillRect = (...args: number[]) => this.calls.push(["fillRect", ...args, this.fillStyle]);
  fillText = (...args: unknown[]) => this.calls.push(["fillText", ...args]);
  measureText = (text: string) => ({ width: text.length * 8 });
  setLineDash = (dash: number[]) => {
    this.dash = dash;
  };

  of(name: string): Call[] {
    return this.calls.filter(([called]) => called === name);
  }
}

function draw(boxes: readonly Box[], over: { stale?: boolean; canvasWh?: SizeWh } = {}): Recorder {
  const recorder = new Recorder();
  drawBoxes(recorder as unknown as OverlayContext, boxes, {
    sizeWh: [640, 480],
    canvasWh: [640, 480],
    classNames: ["person", "bicycle"],
    ...over,
  });
  return recorder;
}

test("a class has one colour, and neighbours have others", () => {
  const colours = Array.from({ length: 80 }, (_, classId) => classColour(classId));
  expect(classColour(17)).toBe(colours[17]);
  expect(new Set(colours).size).toBeGreaterThan(70);
  for (const colour of colours) expect(colour).toMatch(/^hsl\(\d+ 90% \d+%\)$/);
});

test("odd class numbers have a colour too", () => {
  expect(classColour(-1)).toMatch(/^hsl\(\d+ /);
});

test.each([
  [box(), "person 87% #3"],
  [box({ trackId: -1 }), "person 87%"],
  [box({ trackId: 0, score: 1 }), "person 100% #0"],
  [box({ classId: 9 }), "class 9 87% #3"],
])("label %#", (value, expected) => {
  expect(labelText(value, ["person"])).toBe(expected);
});

test("boxes are scaled from picture to canvas and cut at its edges", () => {
  const wide = box({ x1: -50, y1: 100, x2: 700, y2: 200 });
  expect(boxOnCanvas(wide, [640, 480], [320, 240])).toEqual({
    x: 0,
    y: 50,
    width: 320,
    height: 50,
  });
});

test.each([
  box({ x1: 700, x2: 800 }),
  box({ y1: -20, y2: -10 }),
  box({ x1: 50, x2: 50 }),
  box({ x1: 60, x2: 50 }),
])("boxes outside or turned inside out are not drawn: %j", (outside) => {
  expect(boxOnCanvas(outside, [640, 480], [640, 480])).toBeNull();
  expect(draw([outside]).of("strokeRect")).toEqual([]);
});

describe("a label never leaves the picture", () => {
  const canvasWh: SizeWh = [640, 480];
  const labelWh: SizeWh = [120, 20];
  test.each([
    ["room above", { x: 100, y: 100, width: 50, height: 50 }, { x: 100, y: 80 }],
    ["at the top: inside the box", { x: 100, y: 5, width: 50, height: 90 }, { x: 100, y: 5 }],
    ["at the right", { x: 620, y: 100, width: 20, height: 50 }, { x: 520, y: 80 }],
    ["at the bottom", { x: 0, y: 479, width: 640, height: 1 }, { x: 0, y: 459 }],
  ])("%s", (_, rect, expected) => {
    expect(placeLabel(rect, labelWh, canvasWh)).toMatchObject(expected);
  });

  test("even when it is wider than the picture it begins inside", () => {
    const rect = { x: 10, y: 30, width: 5, height: 5 };
    expect(placeLabel(rect, [900, 20], canvasWh).x).toBe(0);
  });
});

test("lines and letters grow with the canvas and stay readable on a small one", () => {
  expect(lineWidthPx([320, 240])).toBeGreaterThanOrEqual(1.5);
  expect(lineWidthPx([1920, 1080])).toBeGreaterThan(lineWidthPx([640, 480]));
  expect(fontSizePx([160, 120])).toBe(11);
  expect(fontSizePx([4000, 3000])).toBe(28);
  expect(fontSizePx([320, 240], 2)).toBe(22);
});

test("the line lies wholly inside the picture", () => {
  const [, x, y, width, height] = draw([box({ x1: 0, y1: 0, x2: 640, y2: 480 })]).of(
    "strokeRect",
  )[0] as [string, number, number, number, number];
  const half = lineWidthPx([640, 480]) / 2;
  expect(x - half).toBeGreaterThanOrEqual(0);
  expect(y + height + half).toBeCloseTo(480, 6);
  expect(x + width + half).toBeCloseTo(640, 6);
});

test("the surest box is drawn last, and the list is left as it was", () => {
  const boxes = [box({ score: 0.9, classId: 0 }), box({ score: 0.4, classId: 1 })];
  const texts = draw(boxes)
    .of("fillText")
    .map(([, text]) => text);
  expect(texts).toEqual(["bicycle 40% #3", "person 90% #3"]);
  expect(boxes[0]?.score).toBe(0.9);
});

test("no boxes clear the canvas", () => {
  const recorder = draw([]);
  expect(recorder.of("clearRect")).toEqual([["clearRect", 0, 0, 640, 480]]);
  expect(recorder.of("fillText")).toEqual([]);
});

test("old boxes are grey, dashed and marked", () => {
  const fresh = draw([box()]);
  const stale = draw([box()], { stale: true });
  expect(fresh.of("strokeRect")[0]?.slice(-2)).toEqual([classColour(0), false]);
  expect(stale.of("strokeRect")[0]?.slice(-2)).toEqual(["hsl(0 0% 62%)", true]);
  expect(stale.of("fillText").map(([, text]) => text)).toContain("old boxes");
});

test("the context's state is given back", () => {
  const names = draw([box()], { stale: true }).calls.map(([name]) => name);
  expect(names[0]).toBe("save");
  expect(names.at(-1)).toBe("restore");
});
