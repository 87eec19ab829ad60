// Submit the form when a select with data-submits changes. Inline handlers are not possible, because the
// Content-Security-Policy forbids inline scripts. data-submits names the fields to clear, separated by spaces.
document.addEventListener("change", (event) => {
    const names = event.target.dataset.submits;
    if (names === undefined) return;
    for (const name of names.split(" ").filter(Boolean)) event.target.form.elements[name].value = "";
    event.target.form.submit();
});
// The dashboard replaces its content. The theme draws charts only when a page loads.
document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "dashboard") renderCharts();
});
document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.target.id !== "dashboard") return;
    for (const canvas of event.target.querySelectorAll("canvas")) Chart.getChart(canvas)?.destroy();
});
// Enter opens the first result of a search, unless another one was chosen with the arrow keys.
document.addEventListener(
    "keydown",
    (event) => {
        if (event.key !== "Enter" || !event.target.matches("[x-ref=searchInputCommand]")) return;
        const results = document.getElementById("command-results");
        const first = results.querySelector("li a");
        if (first === null || results.querySelector("li.active") !== null) return;
        event.preventDefault();
        event.stopPropagation();
        window.location = first.href;
    },
    true,
);
// The theme focuses the search after 20 ms, which does nothing on a slow machine: the search is not shown yet.
window.addEventListener("keydown", (event) => {
    if (event.key !== "k" || !(event.metaKey || event.ctrlKey)) return;
    const field = document.getElementById("search-input-command");
    requestAnimationFrame(() =>
        requestAnimationFrame(() => {
            if (field !== null && field.offsetParent !== null) field.focus();
        }),
    );
});
// The theme lets the mouse click elements that the keyboard does not reach.
const CLICKED_ONLY = "[x-on\\:click]:not(a[href], button, input, select, textarea, summary, label)";
const OPERABLE = "a[href], button, input, select, textarea";
function makeReachable() {
    for (const element of document.querySelectorAll(CLICKED_ONLY)) {
        if (element.hasAttribute("tabindex") || element.querySelector(OPERABLE) !== null) continue;
        element.tabIndex = 0;
        element.setAttribute("role", "button");
    }
}
document.addEventListener("DOMContentLoaded", () => {
    makeReachable();
    new MutationObserver(makeReachable).observe(document.body, { childList: true, subtree: true });
});
document.addEventListener("keydown", (event) => {
    if ((event.key !== "Enter" && event.key !== " ") || !event.target.matches(`${CLICKED_ONLY}[role=button]`)) return;
    event.preventDefault();
    event.target.click();
});
