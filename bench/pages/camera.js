// Runs in the phone page before its own scripts. Replaces the camera by a canvas that shows the
// frames of a clip at a fixed rate, each carrying a code that says when it was drawn: the ground
// truth against which the product's own latency figures are held.
//
// Placeholders filled in by bench/browsers.py: __CLIP_URL__, __WIDTH__, __HEIGHT__, __FPS__, __CODE__.
(() => {
  const code = __CODE__; // see bench/frame_code.py: {cellPx, nBits}
  const timeMs = () => performance.timeOrigin + performance.now();

  async function loadFrames() {
    // uint32 count, then per frame: uint32 length, JPEG
    const bytes = await (await fetch("__CLIP_URL__")).arrayBuffer();
    const view = new DataView(bytes);
    const frames = [];
    let at = 4;
    for (let i = 0; i < view.getUint32(0, true); i++) {
      const length = view.getUint32(at, true);
      frames.push(await createImageBitmap(new Blob([bytes.slice(at + 4, at + 4 + length)])));
      at += 4 + length;
    }
    return frames;
  }

  function drawCode(context, value, heightPx) {
    // most significant bit first, white = 1, in a row along the bottom edge, framed by black
    const { cellPx, nBits } = code;
    context.fillStyle = "black";
    context.fillRect(0, heightPx - cellPx * 2, cellPx * (nBits + 2), cellPx * 2);
    context.fillStyle = "white";
    for (let bit = 0; bit < nBits; bit++) {
      if ((value >> BigInt(nBits - 1 - bit)) & 1n) {
        context.fillRect(cellPx * (bit + 1), heightPx - Math.round(cellPx * 1.5), cellPx, cellPx);
      }
    }
  }

  function encode(drawnMs) {
    // 24 bits of milliseconds (wraps after 4.6 hours) and an 8-bit check: the sum of its bytes + 0x5a
    const time = BigInt(Math.round(drawnMs)) & 0xffffffn;
    const check = ((time & 0xffn) + ((time >> 8n) & 0xffn) + (time >> 16n) + 0x5an) & 0xffn;
    return (time << 8n) | check;
  }

  async function openCamera() {
    const frames = await loadFrames();
    const canvas = Object.assign(document.createElement("canvas"), { width: __WIDTH__, height: __HEIGHT__ });
    const context = canvas.getContext("2d", { alpha: false });
    const stream = canvas.captureStream(0);
    const [track] = stream.getVideoTracks();
    const started = performance.now();
    let n = 0;
    const tick = () => {
      context.drawImage(frames[n % frames.length], 0, 0, canvas.width, canvas.height);
      drawCode(context, encode(timeMs()), canvas.height);
      track.requestFrame();
      n += 1;
      window.__benchFramesDrawn = n;
      // against the schedule, so that late ticks do not lower the rate
      setTimeout(tick, Math.max(0, started + (n * 1000) / __FPS__ - performance.now()));
    };
    tick();
    return stream;
  }

  navigator.mediaDevices.getUserMedia = () => openCamera();
})();
