// The module anywidget loads: tiny on purpose. A model whose `initialize` takes longer than 2 s stays
// deaf for ever, so nothing here waits for the network; the real code is the bundle that the media
// server serves under a hashed name, imported when a view is shown (docs/decisions/0005).

const RETRY_MS = [500, 1000, 2000, 4000];

/** Address of the media server's routes as this page reaches them, with a slash at the end. */
function serverUrl(model) {
  const own = model.get("server_url");
  if (own) return new URL(own.replace(/\/*$/, "/"), location.href).href;
  const config = document.getElementById("jupyter-config-data");
  const base = config ? JSON.parse(config.textContent).baseUrl : "/";
  return new URL("detect/", new URL(base, location.origin)).href;
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/** Browsers remember a failed import by its URL: look first, and ask for another URL after a failure. */
async function load(url, nFailures) {
  const answer = await fetch(url, { cache: nFailures ? "reload" : "default" });
  if (answer.status === 404) throw new Error("it has other files now: reload this page");
  if (!answer.ok) throw new Error(`it answers ${answer.status}`);
  return import(/* @vite-ignore */ nFailures ? `${url}?after=${nFailures}` : url);
}

/** Bundles by model id: every view and recorder of a model must get the same copy of it. */
const loads = new Map();

async function retry(model, signal, failures) {
  const url = new URL(`assets/${model.get("_bundle")}`, serverUrl(model)).href;
  for (let nFailures = 0; !signal.aborted; nFailures += 1) {
    try {
      return await load(url, nFailures);
    } catch (error) {
      for (const tell of failures) tell(error);
      model.send({ type: "heartbeat", visible: !document.hidden }); // the page is here all the same
      await pause(RETRY_MS[Math.min(nFailures, RETRY_MS.length - 1)], signal);
    }
  }
}

/** The bundle, tried for until it is there; undefined when the model is gone before that. */
function bundle(model, onFailure) {
  const entry = loads.get(model.get("_self_id"));
  if (!entry) return undefined;
  if (onFailure) entry.failures.add(onFailure);
  entry.promise ??= retry(model, entry.signal, entry.failures);
  return entry.promise;
}

function say(el, title, hint) {
  const line = (tag, name, text) =>
    Object.assign(document.createElement(tag), { className: name, textContent: text });
  const words = line("div", "detect-words", "");
  words.append(line("strong", "detect-words-title", title), line("span", "detect-words-hint", hint));
  words.setAttribute("role", "status");
  const stage = line("div", "detect-stage", "");
  stage.dataset.state = "closed";
  stage.append(words);
  el.classList.add("detect-view");
  el.replaceChildren(stage);
}

function initialize({ model, signal }) {
  const id = model.get("_self_id");
  loads.set(id, { signal, failures: new Set(), promise: undefined });
  signal.addEventListener("abort", () => forget(model), { once: true });
  // The proxy given here has no captureStream of its own: ipywebrtc's recorders hold the raw model.
  model.widget_manager.get_model(id).then((raw) => {
    raw.captureStream = async () => {
      const view = await bundle(model);
      if (!view) throw new DOMException("The view is gone.", "AbortError");
      return view.captureStream(model, serverUrl(model));
    };
    Object.defineProperty(raw, "stream", { get: () => raw.captureStream(), configurable: true });
  });
}

async function forget(model) {
  const id = model.get("_self_id");
  const { promise } = loads.get(id) ?? {};
  loads.delete(id);
  (await promise)?.dispose(model);
}

async function render({ model, el, signal }) {
  if (!model.get("_bundle")) {
    say(el, "The dashboard's front-end is not built", "Run in detect/frontend: npm ci && npm run build");
    return;
  }
  say(el, "Connecting to the media server", "");
  const onFailure = (error) => {
    if (signal.aborted) return;
    say(el, "The media server is missing — trying again",
      `Start it with: detect up. This page goes on by itself. (${error.message})`);
  };
  const view = await bundle(model, onFailure);
  if (!view || signal.aborted) return;
  view.show(model, { el, serverUrl: serverUrl(model), signal });
}

export default { initialize, render };
