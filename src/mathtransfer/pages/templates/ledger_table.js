// Shows the rows that all filters let through, and says how many. An address such as ledger.html?claim=S2 sets filters.
(function () {
  const box = document.getElementById("ledger"), rows = [...box.querySelectorAll("tbody tr")];
  const filters = [...box.querySelectorAll("select")];
  function show() {
    rows.forEach(row => { row.hidden = filters.some(f => f.value && row.dataset[f.name] !== f.value); });
    box.querySelector("output").textContent = rows.filter(row => !row.hidden).length + " of " + rows.length;
  }
  const asked = new URLSearchParams(location.search);
  filters.forEach(f => {
    f.addEventListener("change", show);
    const value = asked.get(f.name);
    if (value !== null && [...f.options].some(option => option.value === value)) f.value = value;
  });
  show();
})();
