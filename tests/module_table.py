"""The table of all modules in docs/architecture.md, made from the first line of each one's docstring.

python -m tests.module_table        # writes it anew
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- modules: python -m tests.module_table -->", "<!-- end of modules -->"


def main() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}{END}{after}", encoding="utf-8")


def table() -> str:
    """A row for each module of the house that is not empty."""
    return "\n| module | what it is for |\n| --- | --- |\n" + "".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    sources = [ROOT / "polyglance.py", *ROOT.glob("connector/**/*.py"), *ROOT.glob("workers/**/*.py")]
    for path in sorted(sources):
        purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if path.name != "__init__.py":
            line = purpose.splitlines()[0].replace("``", "`").replace("|", "\\|")
            yield f"| `{path.relative_to(ROOT).as_posix()}` | {line} |\n"


if __name__ == "__main__":
    main()
