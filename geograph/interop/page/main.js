// Put the page together.
function makeSummary() {
  byId("about").textContent = data.about;
  byId("more").hidden = data.summary.every((entry) => entry.main);
  for (const { label, value, note, share, main } of data.summary) {
    const figure = element("dd", {}, value, element("small", {}, note || ""));
    if (share !== null) {
      const bar = element("i");
      bar.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
      figure.append(element("span", { className: "bar", "aria-hidden": "true" }, bar));
    }
    byId(main ? "summary" : "others").append(element("div", {}, element("dt", {}, label), figure));
  }
}

function recolour() {
  setBackground(brush);
  setBackground(live);
  repaintGrid();
  if (live) live.render();
}

function listenToTheme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
    root.dataset.theme = isDark ? "light" : "dark";
    recolour();
  });
  dark.addEventListener("change", recolour);
}

data.molecules.forEach((molecule, index) => {
  molecule.index = index;
  molecule.search = [molecule.id, molecule.formula, molecule.smiles, molecule.reason].join("\n").toLowerCase();
});
makeSummary();
makeOutcomes();
makeRanges();
makeSort();
listenToKeys();
listenToDetail();
listenToChain();
listenToTheme();
choose();
recolour();
showFrame(maxFrames - 1);
if (state.shown.length) openDetail(state.shown[0]);
