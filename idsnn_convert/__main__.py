"""``python -m idsnn_convert`` is ``idsnn``."""

from idsnn_convert.cli import main

main(prog_name="idsnn")
