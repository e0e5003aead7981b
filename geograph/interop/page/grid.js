// The grid of cells, one page at a time; every cell turns on its own.
const STEP = 0.2; // radians for one key press
const MOST_CHIPS = 2;
const SLOP = 4; // pixels that a click may move

function chipsOf(molecule) {
  return data.checks.flatMap((check, i) => {
    const outcome = molecule.checks[i];
    if (outcome === null) return [];
    const mark = check.informs ? "" : outcome ? "✓ " : "✗ ";
    const tone = outcome ? PASSED.colour : check.colour;
    const className = outcome || check.informs ? "chip" : "chip failed";
    return [element("span", { className, tone, title: check.about }, mark + (outcome ? check.label : check.failure))];
  });
}

// The failed checks in a cell, the first ones by name.
function shortChips(molecule) {
  const failed = chipsOf(molecule).filter((chip) => chip.classList.contains("failed"));
  const more = failed.slice(MOST_CHIPS);
  const chips = failed.slice(0, MOST_CHIPS);
  if (more.length) chips.push(element("span", { className: "chip more", title: more.map((chip) => chip.textContent).join(", ") }, `+${more.length}`));
  if (!failed.length) chips.push(element("span", { className: "chip", tone: PASSED.colour }, `✓ ${PASSED.label}`));
  return element("div", { className: "chips" }, ...chips);
}

function makeCell(molecule) {
  const canvas = element("canvas", { width: 10, height: 10 });
  const failed = failuresOf(molecule).map((check) => check.failure).join(", ") || PASSED.label;
  const cell = element("div", { className: "cell", tone: outcomeOf(molecule).colour, tabIndex: 0, role: "listitem",
    "aria-label": `${molecule.id}, ${molecule.formula}, ${molecule.n} atoms, ${failed}` },
    canvas, element("strong", { title: molecule.id }, molecule.id),
    element("div", { className: "sub" }, `${molecule.formula} · ${molecule.n} atoms`), shortChips(molecule));
  cell.dataset.index = molecule.index;
  if (state.chosen === molecule) cell.setAttribute("aria-current", "true");
  listenToDrag(cell, canvas, molecule);
  paintSoon(canvas, molecule);
  return cell;
}

function listenToDrag(cell, canvas, molecule) {
  let last = null;
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    [last, moved] = [event, 0];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const [right, down] = [event.clientX - last.clientX, event.clientY - last.clientY];
    [last, moved] = [event, moved + Math.abs(right) + Math.abs(down)];
    molecule.turn = turned(molecule.turn, 0.012 * right, 0.012 * down);
    paintSoon(canvas, molecule);
  });
  canvas.addEventListener("pointerup", () => (last = null));
  canvas.addEventListener("pointercancel", () => (last = null));
  cell.addEventListener("click", () => {
    if (moved <= SLOP) openDetail(molecule);
    moved = 0;
  });
}

function showPage() {
  const pages = Math.max(1, Math.ceil(state.shown.length / state.size));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  const begin = state.page * state.size;
  const part = state.shown.slice(begin, begin + state.size);
  byId("grid").replaceChildren(...part.map(makeCell));
  byId("count").textContent = `${state.shown.length} of ${data.molecules.length} molecules`;
  byId("page").textContent = `${state.page + 1} / ${pages}`;
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page === pages - 1;
}

function turnPage(by) {
  state.page += by;
  showPage();
}

function repaintGrid() {
  for (const cell of byId("grid").children) paintSoon(cell.firstChild, data.molecules[cell.dataset.index]);
}

function columnsOfGrid() {
  return getComputedStyle(byId("grid")).gridTemplateColumns.split(" ").length;
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function listenToKeys() {
  byId("grid").addEventListener("keydown", (event) => {
    const cell = event.target.closest(".cell");
    if (event.key === "PageDown" || event.key === "PageUp") {
      turnPage(event.key === "PageDown" ? 1 : -1);
      byId("grid").firstElementChild?.focus();
    } else if (!cell) return;
    else if (event.key === "Enter" || event.key === " ") openDetail(data.molecules[cell.dataset.index]);
    else if (!(event.key in ARROWS)) return;
    else if (event.shiftKey) {
      const molecule = data.molecules[cell.dataset.index];
      const [right, down] = ARROWS[event.key];
      molecule.turn = turned(molecule.turn, STEP * right, STEP * down);
      paintSoon(cell.firstChild, molecule);
    } else {
      const [right, down] = ARROWS[event.key];
      const cells = [...byId("grid").children];
      cells[cells.indexOf(cell) + right + down * columnsOfGrid()]?.focus();
    }
    event.preventDefault();
  });
  byId("previous").addEventListener("click", () => turnPage(-1));
  byId("next").addEventListener("click", () => turnPage(1));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
      event.preventDefault();
      byId("search").focus();
    }
  });
}
