// Draws every chart in its place; the page's head has loaded Vega.
(function () {
  document.querySelectorAll("div.chart").forEach(place => {
    vegaEmbed(place, JSON.parse(place.querySelector("script").textContent), { actions: false });
  });
})();
