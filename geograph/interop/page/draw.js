// Drawing: one hidden viewer paints all cells, a second one is the live view of the chosen molecule.
const FIELD = Math.tan((10 * Math.PI) / 180); // half of the viewer's field of view of 20 degrees
const CAMERA = 150; // where the viewer puts its camera
const HALO = "#ff5a1f";
const trouble = { shown: false };

function report(message) {
  trouble.shown = true;
  byId("trouble").textContent = message;
  byId("trouble").hidden = false;
}

function newViewer(holder, options) {
  try {
    const viewer = $3Dmol.createViewer(holder, { cartoonQuality: 4, ...options });
    if (!viewer) throw new Error("the viewer was not created");
    return viewer;
  } catch (error) {
    report(`This browser draws no molecules (WebGL is not available: ${error.message}). The rest of the page works.`);
    return null;
  }
}

function centreOf(pos) {
  const sum = [0, 0, 0];
  for (let i = 0; i < pos.length; i += 1) sum[i % 3] += pos[i];
  return sum.map((x) => (3 * x) / pos.length);
}

function radiusOf(pos, centre) {
  let most = 0;
  for (let i = 0; i < pos.length; i += 3) {
    most = Math.max(most, Math.hypot(pos[i] - centre[0], pos[i + 1] - centre[1], pos[i + 2] - centre[2]));
  }
  return most;
}

// Centre of the molecule and the radius that holds it at every frame, but little more than its own.
function extentOf(molecule) {
  if (!molecule.extent) {
    const own = shapeOf(molecule, numFrames(molecule)).pos;
    const centre = centreOf(own);
    let radius = radiusOf(own, centre);
    const bound = 1.2 * radius;
    for (let k = 0; k < numFrames(molecule) - 1; k += 1) {
      const pos = shapeOf(molecule, k).pos;
      radius = Math.max(radius, Math.min(bound, radiusOf(pos, centreOf(pos))));
    }
    molecule.extent = { centre, radius: radius + 0.7 };
  }
  return molecule.extent;
}

function atomsOf(shape) {
  const atoms = Array.from(shape.z, (z, i) => ({
    elem: data.elements[z].symbol,
    color: parseInt(data.elements[z].colour.slice(1), 16),
    x: shape.pos[3 * i],
    y: shape.pos[3 * i + 1],
    z: shape.pos[3 * i + 2],
    serial: i,
    index: i,
    bonds: [],
    bondOrder: [],
  }));
  shape.orders.forEach((order, k) => {
    const [i, j] = [shape.pairs[2 * k], shape.pairs[2 * k + 1]];
    atoms[i].bonds.push(j);
    atoms[i].bondOrder.push(order);
    atoms[j].bonds.push(i);
    atoms[j].bondOrder.push(order);
  });
  return atoms;
}

// Draw a molecule at one of its frames; atoms with a wrong valence get a halo on the last frame.
function show(viewer, molecule, frame, view, withNumbers) {
  const atoms = atomsOf(shapeOf(molecule, frame));
  const { radius } = extentOf(molecule);
  viewer.removeAllModels();
  viewer.removeAllShapes();
  viewer.removeAllLabels();
  viewer.setSlab(-radius - 2, 2.2 * radius + 2); // the far end beyond the molecule: its back is only slightly pale
  viewer.setView(view); // draws at once, so before there is anything to draw
  viewer.addModel().addAtoms(atoms);
  viewer.setStyle({}, { stick: { radius: 0.14 }, sphere: { scale: 0.27 } });
  if (frame >= numFrames(molecule) - 1) {
    for (const i of molecule.bad) {
      viewer.addSphere({ center: atoms[i], radius: 0.68, color: HALO, opacity: 0.5 });
    }
  }
  if (withNumbers) {
    for (const atom of atoms) {
      viewer.addLabel(`${atom.elem}${atom.index}`, {
        position: atom, fontSize: 12, backgroundColor: "#1b2230", backgroundOpacity: 0.7, inFront: true, alignment: "center",
      });
    }
  }
  viewer.render();
}

// View of the whole molecule, turned.
function viewOf(molecule, turn) {
  const { centre, radius } = extentOf(molecule);
  return [...centre.map((x) => -x), CAMERA - radius / FIELD, ...turn];
}

// Turn of a view (x, y, z, w) after a drag by (right, down) in radians.
function turned(turn, right, down) {
  const angle = Math.hypot(right, down);
  if (!angle) return turn;
  const s = Math.sin(angle / 2) / angle;
  const [ax, ay, aw] = [down * s, right * s, Math.cos(angle / 2)];
  const [x, y, z, w] = turn;
  return [
    aw * x + ax * w + ay * z,
    aw * y + ay * w - ax * z,
    aw * z + ax * y - ay * x,
    aw * w - ax * x - ay * y,
  ];
}

const brush = newViewer(byId("brush"), { nomouse: true });
const waiting = new Map(); // canvas -> molecule that is to be painted on it
let painting = false;

function paintSoon(canvas, molecule) {
  waiting.set(canvas, molecule);
  if (!painting) {
    painting = true;
    byId("grid").setAttribute("aria-busy", "true");
    requestAnimationFrame(paintSome);
  }
}

// Paint as many cells as a frame of the display has time for; at least one.
function paintSome() {
  const end = performance.now() + 12;
  for (const [canvas, molecule] of waiting) {
    waiting.delete(canvas);
    if (canvas.isConnected && brush) paint(canvas, molecule);
    if (performance.now() > end) break;
  }
  painting = waiting.size > 0;
  if (painting) requestAnimationFrame(paintSome);
  else byId("grid").removeAttribute("aria-busy");
}

function paint(canvas, molecule) {
  show(brush, molecule, frameAt(molecule, state.place), viewOf(molecule, molecule.turn), false);
  const source = brush.getCanvas();
  if (canvas.width !== source.width) canvas.width = source.width;
  if (canvas.height !== source.height) canvas.height = source.height;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0);
}

function setBackground(viewer) {
  const card = getComputedStyle(document.documentElement).getPropertyValue("--card").trim();
  if (viewer) viewer.setBackgroundColor(card, 1); // opaque: what is transparent is mixed with it
}
