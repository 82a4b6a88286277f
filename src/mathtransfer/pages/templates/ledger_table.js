// Shows the rows that all filters let through, and says how many.
(function () {
  const box = document.getElementById("ledger"), rows = [...box.querySelectorAll("tbody tr")];
  const filters = [...box.querySelectorAll("select")];
  function show() {
    rows.forEach(row => { row.hidden = filters.some(f => f.value && row.dataset[f.name] !== f.value); });
    box.querySelector("output").textContent = rows.filter(row => !row.hidden).length + " of " + rows.length;
  }
  filters.forEach(f => f.addEventListener("change", show));
  show();
})();
