"""The page in a real browser: on a wide screen, on a telephone, and printed. Nothing is cut off, and nothing is fetched.

Chromium is looked for under its usual names. Where NLICL_TEST_CHROMIUM names it, as in CI, a browser that is not there is a
failure; elsewhere these tests are skipped.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import nlicl
from nlicl.audit import AuditReport, audit_paper
from nlicl.papers import li2024, zhang2025

pytestmark = pytest.mark.slow

ASKED_FOR = os.environ.get("NLICL_TEST_CHROMIUM")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
WIDTHS = {"desktop": 1200, "telephone": 390}

# What a page is asked for: the elements that stick out of the window or of a box that hides what sticks out, and each
# column's cells of the tables, with what is drawn before them.
PROBE = """<script>
addEventListener("load", () => {
  const wide = innerWidth, out = [], hidden = [];
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("svg") && e.tagName !== "svg" || e.closest("script")) continue;
    const r = e.getBoundingClientRect();
    if (r.right > wide + 1 || r.left < -1) out.push(e.tagName + "." + e.className + " " + r.right);
    if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible" && e.clientWidth)
      hidden.push(e.tagName + "." + e.className + " " + e.scrollWidth + " " + e.clientWidth);
  }
  const cells = [...document.querySelectorAll("tbody tr")].map(row => [...row.children].map(cell => {
    const r = cell.getBoundingClientRect(), before = getComputedStyle(cell, "::before").content;
    return [cell.innerText.trim(), r.width > 0 && r.height > 0 && r.right <= wide + 1 && r.left >= 0, before];
  }));
  const head = [...document.querySelectorAll("thead th")].map(cell => cell.getBoundingClientRect().width);
  const asked = performance.getEntriesByType("resource").map(entry => entry.name);
  const found = {wide, out, hidden, cells, head, asked, body: document.documentElement.scrollWidth};
  document.body.innerHTML = "";
  const box = document.createElement("pre");
  box.id = "found"; box.textContent = "FOUND" + JSON.stringify(found) + "END";
  document.body.append(box);
});
</script>"""


TELL = """<script>
addEventListener("load", () => setTimeout(() => {
  for (const frame of document.querySelectorAll("iframe"))
    document.body.append(frame.contentDocument.getElementById("found").textContent);
}, 300));
</script>"""


@pytest.fixture(scope="module")
def chromium():
    found = ASKED_FOR or next(filter(None, map(shutil.which, NAMES)), None)
    if ASKED_FOR and not shutil.which(ASKED_FOR):
        pytest.fail(f"NLICL_TEST_CHROMIUM is {ASKED_FOR}, which is no program")
    if not found:
        pytest.skip("there is no Chromium; install it, or name one by NLICL_TEST_CHROMIUM")
    for tool in ("pdftotext", "pdfinfo"):
        if not shutil.which(tool):
            (pytest.fail if ASKED_FOR else pytest.skip)(f"there is no {tool}; install poppler-utils")
    return found


def browse(chromium, folder, *options, page):
    """Standard output and error of the browser on a page."""
    profile = folder / "profile"
    call = [chromium, *FLAGS, f"--user-data-dir={profile}", *options, page.as_uri()]
    done = subprocess.run(call, capture_output=True, text=True, timeout=90, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def formula_report():
    """One wrong formula with TeX, long lines of code, a mend, both drawings, and long names."""

    def gradient_with_respect_to_the_keys_of_the_first_head(params, prompt):
        r"""Gradient with respect to the keys (appendix B, equation 17)

        $$\frac{\partial \ell}{\partial W_K} = -z \sum_{i=1}^{m} a_i \mathbf{1}[u_i > 0] \sum_{s=1}^{l} \big(W_O^{(i)} W_V p_s\big)\, \mathrm{attn}_s \; W_Q p_{query} \big(p_s - \sum_{r} \mathrm{attn}_r p_r\big)^\top$$
        """  # noqa: E501
        a_line_that_is_as_long_as_lines_of_code_in_appendices_are = [
            params.W_Q,
            params.W_K,
            params.W_V,
            params.W_O,
            params.a,
        ]
        return (
            -2 * li2024.formulas["W_K"](params, prompt)
            + 0 * a_line_that_is_as_long_as_lines_of_code_in_appendices_are[1]
        )

    report = nlicl.audit_formula(gradient_with_respect_to_the_keys_of_the_first_head, wrt="W_K", draws=12, mend=1)
    entry = report.formulas[0]
    entry.mistakes, entry.facts = 1, ["wrong where z F is above 1, and right where it is below"]
    entry.heat_map = {"draw": 1, "errors": (10.0 ** -np.arange(60 * 50).reshape(60, 50) / 3000 * 16).tolist()}
    return report


def several_reports():
    """Two formulas of one's own on one page."""
    one = nlicl.audit_formula(
        lambda params, prompt: -li2024.formulas["W_Q"](params, prompt), wrt="W_Q", draws=6, mend=0
    )
    two = nlicl.audit_formula(lambda params, prompt: li2024.formulas["a"](params, prompt), wrt="a", draws=6)
    one.formulas[0].name, two.formulas[0].name = "dWQ", "da"
    return one + two


def function_report():
    """A gradient of several arguments."""
    W, x = np.random.default_rng(0).standard_normal((4, 5)), np.ones(5)

    def loss(W, x):
        return np.maximum(W @ x, 0).sum()

    def gradient(W, x):
        return np.outer(np.ones(4), x), W.T @ (W @ x > 0)

    return nlicl.audit_gradient(loss, gradient, (W, x), names=("W", "x"), mend=0)


def paper_report():
    """A whole paper, with known errors."""
    return audit_paper("li2024", draws=4)


def long_paper_report():
    """A paper of seven losses: of each one formula, judged on two draws."""
    parts = tuple(replace(part, formulas=dict([next(iter(part.formulas.items()))])) for part in zhang2025.subject.parts)
    return audit_paper(replace(zhang2025.subject, parts=parts), draws=2)


MADE = {
    "formula": (formula_report, 5),
    "several": (several_reports, 5),
    "function": (function_report, 4),
    "paper": (paper_report, 5),
    "long paper": (long_paper_report, 6),
}


@pytest.fixture(scope="module", params=MADE)
def made(request, tmp_path_factory):
    """A report, the file of its page, and the most pages that it may take on paper."""
    make, most = MADE[request.param]
    report = make()
    folder = tmp_path_factory.mktemp("page")
    report.to_html(folder / "page.html")
    return report, folder, most


def numbers_of(report: AuditReport):
    """What the table says of each formula: a number for every witness."""
    for f in report.formulas:
        yield from (
            f"{f.witnesses[c.key]:.1e}" for c in report.columns if c.key != "taylor_slope" and f.witnesses.get(c.key)
        )


def test_nothing_sticks_out_of_a_screen(made, chromium):
    report, folder, _ = made
    text = (folder / "page.html").read_text(encoding="utf-8")
    (folder / "probed.html").write_text(text.replace("</head>", PROBE + "</head>"), encoding="utf-8")
    # A browser's window is 500 wide at least: a screen is a frame of its width.
    frames = "".join(f'<iframe src="probed.html" width="{width}" height="900"></iframe>' for width in WIDTHS.values())
    (folder / "frames.html").write_text(
        f"<!DOCTYPE html><style>iframe {{ border: 0 }}</style><body>{frames}{TELL}</body>"
    )
    options = ("--window-size=1800,1000", "--allow-file-access-from-files", "--virtual-time-budget=4000", "--dump-dom")
    dom, said = browse(chromium, folder, *options, page=folder / "frames.html")
    assert not re.search(r"CONSOLE|Uncaught|Refused to", said), said
    found = [json.loads(_unescaped(text)) for text in re.findall("FOUND(.*?)END", dom, re.S)]
    columns = 3 if len(report.formulas) == 1 else 4 + len(report.columns)
    for screen, width in zip(found, WIDTHS.values(), strict=True):
        assert screen["wide"] == screen["body"] == width
        assert (screen["out"], screen["hidden"], screen["asked"]) == ([], [], []), width
        cells = [cell for row in screen["cells"] for cell in row]
        assert cells and all(len(row) == columns for row in screen["cells"])
        assert all(visible for _, visible, _ in cells), [cell for cell in cells if not cell[1]]
        assert set(numbers_of(report)) <= {text for text, _, _ in cells}
        if width == WIDTHS["desktop"]:
            assert len(screen["head"]) == columns and all(size > 0 for size in screen["head"])
        else:  # cards, each number with its name
            numbers = slice(2, None) if columns > 3 else slice(1, 2)
            named = [before.strip('"') for row in screen["cells"] for _, _, before in row[numbers]]
            assert named and not {"none", ""} & set(named)


def _unescaped(text):
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, sign)
    return text


def test_nothing_is_lost_on_paper(made, chromium):
    report, folder, most = made
    pdf = folder / "page.pdf"
    browse(chromium, folder, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page=folder / "page.html")
    text = subprocess.run(["pdftotext", "-raw", pdf, "-"], capture_output=True, text=True, check=True).stdout
    solid = re.sub(r"\s+", "", text)
    for f in report.formulas:
        assert re.sub(r"\s+", "", f.name) in solid
        for line in f.code.splitlines():
            assert f.background.role != "own" or re.sub(r"\s+", "", line) in solid or f.code == report.formulas[0].code
    assert all(number in solid for number in numbers_of(report))
    for heading in ("How it was judged", "To repeat it", "Made on"):
        assert heading in text
    pages = text.rstrip("\f").split("\f")
    assert len(pages) <= most
    for number, filled in enumerate(_filled(pdf, len(pages))[:-1]):
        assert filled > 0.55, f"page {number + 1} is filled to {filled:.0%}"


def _filled(pdf, pages):
    """Of each page, how far down its last line of text stands."""
    found = []
    for page in range(1, pages + 1):
        call = ["pdftotext", "-bbox", "-f", str(page), "-l", str(page), pdf, "-"]
        boxes = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        height = float(re.search(r'<page width="[\d.]+" height="([\d.]+)"', boxes)[1])
        found.append(max(map(float, re.findall(r'yMax="([\d.]+)"', boxes)), default=0.0) / height)
        right = max(map(float, re.findall(r'xMax="([\d.]+)"', boxes)), default=0.0)
        assert right <= float(re.search(r'<page width="([\d.]+)"', boxes)[1])
    return found
