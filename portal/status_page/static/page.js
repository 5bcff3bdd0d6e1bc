// Takes what has changed over from the page as it is now. Without it, the page is right when loaded.
"use strict";

const INTERVAL_MS = 5000;

async function refresh() {
  let text;
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    text = await answer.text();
  } catch (error) {
    const summary = document.getElementById("summary");
    summary.textContent = `The portal does not answer: ${error.message}`;
    summary.className = "unwell";
    return;
  }
  const now = new DOMParser().parseFromString(text, "text/html");
  for (const shown of document.querySelectorAll("[data-live]")) {
    const current = now.getElementById(shown.id);
    // What stays the same is not touched, so that a screen reader does not say it again.
    if (current && (current.innerHTML !== shown.innerHTML || current.className !== shown.className)) {
      shown.replaceChildren(...current.childNodes);
      shown.className = current.className;
    }
  }
}

setInterval(refresh, INTERVAL_MS);
