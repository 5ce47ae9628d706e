from __future__ import annotations

import pytest

from idsnn_convert.printed import Printed


class Answer(Printed):
    def brief(self) -> str:
        return "42\x1b[31m"

    def show(self) -> None:
        print("forty\ntwo\n")

    def _repr_html_(self) -> str:
        return "<p>42"


def test_text_is_what_is_printed_and_repr_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert str(Answer()) == "forty\ntwo"
    assert repr(Answer()) == "<Answer: 42\\x1b[31m>"
    assert capsys.readouterr().out == ""


def test_a_result_tells_itself() -> None:
    class Mute(Printed):
        pass

    with pytest.raises(TypeError, match=r"_repr_html_.*brief.*show"):
        Mute()  # type: ignore[abstract]
