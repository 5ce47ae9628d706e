"""Reads ONNX models: the file, its constants, its operators, and the canonical graph they make.

Importing this package does not import onnx, which is optional; :func:`idsnn_convert.passes.load.onnx.teacher.load_onnx`
does when it is called.
"""
