// Surfaces over the planes, drawn from back to front. All have the same camera and height; nothing moves by itself.
const HOME = { turn: -0.6, tilt: 0.85 }, TURN = 0.12, SIZE = 125, FLOOR = -0.5;
const REACH = 0.2;  // a vertex is drawn as if it were nearer by this, so that its own patch does not cover it
const camera = { ...HOME };

function shape(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Position on the drawing and distance from the eye of a point in the cube from −1 to 1.
function project([x, y, z]) {
  const [c, s, e, f] = [Math.cos(camera.turn), Math.sin(camera.turn), Math.cos(camera.tilt), Math.sin(camera.tilt)];
  const away = x * s + y * c;
  return { x: 245 + SIZE * (x * c - y * s), y: 172 - SIZE * (z * e + away * f), away: away * e - z * f };
}

// Functions that place a point of the plane, and a score, in the cube.
function cube({ plane, domain }) {
  const along = (values, at) => (2 * (at - values[0])) / (values.at(-1) - values[0] || 1) - 1;
  const scale = planeScore() === "loss" ? Math.log : Number, [low, high] = domain.map(scale);
  const height = (score) => (scale(Math.min(Math.max(score, domain[0]), domain[1])) - low) / (high - low || 1) + FLOOR;
  return { height, place: (one, z) => project([along(plane.x, one.x), along(plane.y, one.y), z]) };
}

// The patches between four neighbouring networks; how far away each is on average.
function patches({ plane, view }, corners) {
  const wide = plane.x.length, colours = view.scale("color"), score = planeScore(), made = [];
  for (let index = 0; index + wide < corners.length; index += 1) {
    if ((index + 1) % wide === 0) continue;
    const around = [index, index + 1, index + wide + 1, index + wide];
    if (around.some((at) => plane[score][at] == null)) continue;
    const ends = around.map((at) => corners[at]), away = ends.reduce((sum, end) => sum + end.away / 4, 0);
    made.push({ away, ends, fill: colours(between(around.map((at) => plane[score][at]))), around });
  }
  return made;
}

// Colour value of a patch: in the middle of its highest and lowest corner.
const between = (values) => (planeScore() === "loss"
  ? Math.sqrt(Math.max(...values, LEAST_LOSS) * Math.max(Math.min(...values), LEAST_LOSS))
  : (Math.max(...values) + Math.min(...values)) / 2);

function drawSurface(panel) {
  const { plane, view, domain } = panel, score = planeScore(), ink = config().axis.labelColor;
  const { height, place } = cube(panel), path = (ends) => `M${ends.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}Z`;
  const networks = plane.x.length * plane.y.length;
  const corners = Array.from({ length: networks }, (_, at) => networkAt(plane, at)).map((one) => place(one, height(one[score] ?? domain[0])));
  const floor = [[0, 0], [-1, 0], [-1, -1], [0, -1]].map(([x, y]) => place({ x: plane.x.at(x), y: plane.y.at(y) }, FLOOR));
  const made = [shape("path", { d: path(floor), fill: "none", stroke: ink, "stroke-opacity": 0.5, class: "floor" })];
  const solid = patches(panel, corners).map(({ away, ends, fill, around }) => ({ away, made: [shape("path", { d: path(ends), fill, class: "patch", "data-around": around })] }));
  const heads = plane.vertices.map((one) => place(one, height(one[score] ?? domain[0])));
  solid.push(...plane.vertices.map((one, index) => ({ away: heads[index].away - REACH, made: vertexMarks(panel, index, place(one, FLOOR), heads[index]) })));
  made.push(...solid.sort((a, b) => b.away - a.away).flatMap((one) => one.made), ...heightAxis(floor, ink, domain, score));
  plane.vertices.forEach((one, index) => made.push(...vertexName(one, heads[index])));
  if (panel.cursor != null) made.push(shape("circle", { cx: corners[panel.cursor].x, cy: corners[panel.cursor].y, r: 6, class: "pointed" }));
  panel.surface.firstElementChild.replaceChildren(...made);
}

// A post at the leftmost corner of the floor, with the lowest and the highest score.
function heightAxis(floor, ink, domain, score) {
  const foot = floor.reduce((left, one) => (one.x < left.x ? one : left)), top = foot.y - SIZE * Math.cos(camera.tilt);
  const words = [[foot.y, domain[0]], [top, domain[1]]].map(([y, value]) => shape("text", { x: foot.x - 5, y: y + 4, "text-anchor": "end", fill: ink }, `${format(value, 2)} ${SCORES[score].unit}`));
  return [shape("path", { d: `M${foot.x},${foot.y}V${top}`, stroke: ink, "stroke-opacity": 0.5 }), ...words];
}

function vertexMarks({ plane, member }, index, foot, head) {
  const hollow = plane.vertices[index].off || !plane.vertices[index].member, look = state.looks[plane.construction];
  return [
    shape("path", { d: `M${foot.x},${foot.y}L${head.x},${head.y}`, class: "post" }),
    shape("circle", { cx: head.x, cy: head.y, r: 5, fill: hollow ? "#ffffff" : look, class: member === index ? "vertex pointed" : "vertex", stroke: hollow ? "#1a1a1a" : "#ffffff", "data-vertex": index }),
  ];
}

// The name, and a ring that shows the place of a vertex behind a hill.
function vertexName(one, { x, y }) {
  return [shape("circle", { cx: x, cy: y, r: 5, class: "ring" }), shape("text", { x: x + 8, y: y - 6, class: "name" }, one.name)];
}

// Turn every surface by these angles; back to the first view without them.
function turn(by, over) {
  if (by === undefined) Object.assign(camera, HOME);
  else Object.assign(camera, { turn: camera.turn + by, tilt: Math.min(Math.max(camera.tilt + over, 0.05), 1.5) });
  panels.filter((panel) => panel.view).forEach(drawSurface);
}

// Follow the pointer and the keys: a drag turns, a hover says what is there. A finger turns sideways and scrolls the page.
function followSurface(panel) {
  const { surface } = panel, svg = surface.firstElementChild;
  let from = null;
  svg.addEventListener("pointerdown", (event) => { from = event; });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { from = null; });
  svg.addEventListener("pointermove", (event) => {
    if (from) {
      svg.setPointerCapture(event.pointerId);  // only of a drag, for a click shall reach what is under it
      turn((event.clientX - from.clientX) / 120, (event.clientY - from.clientY) / 120);
      from = event;
    } else pointAt(panel, event);
  });
  svg.addEventListener("click", (event) => pointAt(panel, event));
  surface.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step && event.key !== "Home") return;
    turn(...(step ? [step[0] * TURN, step[1] * TURN] : []));
    event.preventDefault();
  });
}

// The vertex or the corner of a patch that is under the pointer.
function pointAt(panel, { target, clientX, clientY }) {
  const { vertex, around } = target.dataset ?? {};
  if (vertex !== undefined) return pointOut(panel, null, Number(vertex));
  if (!around) return;
  const ends = target.getAttribute("d").slice(1, -1).split("L").map((end) => end.split(",").map(Number));
  const inverse = panel.surface.firstElementChild.getScreenCTM().inverse(), { x, y } = new DOMPoint(clientX, clientY).matrixTransform(inverse);
  const far = ends.map(([a, b], at) => [Math.hypot(a - x, b - y), at]).sort(([a], [b]) => a - b);
  pointOut(panel, Number(around.split(",")[far[0][1]]));
}
