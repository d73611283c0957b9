// Runs before all else: a page that was opened as a file may load nothing, so it says how to open it.
if (location.protocol === "file:") {
  document.addEventListener("DOMContentLoaded", () => {
    const place = document.getElementById("problem");
    const title = document.createElement("h2");
    const says = document.createElement("p");
    const command = document.createElement("code");
    title.textContent = "This page needs a web server";
    command.textContent = "python3 -m http.server";
    says.append("Browsers let no page that was opened as a file load its data. Put the folder on any web server, or run ",
      command, " in it and open http://localhost:8000/.");
    place.append(title, says);
    place.hidden = false;
  });
}
