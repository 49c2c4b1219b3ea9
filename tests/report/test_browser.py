"""report.html in a real browser: every figure loads, nothing complains, it fits a phone, it prints.

Needs Debian's chromium (apt-get install chromium).
"""

import urllib.parse

import chromium
import pytest
from factory import typed

from ft_tf import records, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PATH is None, reason="no chromium here: apt-get install chromium"),
]
IMAGES = """[...document.images].map(i => [i.alt, i.complete && i.naturalWidth > 0])"""
# What stands out to the right of the page, outside the boxes that scroll on their own.
OVERHANG = """document.documentElement.scrollWidth - document.documentElement.clientWidth"""
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def browser():
    with chromium.browser() as started:
        yield started


@pytest.fixture(scope="module")
def page_file(tmp_path_factory, whole_study):
    directory = tmp_path_factory.mktemp("report")
    for record in whole_study:
        records.write(directory / record["name"], typed(record))
    report.build(directory)
    return directory / "report.html"


@pytest.fixture(params=WIDTHS)
def page(request, browser, page_file):
    opened = chromium.Page(browser, width=WIDTHS[request.param], mobile=request.param == "phone")
    opened.open(page_file)
    return opened


def test_every_figure_loads_and_nothing_complains(page, page_file):
    images = page.evaluate(IMAGES)
    figures = sorted((page_file.parent / "figures").iterdir())
    assert len(images) == len(figures) > 5
    assert [alt for alt, is_there in images if not is_there] == []
    assert page.complaints == []


def test_the_page_itself_never_scrolls_sideways(page):
    assert page.evaluate(OVERHANG) == 0
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 15


def test_the_answer_is_on_the_first_screen(page):
    """Findings and the first claim, whatever the width; the header stays when the page scrolls."""
    tops = page.evaluate(
        "[...document.querySelectorAll('.findings li, #claims tbody th')]"
        ".slice(0, 5).map(e => e.getBoundingClientRect().top)"
    )
    assert len(tops) == 5 and max(tops) < 900
    page.evaluate("window.scrollTo(0, 2000)")
    assert page.evaluate("document.querySelector('header').getBoundingClientRect().top") == 0


def test_a_claim_is_a_card_on_a_phone(browser, page_file):
    displays = []
    for width in WIDTHS.values():
        opened = chromium.Page(browser, width=width, mobile=width < 600)
        opened.open(page_file)
        row = "getComputedStyle(document.querySelector('#claims tr.cells')).display"
        displays.append(opened.evaluate(row))
    assert displays == ["table-row", "flex"]


def test_a_record_is_one_click_away(page, page_file):
    link = page.evaluate("document.querySelector('tr.detail a').getAttribute('href')")
    text = (page_file.parent / urllib.parse.unquote(link)).read_text()
    assert '"schema_version": 1' in text


def test_it_prints_with_the_folded_tables_open(browser, page_file):
    page = chromium.Page(browser, width=1000)
    page.open(page_file)
    folded = "[...document.querySelectorAll('.fold table')].map(t => t.checkVisibility())"
    assert set(page.evaluate(folded)) == {False}
    page.send("Emulation.setEmulatedMedia", media="print")
    assert set(page.evaluate(folded)) == {True}
    paper = page.pdf()
    assert paper.startswith(b"%PDF")
    assert len(paper) > 100_000  # figures and all


def test_the_check_sees_what_is_broken(browser, tmp_path):
    """The same questions, asked of a page on which all of it goes wrong."""
    broken = tmp_path / "broken.html"
    broken.write_text(
        "<body style='margin:0'><img alt='gone' src='gone.png'>"
        "<div style='width:3000px'>wide</div>"
        "<script>console.error('told'); nothing.there()</script>"
    )
    page = chromium.Page(browser, width=390)
    page.open(broken)
    assert page.evaluate(IMAGES) == [["gone", False]]
    assert page.evaluate(OVERHANG) > 0
    assert any("told" in text for text in page.complaints)
    assert len(page.complaints) >= 2
