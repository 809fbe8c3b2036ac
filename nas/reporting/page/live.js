// Loads the page anew while it is still being written; page.js then finds the place again where its reader was.

function readersPlace() {
  const seen = [...document.querySelectorAll("main [id]")].filter((one) => one.getClientRects().length);
  const above = seen.filter((one) => one.getBoundingClientRect().top <= 1).pop();
  const open = [...document.querySelectorAll("section > details.run")].map((one) => [one.parentNode.id, one.open]);
  return { y: scrollY, id: above && above.id, offset: above && above.getBoundingClientRect().top, open };
}

setInterval(() => {
  if (document.hidden || !document.documentElement.dataset.drawn || String(getSelection())) return; // not under a reader's hands
  history.replaceState({ place: readersPlace() }, "");
  history.scrollRestoration = "manual";
  location.reload();
}, RELOAD_MS);
