"""How the manual is built: `make docs`, or `sphinx-build -W -n docs build/docs`. Needs extra `docs` and no network."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parent.parent)]

import idsnn_convert  # noqa: E402

project = "idsnn-convert"
author = "the idsnn-convert authors"
copyright = author
version = release = idsnn_convert.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "from_code",
]
smartquotes = False  # which would make dashes of options
html_theme = "furo"
html_title = "idsnn-convert"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_copy_source = False
exclude_patterns = ["**/conftest.py"]
pygments_style = "friendly"
pygments_dark_style = "native"

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3

# Optional libraries that are not installed; what imports them is documented all the same.
OPTIONAL = ("onnx", "onnx_ir", "onnxruntime", "nir", "h5py", "pyarrow", "PIL", "matplotlib", "triton", "tensorboard")
autodoc_mock_imports = [name for name in OPTIONAL if find_spec(name) is None]
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
# Names of other projects, which only the network could resolve.
OTHERS = ("torch", "numpy", "np", "click", "rich", "networkx", "nx", "pydantic", "annotated_types", "ir", *OPTIONAL)
nitpick_ignore_regex = [
    (r"py:.*", rf"({'|'.join((*OTHERS, *sys.stdlib_module_names))})(\..*)?"),
    (r"py:.*", r"Module|NoneType|FieldInfo|_PydanticGeneralMetadata|Ge|Gt|Le|Lt|Strict|[^.]*[\[\]].*"),
]
