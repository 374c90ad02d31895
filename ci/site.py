"""Builds the manual's static site and checks every link; `ci/docs` calls it.

    site.py RUSTDOC OUTPUT

The documents are Markdown files of the repository. Links between them become links between pages, and links to Rust
files become links to rustdoc's source pages. A broken link or a missing anchor ends the build, with a list of all of
them. The pages load nothing from a network.
"""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).resolve().parent.parent
MANUAL = Path("runtime/src/manual")
# Chapters under these headings in the navigation; a chapter that is in no group is an error.
GROUPS = {
    "Start": ["quick_start", "coming_from_openfl", "glossary"],
    "Run": ["operating", "who_waits", "owners_key", "withdrawn_site", "exit_codes", "files", "data_files", "pictures", "enclaves"],
    "Experiment": ["plan_reference", "models", "own_network", "training", "training_speed", "kvasir", "aggregation", "writing_your_own"],
    "Trust": ["attestation", "threat_model", "promises"],
    "Inside": ["architecture", "protocol", "hand_written"],
    "Project": ["changes"],
}
OTHERS = {
    "README.md": ("index", "Start"),
    ".github/CONTRIBUTING.md": ("contributing", "Project"),
    ".github/SECURITY.md": ("security", "Project"),
    "benches/README.md": ("benches", "Project"),
}
# Crates whose sources rustdoc shows: folder and name there.
CRATES = {
    "runtime/engine/src": "fl_engine",
    "runtime/kernels/src": "fl_kernels",
    "runtime/learn/src": "fl_learn",
    "runtime/sys/src": "fl_sys",
    "runtime/launcher/src": "fl_launcher",
    "runtime/src": "fl_runtime",
    "host-tools/src": "fl_host_tools",
}


def slug(text):
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


class Document:
    """One Markdown file, parsed."""

    def __init__(self, path, page, group):
        self.path, self.page, self.group = path, page, group
        self.tokens = MarkdownIt("commonmark").enable("table").parse((REPOSITORY / path).read_text())
        self.anchors, self.headings = set(), []
        for at, token in enumerate(self.tokens):
            if token.type == "heading_open":
                text = plain(self.tokens[at + 1])
                anchor = slug(text)
                while anchor in self.anchors:
                    anchor += "-1"
                token.attrSet("id", anchor)
                self.anchors.add(anchor)
                self.headings.append((int(token.tag[1]), text, anchor))
        self.title = self.headings[0][1]


def plain(token):
    """An inline token's text without marks."""
    return "".join(child.content for child in token.children or [] if child.type in ("text", "code_inline"))


class Site:
    """All documents, and what is wrong with them."""

    def __init__(self, rustdoc, output):
        self.rustdoc, self.output, self.faults = rustdoc, output, []
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
        self.tracked = {name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).exists()}
        self.folders = {str(parent) for name in self.tracked for parent in Path(name).parents}
        order = re.findall(r"^    (\w+);$", (REPOSITORY / "runtime/src/manual.rs").read_text(), re.M)
        groups = {chapter: group for group, chapters in GROUPS.items() for chapter in chapters}
        self.documents = [Document(Path(path), *of) for path, of in OTHERS.items()]
        for chapter in order:
            if chapter not in groups:
                self.faults.append(f"ci/site.py: the chapter {chapter} is in no group")
            self.documents.append(Document(MANUAL / f"{chapter}.md", chapter, groups.get(chapter, "Project")))
        self.by_path = {str(document.path): document for document in self.documents}

    def fault(self, document, token, what):
        line = f":{token.map[0] + 1}" if token.map else ""
        self.faults.append(f"{document.path}{line}: {what}")

    def target(self, document, block, link):
        """What a link of a document becomes; None where a page has no counterpart."""
        if link.startswith("https://"):
            return link
        path, _, anchor = link.partition("#")
        found = str(document.path) if not path else relative(document.path.parent / path)
        if found not in self.tracked and found not in self.folders:
            self.fault(document, block, f"{link} leads nowhere: {found} does not exist")
            return None
        to = self.by_path.get(found)
        if to is None:
            if anchor:
                self.fault(document, block, f"{link} has an anchor, and {found} is no page")
            return self.source(found)
        if anchor and anchor not in to.anchors:
            self.fault(document, block, f"{link}: {found} has no heading {anchor!r}")
        return f"{to.page}.html" + (f"#{anchor}" if anchor else "")

    def source(self, path):
        """rustdoc's page of a Rust file."""
        for folder, name in CRATES.items():
            if path.startswith(f"{folder}/"):
                page = Path("src") / name / f"{path[len(folder) + 1:]}.html"
                return f"api/{page}" if (self.rustdoc / page).exists() else None
        return None

    def render(self, document):
        """The page's body, with links changed; images are copied."""
        for block in document.tokens:
            for token in block.children or []:
                if token.type == "link_open":
                    link = self.target(document, block, token.attrGet("href"))
                    if link:
                        token.attrSet("href", link)
                    else:
                        token.attrs.pop("href")
                elif token.type == "image":
                    found = relative(document.path.parent / token.attrGet("src"))
                    if found in self.tracked:
                        shutil.copy(REPOSITORY / found, self.output)
                        token.attrSet("src", Path(found).name)
                        token.attrSet("loading", "lazy")
                    else:
                        self.fault(document, block, f"the picture {found} does not exist")
        renderer = MarkdownIt("commonmark").enable("table").renderer
        body = renderer.render(document.tokens, MarkdownIt().options, {})
        return body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")

    def undefined(self, document):
        """References without a definition stay in the text as brackets."""
        for block in document.tokens:
            for token in block.children or []:
                if token.type == "text" and re.search(r"\]\[\w|\[`", token.content):
                    self.fault(document, block, f"a link without a definition: {token.content.strip()[:60]}")
            text = "".join("`" if t.type == "code_inline" else t.content for t in block.children or [])
            if re.search(r"\[`\]", text):
                self.fault(document, block, "a link without a definition")

    def index(self):
        """What the search looks through: one entry a section."""
        entries = []
        for document in self.documents:
            entry = None
            for at, token in enumerate(document.tokens):
                if token.type == "heading_open":
                    heading = plain(document.tokens[at + 1])
                    entry = {"page": document.page, "title": document.title, "heading": heading,
                             "anchor": token.attrGet("id"), "text": ""}
                    entries.append(entry)
                elif entry and token.type == "inline":
                    entry["text"] += plain(token) + " "
                elif entry and token.type == "fence":
                    entry["text"] += token.content + " "
        return [entry for entry in entries if entry["text"]]

    def navigation(self, current):
        out = []
        for group in GROUPS:
            out.append(f"<p>{group}</p><ul>")
            for document in (d for d in self.documents if d.group == group):
                here = ' aria-current="page"' if document is current else ""
                title = "Overview" if document.page == "index" else document.title
                out.append(f'<li><a href="{document.page}.html"{here}>{html.escape(title)}</a></li>')
            out.append("</ul>")
        return "".join(out)

    def page(self, document):
        contents = "".join(
            f'<li><a href="#{anchor}">{html.escape(text)}</a></li>' for level, text, anchor in document.headings if level == 2
        )
        contents = f'<nav class="contents" aria-label="On this page"><ul>{contents}</ul></nav>' if contents else ""
        title = "fl-runtime" if document.page == "index" else f"{document.title} · fl-runtime"
        return PAGE.format(title=html.escape(title), navigation=self.navigation(document), contents=contents,
                           body=self.render(document))

    def build(self):
        self.output.mkdir(parents=True)
        for document in self.documents:
            self.undefined(document)
            (self.output / f"{document.page}.html").write_text(self.page(document))
        (self.output / "site.css").write_text(STYLE)
        index = json.dumps(self.index(), ensure_ascii=False)
        (self.output / "search.js").write_text(f"const INDEX = {index};\n{SEARCH}")


def relative(path):
    """A path of the repository without `..`."""
    return str((REPOSITORY / path).resolve().relative_to(REPOSITORY))


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="site.css">
<header>
  <a class="name" href="index.html">fl-runtime</a>
  <input id="search" type="search" placeholder="Search the manual" aria-label="Search the manual" autocomplete="off">
  <ol id="found" hidden></ol>
</header>
<details class="menu" open><summary>Chapters</summary><nav aria-label="Chapters">{navigation}<p>Code</p><ul><li><a href="api/fl_runtime/index.html">rustdoc</a></li></ul></nav></details>
<main>{body}</main>
{contents}
<script src="search.js"></script>
</html>
"""

STYLE = """:root { color-scheme: light dark; --text: light-dark(#1f2328, #e6edf3); --soft: light-dark(#59636e, #9198a1);
  --back: light-dark(#fff, #0d1117); --panel: light-dark(#f6f8fa, #151b23); --line: light-dark(#d1d9e0, #3d444d);
  --link: light-dark(#0969da, #4493f8); }
* { box-sizing: border-box }
body { margin: 0; color: var(--text); background: var(--back); font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif;
  display: grid; grid-template: auto auto / 15rem minmax(0, 54rem) minmax(0, 14rem); justify-content: center; column-gap: 2.5rem }
a { color: var(--link); text-decoration: none } a:hover { text-decoration: underline }
header { grid-column: 1 / -1; display: flex; gap: 1rem; align-items: center; padding: .6rem 1rem; position: sticky; top: 0; z-index: 1;
  background: var(--panel); border-bottom: 1px solid var(--line); margin: 0 -100vmax; padding-inline: 100vmax }
.name { font-weight: 600; color: var(--text) }
#search { flex: 0 1 24rem; min-width: 0; font: inherit; padding: .3rem .7rem; color: inherit; background: var(--back);
  border: 1px solid var(--line); border-radius: 6px }
#found { position: absolute; top: 100%; left: 100vmax; right: 100vmax; margin: 0; padding: .5rem; list-style: none; background: var(--panel);
  border: 1px solid var(--line); border-top: 0; max-height: 70vh; overflow: auto }
#found a { display: block; padding: .4rem .6rem; border-radius: 6px; color: inherit } #found a:hover, #found a:focus { background: var(--back); text-decoration: none }
#found small { display: block; color: var(--soft) } mark { background: light-dark(#fff8c5, #57480d); color: inherit }
.menu { padding: 1rem 0 2rem; font-size: 15px; align-self: start; position: sticky; top: 3.2rem; max-height: calc(100vh - 3.2rem); overflow: auto }
.menu summary { display: none } .menu p, .contents::before { margin: 1rem 0 .2rem; font-weight: 600; font-size: 13px; color: var(--soft) }
.menu ul, .contents ul { list-style: none; margin: 0; padding: 0 } .menu li a, .contents li a { display: block; padding: .15rem 0; color: var(--text) }
.menu [aria-current] { font-weight: 600; color: var(--link) }
.contents { padding: 1rem 0; font-size: 14px; align-self: start; position: sticky; top: 3.2rem; max-height: calc(100vh - 3.2rem); overflow: auto }
.contents::before { content: "On this page"; display: block }
main { padding: 1rem 0 4rem; min-width: 0 } h1 { font-size: 2rem; line-height: 1.2; margin: .5rem 0 1rem }
h2 { margin: 2.2rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.4rem } h3 { margin: 1.6rem 0 .5rem }
h1, h2, h3 { scroll-margin-top: 4rem } img { max-width: 100%; height: auto }
code, pre { font: 14px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
code { background: var(--panel); padding: .12em .3em; border-radius: 4px; overflow-wrap: anywhere }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; overflow: auto } pre code { padding: 0; background: none; overflow-wrap: normal }
.wide { overflow: auto; margin: 1rem 0 } table { border-collapse: collapse; font-size: 15px } th, td { border: 1px solid var(--line); padding: .4rem .7rem; text-align: left; vertical-align: top }
th { background: var(--panel) } th:empty { display: none } td:first-child code { overflow-wrap: normal; white-space: nowrap } td { min-width: 5rem } td:nth-child(n+2):last-child { min-width: 14rem }
blockquote { margin: 1rem 0; padding: .2rem 1rem; border-left: 4px solid var(--line) }
@media (max-width: 75rem) { body { grid-template-columns: 15rem minmax(0, 54rem) } .contents { display: none } }
@media (max-width: 52rem) { body { display: block } main, .menu { padding-inline: 1rem } .menu { position: static; max-height: none; padding-block: .6rem; border-bottom: 1px solid var(--line) }
  .menu summary { display: block; cursor: pointer; font-weight: 600 } header { margin: 0; padding-inline: 1rem } #found { left: 0; right: 0 } #search { flex: 1 }
  td:first-child code { white-space: normal } }
"""

SEARCH = """
const field = document.getElementById("search"), found = document.getElementById("found");
if (matchMedia("(max-width: 52rem)").matches) document.querySelector(".menu").open = false;
const escape = (text) => text.replace(/[&<>"]/g, (c) => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}[c]));
function look() {
  const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
  found.hidden = words.length === 0;
  if (!words.length) return;
  const hits = [];
  for (const entry of INDEX) {
    const head = (entry.title + " " + entry.heading).toLowerCase(), text = entry.text.toLowerCase();
    if (!words.every((word) => head.includes(word) || text.includes(word))) continue;
    hits.push([words.filter((word) => head.includes(word)).length, entry]);
  }
  hits.sort((a, b) => b[0] - a[0]);
  found.innerHTML = hits.slice(0, 20).map(([, entry]) => {
    const at = Math.max(0, entry.text.toLowerCase().indexOf(words[0]) - 50);
    let part = escape(entry.text.slice(at, at + 160));
    for (const word of words) part = part.replace(new RegExp(escape(word).replace(/[.*+?^${}()|[\\]\\\\]/g, "\\\\$&"), "gi"), "<mark>$&</mark>");
    const name = entry.heading === entry.title ? entry.title : entry.title + " › " + entry.heading;
    return `<li><a href="${entry.page}.html#${entry.anchor}">${escape(name)}<small>…${part}…</small></a></li>`;
  }).join("") || "<li>Nothing found.</li>";
}
field.addEventListener("input", look);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== field) { event.preventDefault(); field.focus(); }
  if (event.key === "Escape") { field.value = ""; look(); field.blur(); }
});
"""

if __name__ == "__main__":
    site = Site(Path(sys.argv[1]), Path(sys.argv[2]))
    site.build()
    for fault in site.faults:
        print(f"docs: {fault}", file=sys.stderr)
    sys.exit(1 if site.faults else 0)
