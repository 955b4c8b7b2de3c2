// A cell is a number, also with a spread, an interval or nothing known; others are sorted as text.
const NUMBER = /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?( ±.*| \(.*)?$/, UNKNOWN = ["-", "", "not run"];
const PER_PAGE = 25;

for (const table of document.querySelectorAll("table[data-name]")) {
  const rows = [...table.tBodies[0].rows];
  const columns = rows.length ? [...rows[0].cells].map((_, k) => rows.map(row => row.cells[k])) : [];
  for (const cells of columns) {
    const texts = cells.map(cell => cell.textContent.trim());
    const numeric = texts.every(text => NUMBER.test(text) || UNKNOWN.includes(text));
    cells.forEach((cell, k) => {
      if (numeric) cell.dataset.order = parseFloat(texts[k]) || (texts[k].startsWith("0") ? 0 : -1e9);
      if (texts[k].length > 40) cell.classList.add("long");
    });
  }
  const hidden = table.dataset.hidden.split(" ").filter(Boolean).map(Number);
  const file = { filename: table.dataset.name, title: null };
  new DataTable(table, {
    order: [],
    autoWidth: false,
    paging: rows.length > PER_PAGE,
    pageLength: PER_PAGE,
    columnDefs: [{ targets: hidden, visible: false }],
    columnControl: {
      target: table.tHead.rows.length - 1,
      content: ["order", ["orderAsc", "orderDesc", "spacer", "search"]],
    },
    ordering: { indicators: false, handler: false },
    layout: {
      topStart: { buttons: [
        { extend: "colvis", text: "Columns" },
        { extend: "csv", text: "CSV of what is shown", exportOptions: { columns: ":visible" }, ...file },
      ] },
      topEnd: "search",
    },
  });
}

// Where a number comes from.
document.addEventListener("click", event => {
  const button = event.target.closest("[data-runs]");
  if (!button) return;
  const runs = button.dataset.runs.split(" ").map(k => document.getElementById(`run-${k}`).cloneNode(true));
  runs.forEach(run => { run.removeAttribute("id"); run.open = runs.length <= 2; });
  document.querySelector("#origin .runs").replaceChildren(...runs);
  document.getElementById("origin").showModal();
});

// Figures, enlarged.
const picture = document.getElementById("picture"), image = picture.querySelector("img");
let width = 0;
const resize = factor => { width *= factor; image.style.width = `${width}px`; };
for (const button of document.querySelectorAll(".zoom"))
  button.addEventListener("click", () => {
    const small = button.querySelector("img");
    [image.src, image.alt] = [small.src, small.alt];
    picture.showModal();
    width = picture.clientWidth - 60;
    resize(1);
  });
picture.querySelector(".larger").addEventListener("click", () => resize(1.5));
picture.querySelector(".smaller").addEventListener("click", () => resize(1 / 1.5));
picture.addEventListener("keydown", event => {
  if (event.key === "+") resize(1.5);
  if (event.key === "-") resize(1 / 1.5);
});

// Paper shows all rows, and where each number comes from.
const all = length => DataTable.tables({ api: true }).iterator("table", settings => {
  if (settings.oFeatures.bPaginate) new DataTable.Api(settings).page.len(length).draw();
});
addEventListener("beforeprint", () => {
  all(-1);
  document.querySelectorAll("#provenance details").forEach(run => { run.open = true; });
});
addEventListener("afterprint", () => all(PER_PAGE));
