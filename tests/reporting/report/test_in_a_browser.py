"""The page in a real browser: it loads without complaint, and its table, links and colours do what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Browser, find_browser

from nodebench.commands.report import page_of
from nodebench.reporting import find_runs

WriteRun = Callable[..., Path]
PROGRAM = find_browser()
EVIL = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here")
FIRST_CELLS = (
    "[...document.querySelectorAll('#runs-table tbody tr > :first-child')].map(cell => cell.textContent)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert PROGRAM is not None
    found = Browser(PROGRAM)
    yield found
    found.close()


@pytest.fixture
def page(tmp_path: Path, write_run: WriteRun) -> Path:
    """Three experiments on digits, one of them with a failed seed and hostile words; and a page about them."""
    for number, (name, error) in enumerate((("mlp", 10.0), ("resnet", 9.0), ("odenet", 0.5))):
        config = {
            "data": {"name": "digits"},
            "model": {"name": name, **({"note": EVIL} if name == "mlp" else {})},
        }
        run = write_run(f"digits-{name}-0a1b2c3{number}", config=config, error_test=error)
        (run / "metrics.jsonl").write_text(
            "".join(json.dumps({"kind": "epoch", "epoch": n, "error_train": 9.0 / n}) + "\n" for n in (1, 2))
        )
    config = {"data": {"name": "digits"}, "model": {"name": "mlp", "note": EVIL}}
    write_run("digits-mlp-0a1b2c30", 1, config=config, status="failed", reason=EVIL, error_test=None)
    path = tmp_path / "report.html"
    root = tmp_path / "outputs"
    path.write_text(page_of(find_runs(root), root, EVIL, with_figures=False), encoding="utf-8")
    return path


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(
        f"(() => {{ const it = document.getElementById('{name}'); it.value = '{value}';"
        " it.dispatchEvent(new Event(it.tagName === 'INPUT' ? 'input' : 'change', {bubbles: true})); })()"
    )


def click_heading(browser: Browser, name: str) -> str:
    """Click a heading; returns its aria-sort afterwards."""
    cell = (
        f"[...document.querySelectorAll('#runs-table thead th')].find(cell => cell.textContent === '{name}')"
    )
    browser.run(f"{cell}.querySelector('button').click()")
    return str(browser.run(f"{cell}.getAttribute('aria-sort')"))


def test_it_loads_without_complaint_and_runs_nothing_of_a_runs_words(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.complaints == []
    assert browser.run("window.hacked ?? null") is None
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.querySelector('h1').textContent") == EVIL
    choose(browser, "kind", "run")
    choose(browser, "group", "model.note")
    browser.run("document.querySelectorAll('#columns input').forEach(box => box.checked || box.click())")
    assert (
        browser.run("document.querySelector('#runs-table').textContent").count(EVIL)
        >= 2  # a reason and a group
    )
    assert browser.run("window.hacked ?? null") is None
    assert browser.complaints == []


def test_a_heading_sorts_up_then_down_then_not_at_all(browser: Browser, page: Path) -> None:
    browser.open(page)
    unsorted = browser.run(FIRST_CELLS)
    assert click_heading(browser, "error_test") == "ascending"
    assert browser.run(FIRST_CELLS) == ["odenet", "resnet", "mlp"]  # by number: as words, 10.00 is below 9.00
    assert click_heading(browser, "error_test") == "descending"
    assert browser.run(FIRST_CELLS) == ["mlp", "resnet", "odenet"]
    assert click_heading(browser, "error_test") == "none"
    assert browser.run(FIRST_CELLS) == unsorted
    choose(browser, "kind", "run")
    for _ in range(2):
        click_heading(browser, "error_test")
        assert browser.run(FIRST_CELLS)[-1] == "mlp"  # what has no number comes last both ways


def test_words_status_groups_and_columns_are_chosen(browser: Browser, page: Path) -> None:
    browser.open(page)
    choose(browser, "filter", "ODEnet digits")
    assert browser.run(FIRST_CELLS) == ["odenet"]
    assert browser.run("document.getElementById('shown').textContent") == "1 of 3 experiments"
    choose(browser, "filter", "no such net")
    assert browser.run(FIRST_CELLS) == []
    choose(browser, "filter", "")
    choose(browser, "status", "failed")
    assert browser.run(FIRST_CELLS) == ["mlp"]
    choose(browser, "status", "")
    choose(browser, "group", "model")
    assert browser.run(FIRST_CELLS) == ["mlp (1)", "mlp", "odenet (1)", "odenet", "resnet (1)", "resnet"]
    choose(browser, "kind", "run")
    assert browser.run(FIRST_CELLS)[0] == "mlp (2)"
    box = "[...document.querySelectorAll('#columns label')].find(label => label.textContent === 'num_params')"
    headings = "[...document.querySelectorAll('#runs-table thead th')].map(cell => cell.textContent)"
    assert "num_params" in browser.run(headings)
    browser.run(f"{box}.querySelector('input').click()")
    assert "num_params" not in browser.run(headings)


def test_the_keyboard_sorts_and_keeps_its_place(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('#runs-table thead th:nth-child(2) button').focus()")
    focused = browser.run("document.activeElement.textContent")
    browser.press("Enter", 13)
    assert browser.run("document.activeElement.textContent") == focused
    assert browser.run("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


def test_a_link_to_an_experiment_opens_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('#runs-table tbody a').click()")
    target = browser.run("location.hash.slice(1)")
    assert browser.run(f"document.getElementById('{target}').open") is True


def test_colours_are_the_systems_until_they_are_chosen(browser: Browser, page: Path) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    browser.open(page, scheme="dark")
    dark = browser.run(background)
    browser.run("document.getElementById('theme').click()")
    light = browser.run(background)
    assert (dark, light) == ("rgb(20, 23, 28)", "rgb(255, 255, 255)")
    browser.run("try { localStorage.clear(); } catch {}")
    browser.open(page)
    assert browser.run(background) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_told_from_what_is_behind_them(browser: Browser, page: Path, scheme: str) -> None:
    """The contrast of all text of the page and its charts with the page: 4.5 by WCAG, 2.1, 1.4.3."""
    browser.open(page, scheme=scheme)
    ratios = browser.run(
        """(() => {
          const light = (text) => {
            const parts = text.match(/[\\d.]+/g).slice(0, 3).map(Number).map((value) => value / 255)
              .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const page = light(getComputedStyle(document.documentElement).backgroundColor);
          const found = {};
          for (const node of document.querySelectorAll('body *')) {
            if (!node.textContent.trim() || ['SCRIPT', 'STYLE'].includes(node.tagName)) continue;
            const style = getComputedStyle(node);
            const colour = node instanceof SVGTextElement ? style.fill : style.color;
            if (!colour.startsWith('rgb')) continue;
            const [low, high] = [light(colour), page].sort((a, b) => a - b);
            found[colour] = (high + 0.05) / (low + 0.05);
          }
          return found;
        })()"""
    )
    assert len(ratios) > 3
    assert {colour: ratio for colour, ratio in ratios.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width, height=800)
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth") is True
