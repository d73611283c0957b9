// Runs before the first paint, so that no light page flashes in the dark.
const KEPT = "modalhash-theme";
const THEMES = ["system", "light", "dark"];

function keptTheme() {
  try {
    const kept = localStorage.getItem(KEPT);
    return THEMES.includes(kept) ? kept : "system";
  } catch {
    return "system"; // storage is switched off
  }
}

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEPT, theme);
  } catch {
    // it holds for this page then
  }
  return theme;
}

let theme = setTheme(keptTheme());

document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const name = document.getElementById("theme-name");
  const says = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  const show = () => {
    name.textContent = says[theme];
    button.title = says[theme];
  };
  button.addEventListener("click", () => {
    theme = setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
    show();
  });
  show();
});
