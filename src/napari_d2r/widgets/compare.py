"""The Compare widget: two to four stacks from three sides, at one place of the world."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QLineF, QSize, Qt, QTimer
from qtpy.QtWidgets import QFileDialog, QLabel, QSizePolicy, QSplitter, QVBoxLayout, QWidget

from napari_d2r.errors import InputError
from napari_d2r.widgets._compare_colours import ColourBar, rendered
from napari_d2r.widgets._compare_form import CompareForm
from napari_d2r.widgets._compare_link import ViewerLink
from napari_d2r.widgets._compare_numbers import described, profile_of, values_at
from napari_d2r.widgets._compare_panes import Panes
from napari_d2r.widgets._compare_pictures import Cell, Display
from napari_d2r.widgets._compare_profile import ProfileView
from napari_d2r.widgets._compare_reader import Read, Reader
from napari_d2r.widgets._compare_sampling import AXES, Plane, Point, sample_plane
from napari_d2r.widgets._compare_scene import Scene, default_choice, make_scene
from napari_d2r.widgets._controls import named
from napari_d2r.widgets._first_focus import FirstFocus
from napari_d2r.widgets._look import Look
from napari_d2r.widgets._provenance import is_result

if TYPE_CHECKING:
    import napari.viewer

_FRESH_MS = 500  # a filling result is read again at most twice a second
_VALUES, _PROFILE = "values", "profile"


class CompareWidget(QWidget):
    """Owns the form, the panes and the reader; the only part that knows the viewer."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("compare")
        self._viewer = viewer
        self._scene: Scene | None = None
        self._blinking = 0
        self._line: tuple[Plane, QLineF] | None = None
        self._values: tuple[Point, list[float]] | None = None
        self._is_range_wanted = True
        self._build(viewer)
        Look(self, viewer)
        FirstFocus(self, self.form.choices[0])
        self._rebuild_soon = self._timer(0, self._rebuild)
        self._active_soon = self._timer(0, self._follow_active)
        self._look_soon = self._timer(0, self._look)
        self._share_out = self._timer(0, self._on_turned)
        self._fresh_soon = self._timer(_FRESH_MS, self._read_again)
        self._blinker = QTimer(self)
        self._blinker.timeout.connect(self._on_next)
        self._link = ViewerLink(
            viewer,
            on_moved=self._on_viewer_moved,
            on_data=self._on_data,
            on_contrast=self._on_display,
            on_replaced=self._rebuild_soon.start,
            on_active=self._active_soon.start,
        )
        self._connect()

    # How it is built

    def _build(self, viewer: Any) -> None:
        self.form = CompareForm(viewer)
        self.panes = Panes()
        self.profile = ProfileView()
        self.profile.hide()
        self.position = named(QLabel(), "position", "Position and values")
        self.position.setWordWrap(True)
        self.position.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._pictures = QWidget()
        column = QVBoxLayout(self._pictures)
        column.setContentsMargins(2, 0, 2, 2)
        column.setSpacing(2)
        column.addWidget(self.panes, 3)
        self._colours = ColourBar()
        self._colours.setMaximumWidth(360)
        self._colours.hide()
        column.addWidget(self._colours)
        column.addWidget(self.position)
        self._right = QSplitter(Qt.Orientation.Vertical)
        self._right.addWidget(self._pictures)
        self._right.addWidget(self.profile)
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self._splitter.addWidget(self.form)
        self._splitter.addWidget(self._right)
        for splitter in (self._splitter, self._right):
            splitter.setChildrenCollapsible(False)
            splitter.setStretchFactor(1, 1)
        self._right.setStretchFactor(0, 1)
        self._pictures.setMinimumSize(80, 80)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._splitter)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.reader = Reader(self)

    def _connect(self) -> None:
        form, panes = self.form, self.panes
        form.layers_changed.connect(self._rebuild_soon.start)
        form.display_changed.connect(self._on_display)
        form.next_asked.connect(self._on_next)
        form.fit_difference_asked.connect(self._fit_difference)
        form.fit_asked.connect(panes.fit)
        form.profile_toggled.connect(self._on_profile)
        form.export_asked.connect(self._on_export)
        panes.pointed.connect(self._on_pointed)
        panes.looked.connect(self._look_soon.start)
        panes.line_drawn.connect(self._on_line_drawn)
        panes.split_moved.connect(form.set_split)
        panes.next_asked.connect(self._on_next)
        self.profile.along_changed.connect(self._look_soon.start)
        self.profile.told.connect(self._announce)
        self.profile.failed.connect(self._complain)
        self.reader.told.connect(self._on_read)
        self.reader.failed.connect(self._complain)
        self.reader.idle.connect(self._on_idle)

    def _timer(self, milliseconds: int, slot: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(slot)
        return timer

    def sizeHint(self) -> QSize:
        """Leaves room for the viewer's canvas beside or above it."""
        return QSize(480, 350)

    def resizeEvent(self, event: Any) -> None:
        """Controls beside the pictures in a wide dock, above them in a narrow one."""
        is_wide = self.width() > 1.2 * self.height() or self.width() > 700
        way = Qt.Orientation.Horizontal if is_wide else Qt.Orientation.Vertical
        if self._splitter.orientation() != way:
            self._splitter.setOrientation(way)
            self._share_out.start()
        is_low = is_wide and self.height() < 0.5 * self.width()
        self._right.setOrientation(Qt.Orientation.Horizontal if is_low else Qt.Orientation.Vertical)

    def _on_turned(self) -> None:
        """Give the controls what they need, and the pictures the rest."""
        if self._splitter.orientation() == Qt.Orientation.Vertical:
            needed = min(self.form.sizeHint().height(), self.height() // 2)
            self._splitter.setSizes([needed, self.height() - needed])

    def showEvent(self, event: Any) -> None:
        """Catch up with what happened while this was hidden."""
        self._link.open()
        self._follow_active()
        self._rebuild_soon.start()

    def hideEvent(self, event: Any) -> None:
        """Read nothing for nobody, and hear nothing: a closed dock hides, then goes."""
        self._link.close()
        for timer in (self._rebuild_soon, self._look_soon, self._active_soon, self._fresh_soon):
            timer.stop()
        self.reader.forget()
        self._blinker.stop()

    # Which layers

    def _choose_default(self) -> None:
        active = self._viewer.layers.selection.active
        self.form.choose(default_choice(list(self._viewer.layers), active))

    def _follow_active(self) -> None:
        """Take in a result that was made or clicked; other layers, while nothing was chosen."""
        layer = self._viewer.layers.selection.active
        shown = [each for each, _ in self.form.chosen]
        is_ours = layer is not None and layer not in shown and is_result(layer)
        if is_ours or not self.form.is_touched:
            self._choose_default()

    def _rebuild(self) -> None:
        if not self.isVisible():
            return
        chosen = self.form.chosen
        layers = [layer for layer, _ in chosen]
        self.reader.forget()
        self._values = None
        try:
            scene = make_scene(layers, [linear for _, linear in chosen])
        except InputError as error:
            self._scene = None
            self._link.follow(layers)
            self.panes.set_scene(None)
            self.position.clear()
            self._say(str(error))
            return
        self._scene = scene
        self._link.follow(layers)
        self.form.set_labels(scene.labels)
        self._blinking = min(self._blinking, len(scene.stacks) - 1)
        self._is_range_wanted = True
        self._say("" if len(scene.stacks) > 1 else "Choose a second layer to compare with.")
        self.panes.set_scene(scene)
        self._on_display()
        self.panes.set_position(scene.snapped(self._link.position))
        self._look_soon.start()

    # How they are shown

    def _on_display(self) -> None:
        if self._scene is None:
            return
        form, num = self.form, len(self._scene.stacks)
        first, second = (min(at, num - 1) for at in form.pair)
        self.panes.set_display(
            Display(
                form.mode, form.planes, first, second, self._blinking,
                form.split, form.difference_limit, self._limits(),
            )
        )  # fmt: skip
        self._colours.setVisible(form.mode == "difference")
        self._colours.set_limit(form.difference_limit)
        rate = form.blink_hz if form.mode == "blink" and self.isVisible() else 0.0
        if rate:
            self._blinker.start(round(1000 / rate))
        else:
            self._blinker.stop()
        self._look_soon.start()

    def _limits(self) -> tuple[tuple[float, float], ...]:
        layers = [layer for layer, _ in self.form.chosen]
        if self.form.has_common_contrast:
            layers = [layers[0]] * len(layers)
        return tuple((float(low), float(high)) for low, high in (x.contrast_limits for x in layers))

    def _on_next(self) -> None:
        if self._scene is not None and self.form.mode == "blink":
            self._blinking = (self._blinking + 1) % len(self._scene.stacks)
            self._on_display()

    def _fit_difference(self) -> None:
        span = self.panes.difference_span()
        if span is not None:
            self.form.set_difference_limit(span or 1.0)

    # Where

    def _on_viewer_moved(self) -> None:
        if self._scene is not None and self.isVisible():
            self.panes.set_position(self._scene.snapped(self._link.position))
            self._look_soon.start()

    def _on_pointed(self, position: Point) -> None:
        self.panes.set_position(position)
        self._link.move_to(position)
        self._look_soon.start()

    # What is read

    def _on_data(self) -> None:
        if not self._fresh_soon.isActive():
            self._fresh_soon.start()

    def _read_again(self) -> None:
        self._values = None
        self.panes.pictures.forget()
        self._look_soon.start()

    def _look(self) -> None:
        """Ask for what is missing on screen: pictures first, then numbers."""
        scene = self._scene
        if scene is None or not self.isVisible():
            return
        tasks: dict[Hashable, Callable[[], Any]] = {}
        for cell in self.panes.missing():
            tasks[scene, cell] = partial(
                sample_plane,
                scene.stacks[cell.stack], scene.grid, cell.plane, cell.at, cell.rows, cell.columns,
            )  # fmt: skip
        position = self.panes.position
        if self._values is None or self._values[0] != position:
            tasks[scene, _VALUES] = partial(values_at, scene, position)
        if self.profile.isVisible():
            ends = self._profile_ends(scene)
            if ends is not None:
                tasks[scene, _PROFILE] = partial(profile_of, scene, *ends)
        self.reader.ask(tasks)

    def _on_read(self, read: Read) -> None:
        scene, what = read.key
        if scene is not self._scene or scene is None:
            return
        if isinstance(what, Cell):
            self.panes.put(what, read.value)
        elif what == _VALUES:
            self._values = read.value
            self.position.setText(described(scene, *read.value))
        else:
            distances, values = read.value
            self.profile.show_profile(distances, values, scene.labels, scene.unit)

    def _on_idle(self) -> None:
        if self._is_range_wanted and self.form.mode == "difference":
            if self.panes.difference_span() is None:
                return
            self._is_range_wanted = False
            self._fit_difference()

    # Profile

    def _on_profile(self, is_on: bool) -> None:
        self.profile.setVisible(is_on)
        if is_on:
            self._right.setSizes([600, 400])
        self.panes.set_draws_lines(is_on)
        if not is_on:
            self.panes.set_line(None)
        self._look_soon.start()

    def _on_line_drawn(self, plane: Plane, line: QLineF) -> None:
        self._line = plane, line
        self.profile.choose_drawn()
        self._look_soon.start()

    def _profile_ends(self, scene: Scene) -> tuple[Point, Point] | None:
        """The ends of the line in the world; draws it in the panes."""
        start, stop = list(self.panes.position), list(self.panes.position)
        if not self.profile.is_drawn:
            axis = self.profile.axis
            grid = scene.grid[axis]
            start[axis], stop[axis] = grid.position(grid.first), grid.position(grid.last)
            plane: Plane = "XZ" if axis == 0 else "XY"
        elif self._line is not None:
            plane = self._line[0]
            _, down, right = AXES[plane]
            for end, at in ((start, self._line[1].p1()), (stop, self._line[1].p2())):
                end[down], end[right] = at.y(), at.x()
        else:
            self._say("Drag in a picture to draw the line.")
            self.panes.set_line(None)
            return None
        _, down, right = AXES[plane]
        self.panes.set_line(plane, QLineF(start[right], start[down], stop[right], stop[down]))
        return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])

    # Figure

    def save_figure(self, path: Path) -> None:
        """Write the pictures, with labels and scale bars, and the profile if it is shown.

        Raises
        ------
        InputError
            If there is nothing to save, or the file cannot be written.
        """
        if self._scene is None:
            raise InputError("There is nothing to save; choose layers to compare first.")
        image = rendered(self._right)
        if not image.save(str(path), "PNG"):
            raise InputError(f"{path.name} cannot be written there; choose another folder.")
        self._announce(f"Saved the figure as {path.name}.")

    def _on_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save figure", "compare.png", "PNG (*.png)")
        if name:
            try:
                self.save_figure(Path(name).with_suffix(".png"))
            except InputError as error:
                self._complain(str(error))

    def _say(self, sentence: str) -> None:
        self.form.say(sentence)

    def _announce(self, sentence: str) -> None:
        self._say(sentence)
        show_info(sentence)

    def _complain(self, sentence: str) -> None:
        if sentence != self.form.status.text():  # once, however often it is tried again
            show_error(sentence)
        self._say(sentence)
