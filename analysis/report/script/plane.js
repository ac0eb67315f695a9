// Planes through three members: a map of the networks that were scored, their surface, and what one of them is worth.
const SCORES = { loss: { unit: "nats", type: "log", reverse: true }, accuracy: { unit: "%", type: "linear", reverse: false } };
const LEAST_LOSS = 1e-3;  // a logarithm needs more than 0
const HINT = "Point at a network, tap it, or use the arrow keys (M: from member to member).";
const planes = state.planes.planes;
const panels = [...document.querySelectorAll(".plane")].map((box, at) => ({
  at, plane: planes[state.planes.shown[at]], cursor: null, member: null,
  ...Object.fromEntries(["choice", "map", "surface", "readout", "members"].map((name) => [name, box.querySelector(`.${name}`)])),
}));

const planeScore = () => $("plane-score").value;
const said = (value, score) => (value == null ? "not finite" : `${format(value)} ${SCORES[score].unit}`);
const both = (one) => `accuracy ${said(one.accuracy, "accuracy")}, loss ${said(one.loss, "loss")}`;

// Least and most of the score in the planes on view: they share colours and height.
function planeDomain() {
  const score = planeScore(), least = score === "loss" ? LEAST_LOSS : -Infinity;
  const ends = panels.flatMap(({ plane }) => plane.ends[score]).map((value) => Math.max(value, least));
  return ends.length ? [Math.min(...ends), Math.max(...ends)] : [1, 2];
}

function networkAt(plane, index) {
  const x = plane.x[index % plane.x.length], y = plane.y[Math.floor(index / plane.x.length)];
  return { index, x, y, accuracy: plane.accuracy[index], loss: plane.loss[index] };
}

// The member at the least distance from a network of the plane, in units of weight.
function nearestMember(plane, { x, y }) {
  const far = plane.vertices.filter((one) => one.member).map((one) => [Math.hypot(one.x - x, one.y - y, one.off), one]);
  return far.sort(([a], [b]) => a - b)[0];
}

function sayMember(one) {
  const name = one.member ? `Member ${one.name}` : one.name;
  return `${name}: ${both(one)}; ${one.off ? `${format(one.off, 3)} away from the plane, drawn hollow above its projection` : "in the plane"}.`;
}

function sayNetwork(plane, network) {
  const size = Math.hypot(plane.x.at(-1) - plane.x[0], plane.y.at(-1) - plane.y[0]);
  const [far, member] = nearestMember(plane, network) ?? [];
  const near = !member ? "" : far < 1e-4 * size ? `; this is member ${member.name}` : `; nearest is member ${member.name}, ${format(far, 3)} away`;
  return `At (${format(network.x, 3)}, ${format(network.y, 3)}): ${both(network)}${near}.`;
}

// Mark a network of the grid, or else a vertex, in the map and on the surface, and say what it is.
function pointOut(panel, cursor, member = null) {
  if (panel.cursor === cursor && panel.member === member) return;
  Object.assign(panel, { cursor, member });
  const { plane } = panel, vertex = plane.vertices[member];
  panel.readout.textContent = vertex ? sayMember(vertex) : cursor == null ? HINT : sayNetwork(plane, networkAt(plane, cursor));
  panel.view?.signal("cursor", vertex ? -1 : cursor ?? -1).signal("member", member ?? -1).run();
  drawSurface(panel);
}

function mapSpec(plane, domain) {
  const score = planeScore(), { unit, type, reverse } = SCORES[score], ink = config().axis.labelColor;
  const step = (values) => (values.length > 1 ? (values.at(-1) - values[0]) / (values.length - 1) / 2 : 1);
  const [wide, high] = [step(plane.x), step(plane.y)];
  const cells = plane[score].map((_, index) => networkAt(plane, index)).filter((one) => one[score] != null)
    .map((one) => ({ ...one, score: Math.max(one[score], domain[0]), x1: one.x - wide, x2: one.x + wide, y1: one.y - high, y2: one.y + high }));
  const side = (field, axis, reach) => {
    const all = [plane[axis][0] - reach, plane[axis].at(-1) + reach, ...plane.vertices.map((one) => one[axis])];
    return { field, type: "quantitative", title: "weight", scale: { nice: false, domain: [Math.min(...all), Math.max(...all)] }, axis: { grid: false, tickCount: 5 } };
  };
  const area = { x: side("x1", "x", wide), x2: { field: "x2" }, y: side("y1", "y", high), y2: { field: "y2" } };
  const place = { x: side("x", "x", wide), y: side("y", "y", high) };
  const colours = { field: "score", type: "quantitative", title: `${split} ${score} (${unit})`, scale: { scheme: "cividis", type, domain, reverse }, legend: { format: ".3~g", tickCount: 4 } };
  const names = (halo) => ({
    mark: { type: "text", aria: false, fontWeight: 600, fontSize: 12, ...(halo ? { stroke: "#ffffff", strokeWidth: 3, strokeJoin: "round" } : { color: "#1a1a1a" }), dx: { expr: "datum.member ? 9 : -9" }, dy: { expr: "datum.member ? -7 : 9" }, align: { expr: "datum.member ? 'left' : 'right'" } },
    encoding: { ...place, text: { field: "name" } },
  });
  return {
    $schema: state.spec.$schema, width: "container", height: 280, autosize: { type: "fit", contains: "padding" },
    params: [{ name: "cursor", value: -1 }, { name: "member", value: -1 }],
    layer: [
      { data: { values: cells }, mark: { type: "rect", aria: false, cursor: "crosshair" }, encoding: { ...area, color: colours } },
      { data: { values: cells }, transform: [{ filter: "datum.index === cursor" }],
        mark: { type: "rect", aria: false, filled: false, stroke: "#d55e00", strokeWidth: 3 }, encoding: area },
      { data: { values: plane.vertices.map((one, vertex) => ({ ...one, vertex })) },
        layer: [
          { mark: { type: "point", aria: false, filled: true, opacity: 1, size: 90, strokeWidth: 2 },
            encoding: { ...place,
              fill: { condition: { test: "datum.off || !datum.member", value: "#ffffff" }, value: state.looks[plane.construction] ?? ink },
              stroke: { condition: [{ test: "datum.vertex === member", value: "#d55e00" }, { test: "datum.off || !datum.member", value: "#1a1a1a" }], value: "#ffffff" } } },
          names(true), names(false),
        ] },
    ],
  };
}

async function drawPlane(panel, domain) {
  const { plane } = panel, score = planeScore(), [low, high] = plane.ends[score];
  panel.cursor = panel.member = null;
  panel.readout.textContent = HINT;
  const drawn = await vegaEmbed(panel.map, mapSpec(plane, domain), { actions: false, renderer: "svg", config: { ...config(), aria: false }, tooltip: false });
  panel.view = drawn.view;
  panel.domain = domain;
  for (const kind of ["mousemove", "click"]) {
    drawn.view.addEventListener(kind, (_, item) => {
      const { index = null, vertex = null } = item?.datum ?? {};
      if (index != null || vertex != null) pointOut(panel, index, vertex);
    });
  }
  const what = `${plane.label} ensemble, seed ${plane.seed}: ${score} of ${plane.x.length} times ${plane.y.length} networks, from ${said(low, score)} to ${said(high, score)}.`;
  panel.map.setAttribute("aria-label", `Map of the ${what} Arrow keys move over the networks, M goes from member to member.`);
  panel.surface.setAttribute("aria-label", `Surface of the ${what} Arrow keys turn it, Home turns it back.`);
  panel.members.replaceChildren(planeTable(plane));
  watchWidth(panel.members);
  drawSurface(panel);
}

// What the pictures show, as a table: the members, and the ends of the grid.
function planeTable(plane) {
  const head = ["", "accuracy (%)", "loss (nats)", "distance from the plane"].map((text) => element(text ? "th" : "td", text, text ? { scope: "col" } : {}));
  const line = (name, values) => element("tr", [element("th", name, { scope: "row" }), ...values.map((value) => element("td", format(value)))]);
  const rows = plane.vertices.map((one) => line(one.member ? `member ${one.name}` : one.name, [one.accuracy, one.loss, one.off]));
  const ends = ["lowest", "highest"].map((word, at) => line(`${word} of the grid`, [plane.ends.accuracy[at], plane.ends.loss[at], 0]));
  const caption = element("caption", `${plane.label} ensemble, seed ${plane.seed}, on ${split}`);
  return element("table", [caption, element("thead", element("tr", head)), element("tbody", [...rows, ...ends])]);
}

function drawPlanes() {
  const domain = planeDomain();
  return Promise.all(panels.map((panel) => drawPlane(panel, domain)));
}

function stepInPlane(panel, key) {
  const { plane, cursor } = panel, wide = plane.x.length, high = plane.y.length;
  if (key === "m" || key === "M") return pointOut(panel, null, ((panel.member ?? -1) + 1) % plane.vertices.length);
  const from = cursor ?? Math.floor(high / 2) * wide + Math.floor(wide / 2), [right, up] = STEPS[key];
  const x = Math.min(Math.max((from % wide) + right, 0), wide - 1), y = Math.min(Math.max(Math.floor(from / wide) + up, 0), high - 1);
  pointOut(panel, y * wide + x);
}
const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function offerPlanes() {
  const several = new Set(planes.map((plane) => plane.place)).size > 1;
  for (const panel of panels) {
    const words = (plane) => `${plane.label}, seed ${plane.seed}${several ? ` (${plane.place})` : ""}`;
    panel.choice.replaceChildren(...planes.map((plane, at) => element("option", words(plane), { value: at })));
    panel.choice.value = planes.indexOf(panel.plane);
    panel.choice.addEventListener("change", () => { panel.plane = planes[panel.choice.value]; drawPlanes(); });
    panel.map.addEventListener("keydown", (event) => {
      if (!(event.key in STEPS) && event.key.toLowerCase() !== "m") return;
      stepInPlane(panel, event.key);
      event.preventDefault();
    });
    followSurface(panel);
  }
  $("plane-score")?.addEventListener("change", drawPlanes);
  $("plane-home")?.addEventListener("click", () => turn());
}
