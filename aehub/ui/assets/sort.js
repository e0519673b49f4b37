// Tables of the class ae-sortable: a click on a heading sorts by its column, the best value first;
// the next click turns the order around. Cells without a value stay last.
(() => {
  const value = (row, column) => {
    const { aeValue } = row.cells[column].dataset;
    return aeValue === undefined ? null : Number(aeValue);
  };

  document.addEventListener("click", (event) => {
    const head = event.target.closest(".ae-sortable thead th");
    if (!head) return;
    const column = head.cellIndex, body = head.closest("table").tBodies[0];
    const first = head.dataset.aeBest === "max" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    body.append(...[...body.rows].sort((one, two) => {
      const a = value(one, column), b = value(two, column);
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (a - b);
    }));
  });
})();
