// The Content-Security-Policy allows no script inside a page, so that choices which submit their form are marked here.
// data-submits names the fields of the form that no longer fit once another choice is made.
document.addEventListener("change", (event) => {
    const names = event.target.dataset.submits;
    if (names === undefined) return;
    for (const name of names.split(" ").filter(Boolean)) event.target.form.elements[name].value = "";
    event.target.form.submit();
});
