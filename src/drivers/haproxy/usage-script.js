// Runs in the browser. Nothing is kept there: no cookie, no storage, no fingerprint. A page may call
// holdfast.feedback("text", 1 to 5).
(() => {
  window.holdfast = { feedback() {} };
  if (navigator.globalPrivacyControl || navigator.doNotTrack === "1") return;
  const path = new URL(document.currentScript.src).pathname.replace(/\.js$/, "");
  const [navigation] = performance.getEntriesByType("navigation");
  // The edge says which release and request this page is from.
  const served = navigation?.serverTiming?.find(({ name }) => name === "holdfast")?.description;
  const pathNow = () => location.pathname.slice(0, 300);
  const loaded = pathNow();
  let page = "";
  let errors = 0;
  let waiting = [];
  let timer;

  function send() {
    clearTimeout(timer);
    timer = undefined;
    if (waiting.length > 0) navigator.sendBeacon(path, JSON.stringify({ served, events: waiting }));
    waiting = [];
  }
  function report(event) {
    waiting.push({ page, ...event });
    if (waiting.length >= 20) send();
    else timer ??= setTimeout(send, 2000);
  }
  function view() {
    if (pathNow() === page) return;
    const from = page === "" && document.referrer ? new URL(document.referrer).hostname : "";
    page = pathNow();
    errors = 0;
    report({ kind: "view", text: from === location.hostname ? "" : from });
  }
  function failed(text) {
    errors += 1;
    if (errors <= 5) report({ kind: "error", text: String(text).slice(0, 300) });
  }

  addEventListener("error", ({ message, filename, lineno, colno }) => {
    const file = filename ? ` (${filename.split("?")[0]}:${lineno}:${colno})` : "";
    failed(message + file);
  });
  addEventListener("unhandledrejection", ({ reason }) => failed(`unhandled: ${reason}`));
  for (const name of ["LCP", "INP", "CLS", "FCP", "TTFB"])
    webVitals[`on${name}`](({ value }) => report({ kind: "vital", page: loaded, name, value }));
  for (const name of ["pushState", "replaceState"]) {
    const original = history[name];
    history[name] = function (...args) {
      original.apply(this, args);
      view();
    };
  }
  addEventListener("popstate", view);
  addEventListener("visibilitychange", () => document.visibilityState === "hidden" && send());
  addEventListener("pagehide", send);
  window.holdfast.feedback = (text, rating) => {
    const value = Math.round(Number(rating));
    report({
      kind: "feedback",
      text: String(text ?? "").slice(0, 1000),
      ...(value >= 1 && value <= 5 && { value }),
    });
  };
  view();
})();
