// The data of the page and how it is packed (little-endian numbers in base64).
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const PASSED = { key: "passed", label: "all passed", colour: "var(--good)" };

function bytes(text) {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) out[i] = raw.charCodeAt(i);
  return out;
}

// Positions in angstrom, elements and bonds of a molecule at its own frame `k`; the last frame is the molecule itself.
function shapeOf(molecule, k) {
  const { n, chain } = molecule;
  const open = unpacked(molecule);
  if (!chain || k >= chain.bonds.length) return { z: open.z, pos: open.pos, ...bondsOf(...molecule.bonds) };
  const steps = open.chainPos.subarray(3 * n * k, 3 * n * (k + 1));
  const z = open.chainZ ? open.chainZ.subarray(n * k, n * (k + 1)) : open.z;
  return { z, pos: Float32Array.from(steps, (x) => x * chain.unit), ...bondsOf(...chain.bonds[k]) };
}

// Positions and elements of a molecule and of its chain, unpacked when they are first needed.
function unpacked(molecule) {
  if (!molecule.open) {
    const chain = molecule.chain;
    molecule.open = {
      z: bytes(molecule.z),
      pos: new Float32Array(bytes(molecule.pos).buffer),
      chainPos: chain ? new Int16Array(bytes(chain.pos).buffer) : null,
      chainZ: chain && chain.z ? bytes(chain.z) : null,
    };
  }
  return molecule.open;
}

function bondsOf(pairs, orders) {
  return { pairs: new Uint16Array(bytes(pairs).buffer), orders: Array.from(orders, Number) };
}

const numFrames = (molecule) => (molecule.chain ? molecule.chain.bonds.length + 1 : 1);
const maxFrames = data.molecules.reduce((most, m) => Math.max(most, numFrames(m)), 1);

// Frame of a molecule at a place of the slider, which runs from 0 (noise) to maxFrames - 1 (the molecule).
function frameAt(molecule, place) {
  return maxFrames === 1 ? 0 : Math.round((place / (maxFrames - 1)) * (numFrames(molecule) - 1));
}

// What was found of a molecule that is not so, in the order of `data.checks`; some of it is no failure.
const foundOf = (molecule) => data.checks.filter((check, i) => molecule.checks[i] === 0);
const failuresOf = (molecule) => foundOf(molecule).filter((check) => !check.informs);
const outcomeOf = (molecule) => failuresOf(molecule)[0] || PASSED;

function xyzOf(molecule) {
  const shape = shapeOf(molecule, numFrames(molecule));
  const lines = Array.from(shape.z, (z, i) => {
    const point = [0, 1, 2].map((axis) => shape.pos[3 * i + axis].toFixed(5).padStart(12));
    return (data.elements[z].symbol.padEnd(2) + point.join("")).trimEnd();
  });
  return `${molecule.n}\n${molecule.id.replace(/\s+/g, " ")}\n${lines.join("\n")}\n`;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e5 || (size > 0 && size < 1e-3) ? value.toExponential(3) : String(Number(value.toPrecision(5)));
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "tone") made.style.setProperty("--tone", value);
    else if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
