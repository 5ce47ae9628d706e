"""Reads a whole model that torch.save pickled, if all its classes are layers and models of known libraries.

Such a file names classes, and unpickling calls them. It is read only if each name belongs to a known library (which is
asked before anything is imported) and is a class of modules, and by torch's weights-only reader, which calls nothing
else. Not even those classes are called: shells stand in for their modules until all is read, for a class may make layers
of any size. What was read is looked through before it is traced: no hooks, no methods replaced.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from idsnn_convert.passes.load.live import module_teacher
from idsnn_convert.passes.load.torch_file import LIBRARIES, STAND_INS, check_archive, foreign_globals, read_checked
from idsnn_convert.passes.load.traced import at, image_shape
from idsnn_convert.passes.load.types import Request
from idsnn_convert.passes.load.unwrap import NESTS
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime.errors import UserError

_RESAVE = 'Save its weights alone where it was made, if you trust it: torch.save(model.state_dict(), "weights.pt").'


def is_library_module(path: Path) -> bool:
    """Whether a torch.save archive holds objects beside tensors, and all of them are classes of known libraries.

    Raises:
        UserError: if the archive is damaged, or not as torch.save writes them.
    """
    check_archive(path)
    foreign = set(foreign_globals(path)) - set(STAND_INS)
    return bool(foreign) and all(name.startswith(LIBRARIES) for name in foreign)


def load_pickled(request: Request) -> Teacher:
    """The teacher in an archive for which :func:`is_library_module` holds.

    Raises:
        UserError: if a library is missing, a name is no class of modules, or the model was tampered with or fails to trace.
    """
    path = request.path
    try:
        module = whole_of(read_with_shells(path))
        try:
            _check_plain(module)
        except (AttributeError, TypeError, RecursionError, RuntimeError) as error:  # what it holds may be of any kind
            raise _refused(f"it is not put together as modules are: {error}") from error
        return whole_teacher(module, request)
    except UserError as error:
        raise at(path, error) from error


def read_with_shells(path: Path, allowed: Mapping[str, Any] | None = None) -> Any:
    """The object in an archive; its modules of known libraries are restored without a call of their classes.

    Args:
        allowed: name -> what the file may call besides.

    Raises:
        UserError: as :func:`load_pickled`.
    """
    names = sorted(set(foreign_globals(path)) - set(STAND_INS) - set(allowed or ()))
    shells = Shells({name: find_class(name) for name in names})
    content = read_checked(path, [(made, name) for name, made in {**shells.kinds, **(allowed or {})}.items()])
    shells.fill()
    return content


def whole_teacher(module: nn.Module, request: Request) -> Teacher:
    """The teacher that a whole model is.

    Raises:
        UserError: if it is of no images, or fails to trace.
    """
    if isinstance(module, nn.DataParallel):
        module = _wrapped(module)
    shape, notes = image_shape(module.modules(), request.input_size)
    facts: dict[str, Any] = {
        "path": str(request.path),
        "sha256": request.sha256,
        "form": "pickled module",
        "arch": request.arch,
    }
    return module_teacher(module, shape, notes=notes, **facts)


def find_class(name: str) -> type[nn.Module]:
    """The class of modules with this dotted name, which must begin with one of ``LIBRARIES``.

    Raises:
        UserError: if it does not, its library is not installed, or it is something else.
    """
    home, _, last = name.rpartition(".")
    library = name.partition(".")[0]
    if not name.startswith(LIBRARIES) or not all(part.isidentifier() for part in name.split(".")):
        raise _refused(f"it asks Python for {name}, which belongs to no library that is known")
    try:
        found = getattr(importlib.import_module(home), last, None)
    except ModuleNotFoundError as error:
        if error.name == library:
            raise UserError(
                f"it is a whole model of {library}, which is not installed",
                hint=f"pip install {library}, or {_RESAVE[0].lower()}{_RESAVE[1:]}",
            ) from error
        found = None
    except (ImportError, RuntimeError) as error:  # torchvision says so if it does not fit the torch at hand
        raise UserError(
            f"it is a whole model of {library}, which cannot be imported: {error}",
            hint=f"Install the release of {library} that fits this torch. Or: {_RESAVE}",
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module) and f"{found.__module__}.{found.__qualname__}" == name):
        raise _refused(f"it asks Python for {name}, which is no class of modules in the {library} installed here")
    return found


class Shells:
    """Stand-ins for modules while their pickle is read: they keep what each is told of itself and run nothing.

    Attributes:
        kinds: name of a class -> its stand-in.
    """

    def __init__(self, classes: Mapping[str, type[nn.Module]]) -> None:
        self.made: list[Any] = []
        self.bare = 0
        self.kinds = {name: self._kind(found) for name, found in classes.items()}

    def fill(self) -> None:
        """Turns each shell into the module that it stands for, those within it first.

        Raises:
            UserError: if one was told nothing, or what no module of its class is.
        """
        if self.bare:
            raise _refused(f"{self.bare} modules in it have no state")
        for shell in self.made:
            state = {key: _class_of(value) for key, value in vars(shell).items()}
            vars(shell).clear()
            found = type(shell).stands_for
            shell.__class__ = found
            try:
                shell.__setstate__(state)
            except Exception as error:  # the class's own code, on a state of the file's making
                raise _refused(f"a {found.__qualname__} in it does not have the state of one") from error

    def _kind(self, found: type[nn.Module]) -> type:
        shells = self

        class Shell:
            stands_for = found

            def __new__(cls, *arguments: Any) -> Shell:
                if arguments:
                    raise TypeError(f"it calls {found.__qualname__} instead of restoring one")
                shells.bare += 1
                return super().__new__(cls)

            def __setstate__(self, state: Any) -> None:
                if vars(self) or not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
                    raise TypeError(f"the state of a {found.__qualname__} is no dict, or told twice")
                vars(self).update(state)
                shells.bare -= 1
                shells.made.append(self)

        return Shell


def _class_of(value: Any) -> Any:
    """The class itself where a module keeps one: of the norms it was built with, say."""
    return getattr(value, "stands_for", value) if isinstance(value, type) else value


def whole_of(content: Any) -> nn.Module:
    """The module itself, or the one in a training script's dict."""
    if isinstance(content, nn.Module):
        return content
    found = (
        {key: value for key, value in content.items() if isinstance(value, nn.Module)} if isinstance(content, Mapping) else {}
    )
    known = [key for key in NESTS if key in found]
    if not known and len(found) != 1:
        raise UserError(f"it holds {len(found)} modules, none of them under a name such as 'model'", hint=_RESAVE)
    return found[known[0]] if known else next(iter(found.values()))


def _wrapped(module: nn.DataParallel[Any]) -> nn.Module:
    """The module that DataParallel spreads over devices; it computes the same on one."""
    inner = module._modules.get("module")
    if inner is None:
        raise UserError("it is a DataParallel around nothing", hint=_RESAVE)
    return inner


def _check_plain(module: nn.Module) -> None:
    """Refuses a module that would call something when it is run that its classes do not."""
    for name, part in module.named_modules():
        where = f"its part {name!r}" if name else "the model"
        state = vars(part)
        if hooked := [key for key, value in state.items() if "_hooks" in key and value]:
            raise _refused(f"{where} has hooks ({hooked[0]}), which cannot be traced")
        if replaced := [key for key in state if callable(getattr(type(part), key, None))]:
            raise _refused(f"{where} has its method {replaced[0]!r} replaced")


def _refused(what: str) -> UserError:
    return UserError(f"{what}. Nothing was executed", hint=_RESAVE)
