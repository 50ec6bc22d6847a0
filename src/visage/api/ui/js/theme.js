// Before the first paint, hence no module: the theme that was chosen here, else the system's.
(function () {
  let chosen = null;
  try { chosen = localStorage.getItem("visage-theme"); } catch { /* storage may be forbidden */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
