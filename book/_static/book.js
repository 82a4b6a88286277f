// For keyboards, screen readers and print.
(function () {
  function mend() {
    // Vega's menu is a symbol without a name.
    document.querySelectorAll(".vega-embed summary:not([aria-label])").forEach(menu => menu.setAttribute("aria-label", "save or inspect this chart"));
    // Its groups of marks have no name either; each mark in them has one.
    document.querySelectorAll('.vega-embed g[role="graphics-symbol"]:not([aria-label])').forEach(group => group.setAttribute("aria-label", "marks"));
    // What scrolls has to be reached by the keyboard.
    document.querySelectorAll("div.cell_output .output, div.highlight pre, .vega-embed").forEach(box => {
      if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0"); else box.removeAttribute("tabindex");
    });
  }
  addEventListener("load", () => {
    mend();
    new MutationObserver(mend).observe(document.querySelector("main") || document.body, {childList: true, subtree: true}); // charts come later
  });
  addEventListener("resize", mend);
})();
