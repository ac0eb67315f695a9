// Events, and the first drawing.
$("chart").addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (by) step(by);
  else if (event.key === "Enter" && at >= 0) openTrial(order[at].key);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && !$("detail").hidden && shut());
$("filters").addEventListener("change", refresh);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("clear").addEventListener("click", () => { $("filters").reset(); offerAxes(); refresh(); });
$("parallel").addEventListener("toggle", drawParallel);
$("find").addEventListener("input", () => list());
$("more").addEventListener("click", () => { all = true; list(); });
$("csv").addEventListener("click", download);
addEventListener("hashchange", openLinked);
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", () => copyText(button.dataset.copy, button));
}

// A table that is wider than the page says so, and can be scrolled with the keyboard.
const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) if (!target.isConnected) watch.unobserve(target);
  const holders = entries.map(({ target }) => target.isConnected && target.closest(".scroll"));
  for (const target of new Set(holders.filter(Boolean))) {
    const wide = target.scrollWidth > target.clientWidth + 1;
    target.classList.toggle("wide", wide);
    if (wide) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
function watchWidth(holder) {
  watch.observe(holder);
  if (holder.firstElementChild) watch.observe(holder.firstElementChild);
}
document.querySelectorAll(".scroll").forEach(watchWidth);

function theme(value) {
  document.documentElement.dataset.theme = value;
  for (const dot of document.querySelectorAll(".dot[data-construction]")) dot.style.background = colour(dot.dataset.construction);
}
const system = matchMedia("(prefers-color-scheme: dark)");
function redraw(value) {
  theme(value);
  refresh();
  drawPlanes();
  if (!$("detail").hidden) openTrial(openKey, opener);
}
$("theme").addEventListener("click", () => redraw(dark() ? "light" : "dark"));
system.addEventListener("change", () => redraw(system.matches ? "dark" : "light"));

const places = [...new Set(trials.map((row) => row.place))];
options("setting", places.map((place) => [place, place]));
options("role", [...new Set(trials.map((row) => row.role))].sort().map((role) => [role, role]), "all");
offerAxes();
offerRanges();
offerPlanes();
theme(system.matches ? "dark" : "light");
Promise.all([refresh(), drawPlanes()]).then(openLinked).then(() => { document.documentElement.dataset.ready = "yes"; });
