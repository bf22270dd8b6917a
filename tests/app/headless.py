"""A ChimeraX session without windows, from the libraries of ChimeraX 1.7.1 that PyPI has.

What those libraries do here is real: the session, the toolshed, the command parser, maps and volume series,
contouring, tasks, session files, the bundle builder.  Four things that the application has and they lack are made up
for in this file:

1. `chimerax` as a namespace.  The wheel has an __init__.py, which fails; the application has none.
2. `chimerax.core.nogui`.  `UI` and `Log` stand in for it.  `UI.thread_safe` queues, and `UI.pump` is the turn of the
   event loop that a test takes by hand.
3. The metadata of the bundles in the wheel, from which the toolshed learns commands, managers and file formats.
   `BUNDLES` names those used here, with versions that are made up, and the real toolshed reads what is written of it.
4. The start-up, of which `start` is the part without windows.

So the UI, the moments at which queued calls are made and the start-up prove nothing of the application.
Nothing is written outside the folders that the functions are given.

As a program, `python headless.py wheel FOLDER` puts the bundle's wheel into FOLDER; with an e-mail and an address it is
one for the Toolshed.
"""

from __future__ import annotations

import collections
import collections.abc
import functools
import importlib.machinery
import importlib.util
import os
import queue
import shutil
import site
import sys
import tempfile
import threading
import time
import types
import warnings
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple
from xml.sax.saxutils import escape

SESSION_VERSIONS = "1,1"
_EARLIEST = "315532800"  # 1980-01-01, seconds since 1970


# 1. The namespace


def _chimerax_folders() -> list[str]:
    """Folders of the path that hold ChimeraX's libraries or our package, as in a namespace package."""
    folders = [Path(entry, "chimerax") for entry in sys.path]
    return [str(f) for f in folders if (f / "core").is_dir() or (f / "cryotrans").is_dir()]


@functools.cache
def installed() -> bool:
    """Are the ChimeraX libraries here?"""
    return any(Path(folder, "core").is_dir() for folder in _chimerax_folders())


def claim_namespace() -> types.ModuleType:
    """Import `chimerax` as a namespace, passing over the wheel's __init__.py if that has not been removed."""
    if "chimerax" not in sys.modules:
        spec = importlib.util.find_spec("chimerax")
        if spec is None or spec.origin is not None:  # a namespace has no origin
            spec = importlib.machinery.ModuleSpec("chimerax", None, is_package=True)
            spec.submodule_search_locations = _chimerax_folders()
        sys.modules["chimerax"] = importlib.util.module_from_spec(spec)
    return sys.modules["chimerax"]


def _extend_namespace(folder: Path) -> None:
    """Have `chimerax` look into folder/chimerax too."""
    sys.path.append(str(folder))
    namespace = claim_namespace()
    if str(folder / "chimerax") not in list(namespace.__path__):  # a real namespace has just found it by itself
        namespace.__path__.append(str(folder / "chimerax"))


def _revive_grako() -> None:
    """Let grako 3.16.5, the parser of "#1"-like specifiers, run on Python 3.11, as ChimeraX's patch of it does."""
    for name in ("Callable", "Iterable", "Mapping"):
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))


# 2. The user interface


class UI:
    """The part of `session.ui` that code without windows may use.

    `looping` tells which of the application's two ways thread_safe has.  True, the GUI and the nogui prompt: calls wait
    for the main thread.  False, nogui while it still runs a --script or --cmd: there is no event loop yet, and the call
    is made at once on the thread that asks for it.
    """

    is_gui = False
    has_graphics = False
    stereo = False
    autostart_tools = False
    looping = True

    def __init__(self, session: Any) -> None:
        self._session = weakref.ref(session)
        self._calls: queue.Queue[tuple[Callable[..., object], tuple, dict]] = queue.Queue()
        self._main = threading.get_ident()

    def initialize_color_output(self, color: object) -> None:
        pass

    def thread_safe(self, func: Callable[..., object], *args: object, **kw: object) -> None:
        """Have func called on the main thread, at its next turn."""
        if self.looping:
            self._calls.put((func, args, kw))
        else:
            func(*args, **kw)

    def pump(self) -> int:
        """Make the calls that are waiting; return how many there were."""
        assert threading.get_ident() == self._main, "pump() is for the main thread"
        done = 0
        while True:
            try:
                func, args, kw = self._calls.get_nowait()
            except queue.Empty:
                return done
            func(*args, **kw)
            done += 1

    def wait_for(self, condition: Callable[[], bool], timeout: float = 30) -> bool:
        """Pump until condition() is true; False if it is not within timeout (seconds)."""
        end = time.monotonic() + timeout
        while True:
            self.pump()
            if condition():
                return True
            if time.monotonic() > end:
                return False
            time.sleep(0.005)


@functools.cache
def log_class() -> type:
    from chimerax.core.logger import PlainTextLog

    class Log(PlainTextLog):
        """Keeps what is logged as (level, text), levels as in the Log panel."""

        def __init__(self):
            super().__init__()
            self.entries = []
            self.names = {getattr(self, f"LEVEL_{name.upper()}"): name for name in ("info", "warning", "error", "bug")}

        def log(self, level, msg):
            self.entries.append((self.names[level], msg))
            return True

        def status(self, msg, color, secondary):
            if msg:
                self.entries.append(("status", msg))
            return True

        def texts(self, *levels):
            """What was logged, at these levels or at all."""
            return [text for level, text in self.entries if not levels or level in levels]

    return Log


def _provide_nogui() -> None:
    """Put a module in the place of chimerax.core.nogui, which the wheel lacks."""
    if importlib.util.find_spec("chimerax.core.nogui") is None:
        module = types.ModuleType("chimerax.core.nogui", "Stand-in, see headless.py")
        module.UI = UI
        module.NoGuiLog = log_class()
        sys.modules[module.__name__] = module


# 3. The bundles


class Bundle(NamedTuple):
    """What the toolshed has to know of one bundle of the wheel."""

    name: str  # without "ChimeraX-"
    package: str  # without "chimerax."
    version: str = "1.0"
    commands: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()
    providers: tuple[tuple[str, str, dict[str, str]], ...] = ()  # (manager, name, {keyword: text})
    after: tuple[str, ...] = ()  # bundles whose managers start before its own
    requires: tuple[str, ...] = ()
    custom_init: bool = False


def _format(name: str, category: str, suffixes: str, nicknames: str = "") -> tuple[str, str, dict[str, str]]:
    """A provider of a data format."""
    nick = {"nicknames": nicknames} if nicknames else {}
    return ("data formats", name, {"category": category, "suffixes": suffixes, **nick})


_MAP_FORMATS = (
    _format("MRC density map", "Volume data", ".mrc", "mrc"),
    _format("CCP4 density map", "Volume data", ".ccp4,.map", "ccp4"),
)

BUNDLES = (
    Bundle("Core", "core", "1.7.1"),
    Bundle("Arrays", "arrays"),
    Bundle("IO", "io"),
    Bundle("Geometry", "geometry"),
    Bundle("Graphics", "graphics"),
    Bundle("Atomic", "atomic", custom_init=True),
    Bundle(
        "Surface",
        "surface",
        custom_init=True,
        commands=("surface", "measure volume", "measure area", "color sample"),
    ),
    Bundle("ColorKey", "color_key", commands=("key",)),
    Bundle("Label", "label", commands=("2dlabels",)),
    Bundle("DataFormats", "data_formats", managers=("data formats",)),
    Bundle(
        "OpenCommand",
        "open_command",
        managers=("open command",),
        commands=("open",),
        after=("DataFormats",),
        requires=("DataFormats",),
    ),
    Bundle(
        "SaveCommand",
        "save_command",
        managers=("save command",),
        commands=("save",),
        after=("DataFormats",),
        requires=("DataFormats",),
    ),
    Bundle(
        "CoreFormats",
        "core_formats",
        providers=(
            _format("ChimeraX session", "Session", ".cxs", "session"),
            _format("ChimeraX commands", "Command script", ".cxc", "cmd"),
            _format("Python", "Command script", ".py"),
            ("open command", "ChimeraX session", {"want_path": "true"}),
            ("open command", "ChimeraX commands", {"want_path": "true"}),
            ("open command", "Python", {}),
            ("save command", "ChimeraX session", {"compression_okay": "false"}),
        ),
    ),
    Bundle(
        "StdCommands",
        "std_commands",
        custom_init=True,
        commands=(
            *("camera", "close", "color", "hide", "measure center", "measure correlation", "move", "rename"),
            *("runscript", "select", "set", "show", "stop", "transparency", "turn", "usage", "version", "view", "wait"),
        ),
    ),
    Bundle("MapData", "map_data", providers=_MAP_FORMATS),
    Bundle(
        "Map",
        "map",
        custom_init=True,
        requires=("MapData", "OpenCommand", "SaveCommand"),
        commands=("volume", "molmap", "measure mapstats", "measure mapvalues"),
        providers=(
            *(("open command", name, {"want_path": "true", "batch": "true"}) for _, name, _ in _MAP_FORMATS),
            *(("save command", name, {}) for _, name, _ in _MAP_FORMATS),
        ),
    ),
    Bundle(
        "MapFilter",
        "map_filter",
        requires=("Map",),
        commands=(
            *("vop", "volume add", "volume bin", "volume copy", "volume flip", "volume fourier", "volume gaussian"),
            *("volume maximum", "volume minimum", "volume morph", "volume multiply", "volume new"),
            *("volume permuteAxes", "volume resample", "volume scale", "volume subtract", "volume threshold"),
        ),
    ),
    Bundle("MapEraser", "map_eraser", requires=("Map",), commands=("volume erase",)),
    Bundle("MapFit", "map_fit", requires=("Map",), commands=("fitmap",)),
    Bundle("MapSeries", "map_series", custom_init=True, requires=("Map", "MapFit"), commands=("vseries",)),
    Bundle("Morph", "morph", commands=("morph",)),
    Bundle(
        "ImageFormats",
        "image_formats",
        providers=(
            _format("Portable Network Graphics", "Image", ".png", "png"),
            ("save command", "Portable Network Graphics", {}),
        ),
    ),
    Bundle("ToolshedUtils", "toolshed_utils"),
    Bundle("BundleBuilder", "bundle_builder"),
)


def _classifiers(bundle: Bundle) -> Iterator[str]:
    """The "ChimeraX ::" classifiers of a bundle, as in its wheel's METADATA."""
    custom_init = "true" if bundle.custom_init else ""
    yield f"ChimeraX :: Bundle :: General :: {SESSION_VERSIONS} :: chimerax.{bundle.package} ::  :: {custom_init}"
    for name in bundle.commands:
        yield f"ChimeraX :: Command :: {name} :: General :: {name}"
    for name in bundle.managers:
        yield f"ChimeraX :: Manager :: {name}"
    for manager, name, keywords in bundle.providers:
        words = "".join(f" :: {key}:'{text}'" for key, text in keywords.items())
        yield f"ChimeraX :: Provider :: {name} :: {manager}{words}"
    if bundle.after:
        yield "ChimeraX :: InitAfter :: manager :: " + " :: ".join("ChimeraX-" + name for name in bundle.after)


def _write_dist_info(
    folder: Path, name: str, version: str, package: str, classifiers: Iterable[str], requires: Iterable[str]
) -> None:
    """Write the dist-info folder of one bundle, for the toolshed to read."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"Summary: {package}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    lines += [f"Classifier: {classifier}" for classifier in classifiers]
    (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (info / "RECORD").write_text(package.replace(".", "/") + "/__init__.py,,\n", encoding="utf-8")


def link_bundle(session: Any, repository: Path, place: Path) -> Any:
    """Have the session know the bundle whose source is in `repository`; return its BundleInfo.

    The XML is read by ChimeraX's own builder and the BundleInfo made of it by ChimeraX's own toolshed, so that names,
    commands and providers are those that an installed wheel would have.  The code is not copied: a link in the folder
    `place` leads to `repository`/src.
    """
    import pkg_resources
    from chimerax.bundle_builder import BundleBuilder
    from chimerax.core.toolshed.installed import _make_bundle_info

    builder = BundleBuilder(session.logger, str(repository))
    _write_dist_info(
        place, builder.name, builder.version, builder.package, builder.chimerax_classifiers, builder.dependencies
    )
    link = place / builder.package.replace(".", "/")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(repository / "src", target_is_directory=True)
    _extend_namespace(place)

    [found] = [d for d in pkg_resources.find_distributions(str(place)) if d.project_name == builder.name]
    info = _make_bundle_info(found, True, session.logger)
    session.toolshed._installed_bundle_info.append(info)
    session.toolshed._installed_packages.update((package, info) for package in info.packages)
    info.register(session.logger)
    for key, keywords in info.providers.items():
        manager, name = key.split("/", 1)
        if manager != "toolbar":  # which the application has where it has a window alone
            session.toolshed._manager_instances[manager].add_provider(info, name, **keywords)
    info.initialize(session)
    return info


def build_wheel(repository: Path, folder: Path, email: str = "", address: str = "") -> Path:
    """Build the bundle of `repository` as `devel build` does; return the path of the wheel, in `folder`.

    Built from a copy, because the builder leaves its folders behind and would find files in them that are gone from
    src/ since.  It needs no session.  A release has an e-mail and an address, which bundle_info.xml lacks.

    The same source gives the same bytes: files bear the time of SOURCE_DATE_EPOCH, by default the earliest that a zip
    file knows, and permissions that do not depend on the user's umask.
    """
    claim_namespace()
    _revive_grako()
    from chimerax.bundle_builder import BundleBuilder
    from chimerax.core.logger import Logger

    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "bundle")
        copy.mkdir()
        for path in repository.iterdir():
            if path.is_file():
                shutil.copy2(path, copy)
        shutil.copytree(repository / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        if email or address:
            info = copy / "bundle_info.xml"
            text = info.read_text(encoding="utf-8")
            assert "<Email/>" in text and "<URL/>" in text
            text = text.replace("<Email/>", f"<Email>{escape(email)}</Email>")
            info.write_text(text.replace("<URL/>", f"<URL>{escape(address)}</URL>"), encoding="utf-8")
        for path in copy.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.environ.setdefault("SOURCE_DATE_EPOCH", _EARLIEST)
        before = os.umask(0o022)
        try:
            builder = BundleBuilder(Logger(None), str(copy))
            builder.make_wheel()
        finally:
            os.umask(before)
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(builder.wheel_path, folder))


# 4. The start


def start(folder: Path) -> Any:
    """Start ChimeraX without windows, keeping its files in `folder`; return the session, its log as `test_log`.

    Once in a process: the toolshed and the command registry are global.
    """
    chimerax = claim_namespace()
    _revive_grako()
    _provide_nogui()
    import appdirs

    # Where settings, caches and per-user bundles go; read by the toolshed too.
    for kind in ("DATA", "CONFIG", "CACHE"):
        os.environ[f"XDG_{kind}_HOME"] = str(folder / kind.lower())
    chimerax.app_dirs = appdirs.AppDirs("ChimeraX", appauthor="UCSF", version="1.7")
    chimerax.app_dirs_unversioned = appdirs.AppDirs("ChimeraX", appauthor="UCSF")
    for name in ("user_data_dir", "user_config_dir", "user_cache_dir"):
        Path(getattr(chimerax.app_dirs, name)).mkdir(parents=True, exist_ok=True)
    chimerax.app_bin_dir = str(Path(sys.executable).parent)
    chimerax.app_data_dir = str(folder / "share")
    chimerax.app_lib_dir = str(folder / "lib")
    site.USER_BASE = chimerax.app_dirs.user_data_dir
    site.USER_SITE = str(Path(site.USER_BASE, "lib", "python{}.{}".format(*sys.version_info), "site-packages"))
    site.ENABLE_USER_SITE = True
    for bundle in BUNDLES:
        _write_dist_info(
            folder / "metadata",
            "ChimeraX-" + bundle.name,
            bundle.version,
            "chimerax." + bundle.package,
            _classifiers(bundle),
            ["ChimeraX-" + name for name in bundle.requires],
        )
    sys.path.append(str(folder / "metadata"))

    from chimerax.core import attributes, core_settings, tools, toolshed, undo
    from chimerax.core.session import Session, register_misc_commands

    session = Session("ChimeraX")
    session.test_log = log_class()()
    session.logger.add_log(session.test_log)
    core_settings.init(session)
    register_misc_commands(session)
    attributes.RegAttrManager(session)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources says that it is deprecated
        toolshed.init(session.logger, check_available=False, session=session)
    session.toolshed = toolshed.get_toolshed()
    session.toolshed.bootstrap_bundles(session, False)
    session.tools = tools.Tools(session, first=True)
    session.undo = undo.Undo(session, first=True)
    return session


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5) or sys.argv[1] != "wheel":
        sys.exit("Usage: python headless.py wheel FOLDER [EMAIL ADDRESS]")
    if not installed():
        sys.exit("The wheel is made by ChimeraX's own builder, which is not here: see requirements-chimerax.txt.")
    if len(sys.argv) == 5 and ("@" not in sys.argv[3] or "://" not in sys.argv[4]):
        sys.exit(
            "A release says whom to write to and where it is kept, as the Toolshed wants it: "
            "make release EMAIL=someone@somewhere URL=https://..."
        )
    print(build_wheel(Path(__file__).resolve().parents[2], *map(Path, sys.argv[2:3]), *sys.argv[3:]))
