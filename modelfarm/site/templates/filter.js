// The table as it stands is whole; this only hides rows and columns of it.
(() => {
  const PAGE = 100;
  const form = document.getElementById("filter"), pager = document.getElementById("pager");
  const table = document.querySelector("table.matrix"), place = document.getElementById("place");
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row, model: row.dataset.model.toLowerCase(),
    cells: [...row.cells].filter((cell) => cell.dataset.state)
      .map((cell) => ({ variant: cell.dataset.variant, state: cell.dataset.state })),
  }));
  const columned = [...table.querySelectorAll("[data-variant]")];
  const [previous, next] = pager.querySelectorAll("button");
  let page = 0, column = "";

  function matches(entry, words, state, variant) {
    return entry.cells.some((cell) => (!state || cell.state === state) && (!variant || cell.variant === variant) &&
      words.every((word) => entry.model.includes(word) || cell.variant.toLowerCase().includes(word)));
  }

  function show() {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = form.elements.state.value, variant = form.elements.variant.value;
    const found = rows.filter((entry) => matches(entry, words, state, variant));
    const pages = Math.max(Math.ceil(found.length / PAGE), 1);
    page = Math.min(page, pages - 1);
    const shown = new Set(found.slice(page * PAGE, (page + 1) * PAGE));
    for (const entry of rows) entry.row.hidden = !shown.has(entry);
    if (variant !== column) {
      for (const cell of columned) cell.hidden = Boolean(variant) && cell.dataset.variant !== variant;
      column = variant;
    }
    form.elements.count.value = found.length === rows.length
      ? `${rows.length} models` : `${found.length} of ${rows.length} models`;
    pager.hidden = pages < 2;
    place.textContent = `page ${page + 1} of ${pages}`;
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }

  function turn(step) {
    page += step;
    show();
    table.scrollIntoView({ block: "start" });
  }

  form.addEventListener("input", () => { page = 0; show(); });
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the browser's own reset comes later, and empties the count
    for (const name of ["words", "state", "variant"]) form.elements[name].value = "";
    page = 0;
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  form.hidden = rows.length < 2;
  show();
})();
