// Runs in the dashboard page before its own scripts. After every picture drawn on the view's canvas it
// reads the code back from the canvas's pixels, so the time between drawing on the phone and drawing
// here is known without trusting any of the product's own timestamps.
//
// Placeholders filled in by bench/browsers.py: __WIDTH__, __HEIGHT__, __CODE__.
(() => {
  const code = __CODE__;
  const readings = [];
  window.__benchReadings = readings;
  const original = CanvasRenderingContext2D.prototype.drawImage;

  function read(context, width, height) {
    const cell = (code.cellPx * width) / __WIDTH__;
    const left = Math.round(cell);
    const y = Math.round(height - cell);
    const row = context.getImageData(0, y, Math.ceil(cell * (code.nBits + 2)), 1).data;
    let value = 0n;
    for (let bit = 0; bit < code.nBits; bit++) {
      const x = Math.round(left + cell * (bit + 0.5));
      value = (value << 1n) | (row[x * 4 + 1] > 127 ? 1n : 0n);
    }
    const time = value >> 8n;
    const check = ((time & 0xffn) + ((time >> 8n) & 0xffn) + (time >> 16n) + 0x5an) & 0xffn;
    return check === (value & 0xffn) ? Number(time) : null;
  }

  CanvasRenderingContext2D.prototype.drawImage = function (image, ...rest) {
    const result = original.call(this, image, ...rest);
    const canvas = this.canvas;
    if (canvas.isConnected && canvas.closest(".detect-view")) {
      // after the boxes, which are drawn in the same task
      queueMicrotask(() => {
        const drawnMs = performance.timeOrigin + performance.now();
        const time = read(this, canvas.width, canvas.height);
        readings.push(time === null ? null : [drawnMs, (Math.round(drawnMs) - time + (1 << 24)) & 0xffffff]);
      });
    }
    return result;
  };
})();
