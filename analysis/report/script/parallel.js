// Parallel coordinates of what was searched and what came of it; drawn only while they are unfolded.
function parallelColumns() {
  const { x, y } = axes(), wanted = [...state.trials.searched, x, y, "q", `${split}_accuracy`];
  return [...new Set(wanted)].filter((name) => names.includes(name) && columns[name]?.number);
}

// Position on each axis, from 0 (least) to 1.
function parallelLines(shown) {
  const place = (name, value) => (columns[name].scale === "log" ? Math.log(value) : value);
  const strong = new Set(brushed().map((row) => row.key));
  return shown.flatMap((name) => {
    const rows = visible.filter((row) => row[name] != null), values = rows.map((row) => place(name, row[name]));
    const low = Math.min(...values), span = Math.max(...values) - low || 1;
    return rows.map((row, i) => ({ key: row.key, construction: row.construction, column: title(name), at: (values[i] - low) / span, value: row[name], strong: strong.has(row.key) }));
  });
}

function drawParallel() {
  if (!$("parallel").open) return;
  const shown = parallelColumns(), domain = Object.keys(state.looks);
  const spec = {
    $schema: state.spec.$schema, width: "container", height: 260, autosize: { type: "fit", contains: "padding" },
    data: { values: parallelLines(shown) }, mark: { type: "line", strokeWidth: 1.2, tooltip: false },
    encoding: {
      x: { field: "column", type: "nominal", sort: shown.map(title), title: null, scale: { padding: 0.1 }, axis: { labelAngle: -20, grid: true, domain: false } },
      y: { field: "at", type: "quantitative", title: null, axis: { values: [0, 1], labelExpr: "datum.value ? 'most' : 'least'", grid: false } },
      detail: { field: "key" },
      color: { field: "construction", type: "nominal", scale: { domain, range: domain.map(colour) }, legend: null },
      opacity: { condition: { test: "datum.strong", value: 0.7 }, value: 0.06 },
    },
  };
  vegaEmbed("#coordinates", spec, { actions: false, renderer: "svg", config: config() });
}
