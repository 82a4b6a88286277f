// Draws every browser of samples on the page that is not drawn yet. All text is set as text and never parsed.
(function () {
  function draw(box) {
    const root = box.attachShadow({ mode: "open" });
    root.append(box.querySelector("template").content.cloneNode(true));
    const data = JSON.parse(box.querySelector("script[type='application/json']").textContent);
    const find = name => root.querySelector("[name=" + name + "]"), card = root.querySelector(".card");
    const filters = ["benchmark", "status"];
    let found, at;

    function show(to) {
      at = Math.min(Math.max(to, 0), found.length - 1);
      const row = found[at] || {};
      find("place").textContent = found.length ? at + 1 + " of " + found.length : "none found";
      find("which").textContent = found.length
        ? row.benchmark + ", question " + row.question + ", sample " + row.sample + ": " + row.status : "";
      root.querySelectorAll(".text").forEach(place => {
        const name = place.dataset.name;
        place.textContent = (name === "prompt" ? data.prompts[row.prompt] : row[name]) || "";
        place.scrollTop = 0;
      });
      find("previous").disabled = at <= 0;
      find("next").disabled = at >= found.length - 1;
    }
    function search() {
      const wanted = find("search").value.toLowerCase();
      found = data.rows.filter(row => filters.every(name => !find(name).value || row[name] === find(name).value)
        && (data.prompts[row.prompt] + "\n" + row.completion).toLowerCase().includes(wanted));
      show(0);
    }

    filters.forEach(name => find(name).addEventListener("change", search));
    find("search").addEventListener("input", search);
    find("previous").addEventListener("click", () => show(at - 1));
    find("next").addEventListener("click", () => show(at + 1));
    card.addEventListener("keydown", event => {
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1 };
      if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target.matches("input, select")) return;
      event.preventDefault();
      event.stopPropagation();
      show(moves[event.key]);
    });
    search();
  }
  document.querySelectorAll(".samples").forEach(box => box.shadowRoot || draw(box));
})();
