// What is shown, in which order: outcome, text, ranges of the properties.
const state = {
  place: maxFrames - 1, // of the slider
  outcomes: new Set(), // keys of pressed outcomes; none shows all
  text: "",
  ranges: data.properties.map(() => [-Infinity, Infinity]),
  sort: "order",
  reversed: false,
  page: 0,
  size: 24,
  chosen: null,
  shown: [],
};

// Entries of the filter that a molecule belongs to.
function outcomesOf(molecule) {
  return failuresOf(molecule).length ? foundOf(molecule) : [PASSED, ...foundOf(molecule)];
}

function isShown(molecule) {
  if (state.outcomes.size) {
    if (!outcomesOf(molecule).some(({ key }) => state.outcomes.has(key))) return false;
  }
  if (state.text && !molecule.search.includes(state.text)) return false;
  return state.ranges.every(([low, high], i) => {
    if (low === -Infinity && high === Infinity) return true;
    const value = molecule.values[i];
    return value !== null && value >= low && value <= high;
  });
}

function sortKey(molecule) {
  if (state.sort === "order") return molecule.index;
  if (state.sort === "id") return molecule.id;
  if (state.sort === "formula") return molecule.formula;
  if (state.sort === "failures") return failuresOf(molecule).length;
  return molecule.values[Number(state.sort)];
}

function compare(a, b) {
  const [x, y] = [sortKey(a), sortKey(b)];
  if (x === null || y === null) return (x === null) - (y === null); // unknown values stand last
  const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
  return (state.reversed ? -order : order) || a.index - b.index;
}

function choose() {
  state.shown = data.molecules.filter(isShown).sort(compare);
  state.page = 0;
  showPage();
}

function makeOutcomes() {
  const counts = new Map([[PASSED.key, 0], ...data.checks.map((check) => [check.key, 0])]);
  for (const molecule of data.molecules) {
    for (const { key } of outcomesOf(molecule)) counts.set(key, counts.get(key) + 1);
  }
  for (const { key, label, failure, colour, about } of [PASSED, ...data.checks]) {
    const button = element("button", { type: "button", className: "outcome", tone: colour, title: about || "", "aria-pressed": "false" },
      failure || label, element("b", {}, String(counts.get(key))));
    button.dataset.key = key;
    button.disabled = counts.get(key) === 0;
    button.addEventListener("click", () => {
      if (!state.outcomes.delete(key)) state.outcomes.add(key);
      button.setAttribute("aria-pressed", String(state.outcomes.has(key)));
      choose();
    });
    byId("outcomes").append(button);
  }
}

function makeRanges() {
  data.properties.forEach((property, i) => {
    const values = data.molecules.map((molecule) => molecule.values[i]).filter((value) => value !== null);
    const [low, high] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [Infinity, -Infinity]);
    const bars = element("canvas", { width: 240, height: 30, "aria-hidden": "true" });
    const inputs = [["at least", low], ["at most", high]].map(([words, bound], side) => {
      const input = element("input", { type: "number", step: "any", placeholder: number(bound), "aria-label": `${property.label} ${words}` });
      input.addEventListener("input", () => {
        state.ranges[i][side] = input.value === "" ? (side ? Infinity : -Infinity) : Number(input.value);
        drawBars(bars, values, low, high, state.ranges[i]);
        const active = state.ranges.filter(([a, b]) => a !== -Infinity || b !== Infinity).length;
        byId("active").textContent = active ? `(${active} active)` : "";
        choose();
      });
      return input;
    });
    byId("ranges").append(element("fieldset", { className: "range" }, element("legend", {}, property.label), bars,
      element("div", {}, inputs[0], "to", inputs[1])));
    drawBars(bars, values, low, high, state.ranges[i]);
  });
}

// Histogram of a property; what its range leaves out is pale.
function drawBars(canvas, values, low, high, [from, to]) {
  const bins = new Array(30).fill(0);
  const width = (high - low) / bins.length || 1;
  for (const value of values) bins[Math.min(bins.length - 1, Math.floor((value - low) / width))] += 1;
  const context = canvas.getContext("2d");
  const most = Math.max(...bins);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#3b82c4";
  bins.forEach((count, k) => {
    const inside = low + (k + 1) * width >= from && low + k * width <= to;
    context.globalAlpha = inside ? 0.9 : 0.2;
    const tall = (count / most) * canvas.height;
    context.fillRect(k * 8, canvas.height - tall, 7, tall);
  });
}

function makeSort() {
  const choices = [["order", "order given"], ["id", "id"], ["formula", "formula"], ["failures", "failed checks"],
    ...data.properties.map((property, i) => [String(i), property.label])];
  byId("sort").append(...choices.map(([value, label]) => element("option", { value }, label)));
  byId("sort").addEventListener("change", (event) => {
    state.sort = event.target.value;
    choose();
  });
  byId("direction").addEventListener("click", (event) => {
    state.reversed = !state.reversed;
    event.currentTarget.textContent = state.reversed ? "↓" : "↑";
    choose();
  });
  byId("size").addEventListener("change", (event) => {
    state.size = Number(event.target.value);
    choose();
  });
  byId("search").addEventListener("input", (event) => {
    state.text = event.target.value.trim().toLowerCase();
    choose();
  });
}
