// The chosen molecule: live view, what was found out about it, xyz; and the denoising chain of all.
const live = newViewer(byId("live"), {});
const isFramed = window.self !== window.top;

function openDetail(molecule) {
  state.chosen = molecule;
  for (const cell of byId("grid").children) {
    if (Number(cell.dataset.index) === molecule.index) cell.setAttribute("aria-current", "true");
    else cell.removeAttribute("aria-current");
  }
  byId("name").textContent = molecule.id;
  byId("formula").textContent = `${molecule.formula} · ${molecule.n} atoms`;
  byId("chips").replaceChildren(...chipsOf(molecule));
  byId("reason").textContent = molecule.reason;
  byId("smiles").textContent = molecule.smiles;
  byId("live").setAttribute("aria-label",
    `${molecule.id}, ${molecule.formula}: drag or use the arrow keys to turn, plus and minus to come closer`);
  const rows = data.properties.map((property, i) => [property.label, number(molecule.values[i])]);
  byId("values").replaceChildren(...[...rows, ...molecule.notes].map(([label, value]) =>
    element("tr", {}, element("th", { scope: "row" }, label), element("td", {}, value))));
  byId("xyz").value = xyzOf(molecule);
  showLegend(molecule);
  drawLive(true);
}

function showLegend(molecule) {
  const present = [...new Set(bytes(molecule.z))].sort((a, b) => a - b);
  const items = present.map((z) => element("li", { tone: data.elements[z].colour }, element("i"), data.elements[z].symbol));
  if (molecule.bad.length) items.push(element("li", { tone: HALO }, element("i"), "wrong valence"));
  byId("legend").replaceChildren(...items);
}

function drawLive(isNew) {
  if (!live || !state.chosen) return;
  const molecule = state.chosen;
  const view = isNew ? viewOf(molecule, molecule.turn) : live.getView();
  show(live, molecule, frameAt(molecule, state.place), view, byId("numbers").checked);
}

const ANGLES = { ArrowLeft: [-12, "y"], ArrowRight: [12, "y"], ArrowUp: [-12, "x"], ArrowDown: [12, "x"] };

function listenToDetail() {
  byId("live").addEventListener("keydown", (event) => {
    if (!live) return;
    if (event.key in ANGLES) live.rotate(...ANGLES[event.key]);
    else if (event.key === "+" || event.key === "=") live.zoom(1.2);
    else if (event.key === "-") live.zoom(1 / 1.2);
    else return;
    live.render();
    event.preventDefault();
  });
  byId("numbers").addEventListener("change", () => drawLive(false));
  byId("reset").addEventListener("click", () => drawLive(true));
  byId("text").addEventListener("click", () => showText(byId("xyz").hidden));
  byId("download").addEventListener("click", () => {
    if (!state.chosen) return;
    const url = URL.createObjectURL(new Blob([byId("xyz").value], { type: "chemical/x-xyz" }));
    const name = state.chosen.id.replace(/[^\w.+-]+/g, "_").slice(0, 80) || "molecule";
    element("a", { href: url, download: `${name}.xyz` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    if (isFramed) showText(true); // a frame may forbid downloads: the text can be copied in any case
  });
}

function showText(isShown) {
  byId("xyz").hidden = !isShown;
  byId("text").setAttribute("aria-expanded", String(isShown));
  byId("text").textContent = isShown ? "Hide text" : "Show as text";
  if (isShown) {
    byId("xyz").focus();
    byId("xyz").select();
  }
}

let player = null;

function showFrame(place) {
  state.place = place;
  byId("slider").value = String(place);
  byId("frame").textContent = `frame ${place + 1} of ${maxFrames} (${wordsOf(place)})`;
  byId("slider").setAttribute("aria-valuetext", byId("frame").textContent);
  repaintGrid();
  drawLive(false);
}

// What the slider stands at: with the diffusion time where the chosen molecule has it.
function wordsOf(place) {
  if (place === maxFrames - 1) return "molecule";
  const times = state.chosen && state.chosen.chain && state.chosen.chain.times;
  if (times) return `time ${times[frameAt(state.chosen, place)].toFixed(3)}`;
  return place === 0 ? "noise" : "on the way";
}

function stopPlaying() {
  clearInterval(player);
  player = null;
  byId("play").textContent = "▶";
  byId("play").setAttribute("aria-pressed", "false");
}

function listenToChain() {
  byId("chain").hidden = maxFrames === 1;
  byId("slider").max = String(maxFrames - 1);
  byId("slider").addEventListener("input", (event) => {
    stopPlaying();
    showFrame(Number(event.target.value));
  });
  byId("play").addEventListener("click", () => {
    if (player !== null) return stopPlaying();
    if (state.place === maxFrames - 1) showFrame(0);
    byId("play").textContent = "❚❚";
    byId("play").setAttribute("aria-pressed", "true");
    player = setInterval(() => {
      if (waiting.size) return; // the last frame is still being painted
      showFrame(state.place + 1);
      if (state.place === maxFrames - 1) stopPlaying();
    }, 220);
  });
}
