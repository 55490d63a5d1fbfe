"""The model that every method is assembled in."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from mmfusion.backbones.base import Backbone
from mmfusion.interactions.modulators import Modulator
from mmfusion.layers.batch_statistics import for_one_case
from mmfusion.layers.token_norm import normalized
from mmfusion.models import dry_run
from mmfusion.models.encoding import Modulate, Result, Stem, bind_modulator, by_steps, lanes, maps_by_image, own_maps
from mmfusion.models.inputs import check_mappings, check_range, check_values, checked
from mmfusion.models.phases import ParameterGroup, Phase, Pretrained, Pretraining
from mmfusion.models.presence import device_of, gathered, kept, masked, scattered, side_by_side, spread
from mmfusion.spec import Columns, Image
from mmfusion.tokenizers.image import ImageTokenizer
from mmfusion.tokens import Content, FusionOutput, Inputs, Maps, Present, Table, Tokens
from mmfusion.utils.meta import is_static, run_on_meta


class FusionModel(nn.Module):
    """Encoders, tokenizers, interactions, a readout and a head.

    The parts that depend on token counts are bound by a dry run on the meta device, so no image size is hard-coded.

    Args:
        tokenizers: One a modality, in order: image tokenizers (with ``.image``) or tabular ones (with ``.columns``).
        readout: Per-stage tokens to one embedding a modality, and others beside them where a method has some: where an
            interaction added tokens that are no modality's, such as latents. The head gets all of them; those that
            are no modality's are returned in ``aux``.
        head: Embeddings to outputs; one that sets ``takes_present`` is also told which cases have which modality.
        encoders: Image encoders by name.
        routes: For each image modality the encoder it takes; two on one route share weights and run as one batch.
        per_stage: One interaction a stage, from the first.
        layers: Interactions that follow each other on the last stage's tokens.
        modulators: Blocks that act on the maps inside the encoders, one after another at each point where they act;
            see :class:`~mmfusion.interactions.modulators.Modulator`. The tokenizers take the maps behind them.
        context: What modulators are told: for each table of it a tabular tokenizer of a single token, whose features
            stand side by side. A table may be here, among the tokenizers, or both.
        objective: What training minimises, for :meth:`phases`; None for a model that is not trained by the harness.
        ignored: Modalities that inputs may hold and the model does not look at.
        pretraining: A phase before the objective's, of all but the head; None for none.
        token_norm: Bring each token to mean 0 and variance 1 over its features (layer normalization without parameters)
            before any interaction, so that modalities meet at one scale: the maps of pretrained encoders give tokens
            ten to thirty times as large as a table's.

    Attributes:
        map_shapes: Shapes of the encoder's maps by image modality, ``(c, *spatial)`` a stage.

    Raises:
        ValueError: If routes, encoders and tokenizers do not fit, an encoder cannot take the size of its images, or
            the image modalities' encoders differ in their number of stages, a modulator cannot act where it is to, or
            an interaction, the readout or the head is of another width than what it is given.
    """

    def __init__(
        self,
        *,
        tokenizers: Mapping[str, nn.Module],
        readout: nn.Module,
        head: nn.Module,
        encoders: Mapping[str, Backbone] | None = None,
        routes: Mapping[str, str] | None = None,
        per_stage: Sequence[nn.Module] = (),
        layers: Sequence[nn.Module] = (),
        modulators: Sequence[Modulator] = (),
        context: Mapping[str, nn.Module] | None = None,
        objective: nn.Module | None = None,
        ignored: Collection[str] = (),
        pretraining: Pretraining | None = None,
        token_norm: bool = False,
    ) -> None:
        super().__init__()
        self.token_norm = token_norm
        self.encoders = nn.ModuleDict(encoders or {})
        self.routes = dict(routes or {})
        self.tokenizers = nn.ModuleDict(tokenizers)
        self.per_stage = nn.ModuleList(per_stage)
        self.layers = nn.ModuleList(layers)
        self.modulators = nn.ModuleList(modulators)
        self.context = nn.ModuleDict(context or {})
        self.readout = readout
        self.head = head
        self.objective = objective
        self.pretraining = pretraining
        subjects = {name: _subject(part) for name, part in (*self.context.items(), *self.tokenizers.items())}
        self.images = {name: subject for name, subject in subjects.items() if isinstance(subject, Image)}
        tables = {name: subject for name, subject in subjects.items() if isinstance(subject, Columns)}
        self.columns = {name: tables[name] for name in self.names if name in tables}
        self.ignored = frozenset(ignored)
        if set(self.images) | set(self.columns) != set(subjects):
            raise ValueError(
                "each tokenizer needs the .image or the .columns that it is for; "
                f"{sorted(set(subjects) - set(self.images) - set(self.columns))} has neither"
            )
        if set(self.context) & set(self.images) or bool(self.context) > bool(self.modulators):
            raise ValueError(
                f"context is what modulators are told of tables, got {sorted(self.context)} of which "
                f"{sorted(set(self.context) & set(self.images))} are images, and {len(self.modulators)} modulators"
            )
        if set(self.routes) != set(self.images) or set(self.routes.values()) != set(self.encoders):
            raise ValueError(
                f"each image modality needs a route to an encoder, and each encoder a modality: images "
                f"{sorted(self.images)}, routes {self.routes}, encoders {sorted(self.encoders)}"
            )
        self.map_shapes: dict[str, list[tuple[int, ...]]] = {}
        self._points: list[frozenset[int]] = []
        self._inside: frozenset[int] = frozenset()
        self._context_widths: dict[str, int] = {}
        self._token_shapes = self._dry_run()

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in order."""
        return tuple(dict.fromkeys((*self.tokenizers, *self.context)))

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """Predict.

        Args:
            inputs: One entry a modality: image ``(b, channels, *size)``, or :meth:`encode`'s
                :class:`~mmfusion.tokens.Maps` of it, or :class:`~mmfusion.tokens.Table`. Floating point of any
                precision, cast to the model's; photographs in [0, 1].
            present: Which cases have which modality, ``(b,)`` bool, True is there; a name left out has all. What a
                case lacks may hold anything, or the whole modality may be left out of ``inputs``.

        Returns:
            Outputs by target and embeddings by modality, zeros where a case lacks it.

        Raises:
            ValueError: If a modality is missing or unknown, a shape or dtype is wrong, or, on the CPU, a pixel or a
                cell has an impossible value; elsewhere :meth:`check` looks at values, because that stops the device.
        """
        inputs, present, n_cases = self._checked(inputs, present)
        return self.fuse(self._by_stage(self._tokens(inputs, present, n_cases)), present)

    def fuse(self, stages: Sequence[Mapping[str, Tokens]], present: Present | None = None) -> FusionOutput:
        """What becomes of tokens: :meth:`forward` is this on what :meth:`tokenize` gives.

        Args:
            stages: One dict a stage.
            present: As in :meth:`forward`; the tokens of what a case lacks are masked already.

        Returns:
            As there.
        """
        through = [dict(tokens) for tokens in stages]
        for s, interaction in enumerate(self.per_stage):
            through[s] = interaction(through[s])
        for interaction in self.layers:
            through[-1] = interaction(through[-1])
        found = self.readout(through)
        embeddings = {name: x for name, x in found.items() if name in self.tokenizers}
        told = (found, dict(present or {})) if getattr(self.head, "takes_present", False) else (found,)
        return FusionOutput(
            self.head(*told), embeddings, {name: x for name, x in found.items() if name not in embeddings}
        )

    def tokenize(self, inputs: Inputs, present: Present | None = None) -> list[dict[str, Tokens]]:
        """What the tokenizers make of a batch, before any interaction.

        Args:
            inputs: As in :meth:`forward`.
            present: As there.

        Returns:
            One dict a stage; those of a case that lacks a modality are masked zeros.

        Raises:
            ValueError: As there.
        """
        inputs, present, n_cases = self._checked(inputs, present)
        return self._by_stage(self._tokens(inputs, present, n_cases))

    def check(self, inputs: Inputs, present: Present | None = None, *, standardized: Collection[str] = ()) -> None:
        """Look at the values of the inputs.

        Args:
            inputs: As in :meth:`forward`.
            present: As there.
            standardized: Two-dimensional images that come standardized instead of in [0, 1].

        Raises:
            ValueError: If a pixel that is there is NaN or infinite, one of a two-dimensional image is outside [0, 1], a
                numerical cell is infinite, or a category is out of range; the modality is named.
        """
        inputs, present, _ = self._checked(inputs, present)
        check_values(inputs, present, self.columns)
        check_range(inputs, present, self.images, standardized)

    @property
    def reads_maps(self) -> bool:
        """Whether maps can stand in for the images: no modulator acts inside the encoders."""
        return not self._inside

    @property
    def tokens_apart(self) -> bool:
        """Whether each modality's tokens depend on that modality alone: there are no modulators."""
        return not self.modulators

    def encode(self, inputs: Inputs, present: Present | None = None) -> dict[str, Maps]:
        """The encoders' maps of all images, which can stand in the images' place in :meth:`forward`.

        Args:
            inputs: As in :meth:`forward`; tables are not looked at, and an image that is left out is left out.
            present: As there; images that a case lacks are not encoded, their maps are zeros. None: all are.

        Returns:
            Maps by image modality.

        Raises:
            ValueError: If an image's shape or dtype is wrong, or a modulator acts inside the encoders, whose maps then
                depend on more than the images.
        """
        check_mappings(inputs, present, self.names)
        images = {name: x for name, x in inputs.items() if name in self.images}
        self._refuse_maps(list(images))
        if not images:
            return {}
        given = {name: self.images[name] for name in images}
        there = {name: row for name, row in (present or {}).items() if name in images}
        images, there, _ = checked(
            images, there, images=given, columns={}, maps=self.map_shapes, dtypes=self._dtypes(images)
        )
        made = {name: x for name, x in images.items() if isinstance(x, Maps)}
        pixels = {name: x for name, x in images.items() if isinstance(x, Tensor)}
        rows = {name: there[name].nonzero().squeeze(1) for name in pixels if name in there}
        encoded = self._encode(
            {name: x[rows[name]] if name in rows else x for name, x in pixels.items() if len(rows.get(name, x))}
        )
        for name, some in rows.items():
            if not len(some):
                shapes, like = self.map_shapes[name], next(self.parameters())
                encoded[name] = tuple(like.new_zeros(len(there[name]), *shape) for shape in shapes)
            else:
                encoded[name] = tuple(spread(x, there[name], some, static=False) for x in encoded[name])
        return made | {name: Maps(stages) for name, stages in encoded.items()}

    def phases(self) -> list[Phase]:
        """How this model is trained: one phase, of its objective, or ``"pretrain"`` and then ``"finetune"``.

        Raises:
            ValueError: If it was built without an objective.
        """
        if self.objective is None:
            raise ValueError("this model was built without an objective: give FusionModel(objective=...)")
        if self.pretraining is None:
            return [Phase("train", self.objective, self.groups())]
        first = self.groups(without=[self.head, self.objective])
        return [
            Phase("pretrain", self.pretraining.objective, first, Pretrained(self)),
            Phase("finetune", self.objective, self.groups(without=[self.pretraining])),
        ]

    def groups(self, *, without: Iterable[nn.Module] = ()) -> tuple[ParameterGroup, ...]:
        """The parameters of a phase.

        Args:
            without: Parts of the model that the phase does not train.

        Returns:
            ``"encoder"`` for those of the image encoders and ``"fusion"`` for the others, neither of them empty.
        """
        left_out = {id(parameter) for part in without for parameter in part.parameters()}
        theirs = {id(parameter) for parameter in self.encoders.parameters()}
        trained = [parameter for parameter in self.parameters() if id(parameter) not in left_out]
        groups = (
            ParameterGroup("encoder", tuple(p for p in trained if id(p) in theirs)),
            ParameterGroup("fusion", tuple(p for p in trained if id(p) not in theirs)),
        )
        return tuple(group for group in groups if group.parameters)

    def stages_above(self) -> dict[nn.Parameter, int]:
        """How many stages of its encoder lie above each of the encoders' parameters, for layer-wise rates."""
        above: dict[nn.Parameter, int] = {}
        for encoder in self._backbones():
            depths = encoder.parameter_depths()
            above |= {parameter: encoder.n_stages - depths[name] for name, parameter in encoder.named_parameters()}
        return above

    def freeze(self, stages: int | Literal["all", "none"]) -> None:
        """Take the first stages of every encoder out of training; see :meth:`~mmfusion.backbones.Backbone.freeze`.

        Args:
            stages: How many, 0 for what lies before the first one; ``"all"``, or ``"none"`` to undo.

        Raises:
            ValueError: If an encoder has fewer stages.
        """
        for encoder in self._backbones():
            encoder.freeze(stages)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the encoders' activations again in the backward pass instead of keeping them.

        Raises:
            ValueError: If an encoder cannot do that.
        """
        for encoder in self._backbones():
            encoder.set_grad_checkpointing(enable)

    def _backbones(self) -> list[Backbone]:
        return [encoder for encoder in self.encoders.values() if isinstance(encoder, Backbone)]

    def _checked(self, inputs: Inputs, present: Present | None) -> tuple[dict[str, Content], dict[str, Tensor], int]:
        check_mappings(inputs, present, self.names)
        if self.ignored:
            inputs = {name: value for name, value in inputs.items() if name not in self.ignored}
            present = {name: row for name, row in (present or {}).items() if name not in self.ignored}
        self._refuse_maps([name for name, value in inputs.items() if isinstance(value, Maps)])
        return checked(
            inputs,
            present,
            images=self.images,
            columns=self.columns,
            maps=self.map_shapes,
            dtypes=self._dtypes(self.names),
        )

    def _dtypes(self, names: Iterable[str]) -> dict[str, torch.dtype]:
        """What the part that takes each modality computes in; parts without floating-point parameters left out."""
        parts = {**self.context, **self.tokenizers, **{name: self.encoders[self.routes[name]] for name in self.images}}
        found = {
            name: next((p.dtype for p in parts[name].parameters() if p.is_floating_point()), None) for name in names
        }
        return {name: dtype for name, dtype in found.items() if dtype is not None}

    def _refuse_maps(self, names: Collection[str]) -> None:
        if self._inside and names:
            raise ValueError(
                f"maps cannot stand in for the images {sorted(names)}: a modulator acts inside the encoders, first "
                f"before stage {min(self._inside)}, so they depend on more than the images. Give the images, without "
                "precomputing, or let modulators act behind the last stage alone, at=(-1,)"
            )

    def _tokens(self, inputs: Inputs, present: Present, n_cases: int) -> dict[str, tuple[Tokens, ...]]:
        """Each modality's tokens, of one case a row; those of a case that lacks it are masked zeros."""
        device = device_of(inputs, present)
        static = is_static(device)
        if not static and device.type == "cpu":
            check_values(inputs, present, self.columns)
        content: dict[str, Content] = {}
        rows: dict[str, Tensor] = {}
        for name in self.names:
            if name in present and name in inputs:
                content[name], rows[name] = kept(inputs[name], present[name], static)
            elif name in inputs:
                content[name] = inputs[name]
        content = {name: value for name, value in content.items() if not (name in rows and len(rows[name]) == 0)}
        told = self._told(content, rows, present, n_cases, static)

        def modulate(point: int, maps: dict[str, Tensor]) -> dict[str, Tensor]:
            some = {name: (present[name], rows[name], static) for name in maps if name in rows}
            maps = {name: spread(x, *some[name]) if name in some else x for name, x in maps.items()}
            for modulator, points in zip(self.modulators, self._points, strict=True):
                own = own_maps(cast("Modulator", modulator), maps) if point in points else {}
                if own:
                    maps = maps | modulator(own, told, point)
            return {name: gathered(x, *some[name]) if name in some else x for name, x in maps.items()}

        maps = {name: x.stages for name, x in content.items() if isinstance(x, Maps)}
        maps |= self._encode({name: x for name, x in content.items() if isinstance(x, Tensor)}, modulate)
        if maps and any(self._n_stages in points for points in self._points):
            last = modulate(self._n_stages, {name: stages[-1] for name, stages in maps.items()})
            maps = {name: (*stages[:-1], last[name]) for name, stages in maps.items()}
        tokens: dict[str, tuple[Tokens, ...]] = {}
        for name in self.tokenizers:
            if name not in content:
                tokens[name] = self._nothing(name, n_cases)
                continue
            made = self.tokenizers[name](maps.get(name, content[name]))
            if self.token_norm:
                made = tuple(normalized(one) for one in made)
            if name in present:
                made = tuple(scattered(one, rows[name], present[name], static) for one in made)
            tokens[name] = made
        return tokens

    def _told(
        self,
        content: Mapping[str, Content],
        rows: Mapping[str, Tensor],
        present: Present,
        n_cases: int,
        static: bool,
    ) -> Tokens | None:
        """What modulators are told: one token a case, all tables' features side by side; None without tables."""
        parts = []
        for name, tokenizer in self.context.items():
            if name in content:
                (tokens,) = tokenizer(content[name])
                parts.append(scattered(tokens, rows[name], present[name], static) if name in rows else tokens)
            else:
                parts.append(masked(n_cases, 1, self._context_widths[name], next(self.parameters())))
        return side_by_side(parts) if parts else None

    @property
    def _n_stages(self) -> int:
        """Of the encoders that modulators act in, which all have as many."""
        return len(next(iter(self.map_shapes.values())))

    def _encode(self, images: Mapping[str, Tensor], modulate: Modulate | None = None) -> dict[str, tuple[Tensor, ...]]:
        """One pass of each encoder over all the images on its route, with the modulators that act between stages."""
        batches = lanes(images, self.routes)
        if modulate is not None and self._inside and batches:
            stages = by_steps(batches, self.encoders, self._n_stages, self._inside, modulate, self._run)
        else:
            stages = [self._run(lane.route, self.encoders[lane.route], lane.x) for lane in batches]
        return {
            name: maps
            for lane, of_lane in zip(batches, stages, strict=True)
            for name, maps in maps_by_image(lane, of_lane).items()
        }

    def _run(self, route: str, part: Callable[[Tensor], Result], x: Tensor) -> Result:
        # In training a single case of the batch may have the image.
        return for_one_case(partial(part, x), self.encoders[route], x)

    def _nothing(self, name: str, n_cases: int) -> tuple[Tokens, ...]:
        like = next(self.parameters())
        return tuple(masked(n_cases, n, dim, like) for n, dim in self._token_shapes[name])

    def _by_stage(self, tokens: Mapping[str, tuple[Tokens, ...]]) -> list[dict[str, Tokens]]:
        """One dict a stage; a modality of a single stage, such as a table, serves at every stage."""
        n_stages = max(len(sets) for sets in tokens.values())
        return [{name: sets[s] if len(sets) > 1 else sets[0] for name, sets in tokens.items()} for s in range(n_stages)]

    def _dry_run(self) -> dict[str, list[tuple[int, int]]]:
        """Bind what depends on token counts, by a run without numbers."""
        tokens: dict[str, tuple[Tokens, ...]] = {}
        maps = {name: self._meta_maps(name) for name in self.images}
        self.map_shapes = {name: [tuple(m.shape[1:]) for m in stages] for name, stages in maps.items()}
        if self.modulators:
            self._bind_modulators(maps)
        for name, tokenizer in self.tokenizers.items():
            if name in self.images:
                if isinstance(tokenizer, ImageTokenizer):
                    tokenizer.bind(maps[name])
                tokens[name] = run_on_meta(tokenizer, maps[name])
            else:
                tokens[name] = self._meta_tokens(name, tokenizer)
        counts = {name: len(sets) for name, sets in tokens.items()}
        if len({n for n in counts.values() if n > 1}) > 1:
            raise ValueError(f"the modalities must have one number of stages, or a single one, got {counts}")
        if len(self.per_stage) > max(counts.values()):
            raise ValueError(
                f"{len(self.per_stage)} interactions for {max(counts.values())} stages: one a stage at most"
            )
        stages = self._by_stage(tokens)
        for s, interaction in enumerate(self.per_stage):
            stages[s] = dry_run.interaction(interaction, stages[s])
        for interaction in self.layers:
            stages[-1] = dry_run.interaction(interaction, stages[-1])
        bind = getattr(self.readout, "bind", None)
        if callable(bind):
            dry_run.bind(self.readout, bind, stages)
        dry_run.check_ending(self.readout, self.head, stages, list(self.tokenizers))
        return {name: [(one.x.shape[1], one.x.shape[2]) for one in sets] for name, sets in tokens.items()}

    def _meta_tokens(self, name: str, tokenizer: nn.Module) -> tuple[Tokens, ...]:
        columns = self.columns[name]
        table = Table(
            torch.empty(2, len(columns.numerical), dtype=_dtype(tokenizer), device="meta"),
            torch.empty(2, len(columns.categorical), dtype=torch.int64, device="meta"),
        )
        tokens: tuple[Tokens, ...] = run_on_meta(tokenizer, table)
        return tokens

    def _bind_modulators(self, maps: Mapping[str, tuple[Tensor, ...]]) -> None:
        """Find where the modulators act and build them for the maps there."""
        counts = {name: len(stages) for name, stages in maps.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"modulators act in encoders with one number of stages, got {counts}")
        parts = []
        for name, tokenizer in self.context.items():
            made = self._meta_tokens(name, tokenizer)
            if len(made) != 1 or made[0].x.shape[1] != 1:
                raise ValueError(
                    f"context needs a single token a table, the tokenizer of {name!r} gives "
                    f"{[tuple(tokens.x.shape[1:]) for tokens in made]}: take TableCells or TableMLP, or MeanToken of it"
                )
            parts.append(made[0])
            self._context_widths[name] = made[0].x.shape[2]
        told = side_by_side(parts) if parts else None
        modulators = [cast("Modulator", modulator) for modulator in self.modulators]
        self._points = [modulator.points(self._n_stages) for modulator in modulators]
        self._inside = frozenset().union(*self._points) - {self._n_stages}
        stems = {name: self._meta_stem(name) for name in maps if self._inside}
        for modulator, points in zip(modulators, self._points, strict=True):
            bind_modulator(modulator, points, stems, maps, told)

    def _meta_stem(self, name: str) -> Tensor:
        encoder = self.encoders[self.routes[name]]
        x = torch.empty((2, *self.images[name].shape), dtype=_dtype(encoder), device="meta")
        stem: Tensor = run_on_meta(Stem(encoder), x)
        return stem

    def _meta_maps(self, name: str) -> tuple[Tensor, ...]:
        image, encoder = self.images[name], self.encoders[self.routes[name]]
        label = getattr(encoder, "name", type(encoder).__name__)
        if isinstance(encoder, Backbone) and len(image.size) != encoder.n_axes:
            raise ValueError(f"{label} encodes images of {encoder.n_axes} axes, {name!r} is {image.size}")
        try:
            maps: tuple[Tensor, ...] = run_on_meta(
                encoder, torch.empty((2, *image.shape), dtype=_dtype(encoder), device="meta")
            )
        # Encoders are foreign code: a size that does not fit ends in whatever they raise, an assertion included.
        except (AssertionError, IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(
                f"the encoder {label} cannot take {name!r}, {image.channels} channels of {image.size}: {error}. Choose "
                "another image size or encoder"
            ) from error
        empty = [i for i, m in enumerate(maps) if 0 in m.shape]
        if empty:
            raise ValueError(
                f"images of {image.size} are too small for the encoder {label}: nothing is left of {name!r} after "
                f"stage {empty[0]}. Choose larger images or an encoder that shrinks them less"
            )
        return maps


def _dtype(module: nn.Module) -> torch.dtype:
    """What a module computes in: parts may have been made double before they are composed."""
    floating = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return next(floating, torch.get_default_dtype())


def _subject(tokenizer: nn.Module) -> object:
    """The modality that a tokenizer is for."""
    return getattr(tokenizer, "image", None) or getattr(tokenizer, "columns", None)
