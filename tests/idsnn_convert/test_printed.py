from __future__ import annotations

import pytest

from idsnn_convert.printed import Printed


class Answer(Printed):
    def brief(self) -> str:
        return "42\x1b[31m"

    def show(self) -> None:
        print("forty\ntwo\n")


def test_text_is_what_is_printed_and_repr_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert str(Answer()) == "forty\ntwo"
    assert repr(Answer()) == "<Answer: 42\\x1b[31m>"
    assert capsys.readouterr().out == ""


def test_a_result_tells_itself() -> None:
    for missing in (Printed().brief, Printed().show, Printed()._repr_html_):
        with pytest.raises(NotImplementedError):
            missing()
