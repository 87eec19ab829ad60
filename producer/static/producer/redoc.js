// ReDoc's bundle loads its vendor's logo from another host. Replace it, so that pages load nothing from other hosts.
const icon = document.currentScript.dataset.icon;
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
    const isForeign = name === "src" && String(value).startsWith("https://cdn.redoc.ly/");
    setAttribute.call(this, name, isForeign ? icon : value);
};
Object.defineProperty(HTMLImageElement.prototype, "src", {
    get() { return this.getAttribute("src"); },
    set(value) { this.setAttribute("src", value); },
});
