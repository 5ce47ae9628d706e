"""``python -m idsnn_convert`` is ``idsnn``."""

from idsnn_convert.process import main

main()
