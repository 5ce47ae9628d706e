"""Residual networks as a description (:mod:`spec`) and as one module that follows it (:mod:`module`)."""
