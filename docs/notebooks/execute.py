"""Run the notebooks of this folder from the top, and store what they show.

    python docs/notebooks/execute.py            all of them
    python docs/notebooks/execute.py NAME ...   some, without .ipynb

It needs the extra `notebook`. Compile the kernels first: a notebook that waits for them may reach its time limit. What is
stored does not depend on the machine or the day: cells are numbered, times, versions and paths are left out.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 300  # for a cell
LOCAL = re.compile(r"0x[0-9a-f]{6,}|/(?:home|root|tmp|Users|usr|opt)/|ipykernel_\d+")


def read(path):
    """A notebook, its cells numbered and without outputs."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def execute(notebook):
    """Run a notebook in a new kernel, in this folder. Raises nbclient's CellExecutionError if a cell fails."""
    from nbclient import NotebookClient

    resources = {"metadata": {"path": str(HERE)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources, record_timing=False).execute()
    notebook.metadata.pop("language_info", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def texts(notebook):
    """For each cell of code what it prints and shows, as text."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            found.append("\n".join(part.rstrip("\n") for part in parts))
    return found


def local(notebook):
    """What of a notebook's texts belongs to one machine: paths and addresses."""
    return [match[0] for text in texts(notebook) for match in LOCAL.finditer(text)]


def main(names):
    """Execute and store."""
    import nbformat

    for path in [HERE / f"{name}.ipynb" for name in names] or sorted(HERE.glob("*.ipynb")):
        notebook = execute(read(path))
        nbformat.validate(notebook)
        if found := local(notebook):
            raise SystemExit(f"{path.name}: shows {', '.join(found)}, which is of this machine")
        with open(path, "w", encoding="utf-8") as file:
            nbformat.write(notebook, file)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
