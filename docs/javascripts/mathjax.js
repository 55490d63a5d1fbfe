// A formula wider than its column scrolls by itself. Only such formulas: a scrolling box loses its baseline.
function markWideFormulas() {
  for (const formula of document.querySelectorAll("span.arithmatex")) {
    formula.classList.remove("wide");
    const math = formula.querySelector("mjx-container");
    const block = formula.closest("p, li, td, dd, h1, h2, h3, h4, div");
    if (math && block && math.getBoundingClientRect().width > block.clientWidth) formula.classList.add("wide");
  }
}

window.MathJax = {
  tex: {
    inlineMath: [["\\(", "\\)"]],
    displayMath: [["\\[", "\\]"]],
    processEscapes: true,
    packages: { "[-]": ["autoload", "require"] }, // they would load files that are not next to it
  },
  options: {
    ignoreHtmlClass: ".*|",
    processHtmlClass: "arithmatex",
    enableMenu: false, // its entries load files that are not next to it
  },
  startup: {
    pageReady: () =>
      MathJax.startup.defaultPageReady().then(() => {
        markWideFormulas();
        window.addEventListener("resize", markWideFormulas);
      }),
  },
};
