"""Fusion model: the network that every method is assembled in."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmfusion.fusion.decisions import DecisionFusion
from mmfusion.fusion.vectors import VectorFusion
from mmfusion.layers.token_norm import normalized
from mmfusion.models import shapes
from mmfusion.models.blueprint import Blueprint
from mmfusion.models.context import Context
from mmfusion.models.image_encoders import ImageEncoders
from mmfusion.models.inputs import check_mappings, check_range, check_values, checked
from mmfusion.models.rows import Rows, absent_tokens, device_of
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokens import Content, FusionOutput, Inputs, Maps, Present, Tokens, TokenShape
from mmfusion.utils.meta import is_static


class Batch(NamedTuple):
    """A checked batch.

    Attributes:
        content: By modality, of the cases that have it; a modality that no case has is left out.
        rows: For each modality that some case may lack, the cases that have it.
        present: Shape ``(b,)`` bool, for the same modalities.
        n_cases: b.
    """

    content: dict[str, Content]
    rows: dict[str, Rows]
    present: dict[str, Tensor]
    n_cases: int


class Trace(NamedTuple):
    """What a model computes on its way from images to outputs.

    Attributes:
        output: The outputs.
        points: By image the maps that each stage computes on, as :class:`~mmfusion.models.image_encoders.Points` has
            them; an image that no case has is left out.
        stages: By image the maps that its tokens are made of, ``(r, c, *spatial)`` each.
    """

    output: FusionOutput
    points: dict[str, tuple[Tensor, ...]]
    stages: dict[str, tuple[Tensor, ...]]


class FusionModel(nn.Module):
    """Encoders, tokenizers, token fusion, pooling, vector fusion and head.

    Args:
        tokenizers: One per modality, in order: image tokenizers (with ``.image``) or tabular ones (with ``.columns``).
        pooling: The stages' tokens to one embedding per set of tokens.
        vectors: The embeddings to one vector; None with ``decision``.
        head: That vector to outputs. With ``decision``: one head per modality in an ``nn.ModuleDict``, or one head that
            reads each modality's embedding.
        decision: Combines the outputs of the modalities; None with ``vectors``.
        encoders: Encoders of the image modalities.
        context: The tables that condition the encoders' map fusions. A table may be here, among the tokenizers, or in
            both.
        per_stage: One token fusion per stage, from the first.
        layers: Token fusions in sequence on the last stage's tokens.
        ignored: Modalities that inputs may hold and the model does not read.
        token_norm: Bring each token to mean 0 and variance 1 over its features (layer normalization without parameters)
            before any token fusion, so that modalities meet at one scale: the maps of pretrained encoders give tokens
            ten to thirty times as large as a table's.
        blueprint: What the model was assembled from, for :func:`~mmfusion.create_loss`.
        spec: The data that it was assembled for.

    Attributes:
        images: The image modalities.
        columns: The table modalities.
        token_shapes: By modality, the shapes of its tokens, one per stage.
        embedding_widths: By set of tokens, the width of its embedding; None where the pooling must see numbers.

    Raises:
        ValueError: If the parts do not fit together; names the part, the modality and the widths.
    """

    def __init__(
        self,
        *,
        tokenizers: Mapping[str, nn.Module],
        pooling: nn.Module,
        head: nn.Module,
        vectors: VectorFusion | None = None,
        decision: DecisionFusion | None = None,
        encoders: ImageEncoders | None = None,
        context: Context | None = None,
        per_stage: Sequence[nn.Module] = (),
        layers: Sequence[nn.Module] = (),
        ignored: Collection[str] = (),
        token_norm: bool = False,
        blueprint: Blueprint | None = None,
        spec: DataSpec | None = None,
    ) -> None:
        super().__init__()
        if (vectors is None) == (decision is None):
            raise ValueError("a model has either vectors=, a fusion of embeddings, or decision=, a fusion of outputs")
        self.blueprint, self.spec = blueprint, spec
        self.token_norm = token_norm
        self.ignored = frozenset(ignored)
        self.encoders = ImageEncoders({}, {}) if encoders is None else encoders
        self.context = Context({}) if context is None else context
        self.tokenizers = nn.ModuleDict(tokenizers)
        self.per_stage = nn.ModuleList(per_stage)
        self.layers = nn.ModuleList(layers)
        self.pooling = pooling
        self.vectors = vectors
        self.head = head
        self.decision = decision
        self.images = dict(self.encoders.images)
        self.names = tuple(dict.fromkeys((*tokenizers, *self.context.tokenizers)))
        self.columns = self._tables()
        self.embedding_widths: dict[str, int] | None = None
        self.token_shapes = self._check_parts()

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """Predict.

        Args:
            inputs: One entry per modality: an image ``(b, channels, *size)``, a :class:`~mmfusion.tokens.Bag` of
                several where its :class:`~mmfusion.Image` has ``bag`` above 1, :meth:`encode`'s
                :class:`~mmfusion.tokens.Maps` of them, or a :class:`~mmfusion.tokens.Table`. Floating point of any
                precision, cast to the model's; photographs in [0, 1].
            present: Which cases have which modality, ``(b,)`` bool, True is present; a name left out has all. What a
                case lacks may hold anything, or the whole modality may be left out of ``inputs``.

        Returns:
            Outputs by target and embeddings by modality, zeros where a case lacks it.

        Raises:
            ValueError: If a modality is missing or unknown, a shape or dtype is wrong, or, on the CPU, a pixel or a
                cell has an impossible value; elsewhere :meth:`check` looks at values, because that stops the device.
        """
        batch = self._batch(inputs, present)
        maps = self._encode(batch)
        tokens = self._tokenize(maps, batch)
        return self.predict(tokens, batch.present)

    def trace(self, inputs: Inputs, present: Present | None = None) -> "Trace":
        """:meth:`forward` with the maps that it went through, in one graph; see :mod:`mmfusion.explain`.

        Args:
            inputs: As in :meth:`forward`, images as pixels.
            present: As there.

        Raises:
            ValueError: As :meth:`forward`, or if an image comes as maps.
        """
        if encoded := [name for name, x in inputs.items() if isinstance(x, Maps)]:
            raise ValueError(f"a trace starts at the pixels, and {encoded} came as maps: give the images")
        batch = self._batch(inputs, present)
        images = {name: x for name, x in batch.content.items() if name in self.images}
        points, stages = self.encoders.at_points(images, self._context(batch), batch.rows)
        tokens = self._tokenize(stages, batch)
        return Trace(self.predict(tokens, batch.present), points, stages)

    def predict(self, tokens: Sequence[Mapping[str, Tokens]], present: Present | None = None) -> FusionOutput:
        """From :meth:`tokenize`'s tokens to outputs: fuse, pool, head.

        Args:
            tokens: One dict per stage.
            present: As in :meth:`forward`; the tokens of what a case lacks are masked already.

        Returns:
            As there.
        """
        fused = self.fuse(tokens)
        embeddings = self.pooling(fused)
        outputs = self._outputs(embeddings, self._presence(present or {}, fused[-1]))
        of_modalities = {name: x for name, x in embeddings.items() if name in self.tokenizers}
        return FusionOutput(outputs, of_modalities, {n: x for n, x in embeddings.items() if n not in of_modalities})

    def tokenize(self, inputs: Inputs, present: Present | None = None) -> list[dict[str, Tokens]]:
        """Encode and tokenize, before any token fusion.

        Args:
            inputs: As in :meth:`forward`.
            present: As there.

        Returns:
            One dict per stage; the tokens of a case that lacks a modality are masked zeros.
        """
        batch = self._batch(inputs, present)
        return self._tokenize(self._encode(batch), batch)

    def fuse(self, stages: Sequence[Mapping[str, Tokens]]) -> list[dict[str, Tokens]]:
        """Token fusion at each stage, then on the last one; may add sets of tokens that are no modality's."""
        fused = [dict(tokens) for tokens in stages]
        for s, fusion in enumerate(self.per_stage):
            fused[s] = fusion(fused[s])
        for fusion in self.layers:
            fused[-1] = fusion(fused[-1])
        return fused

    def encode(self, inputs: Inputs, present: Present | None = None) -> dict[str, Maps]:
        """The encoders' maps of all images, which can take the images' place in :meth:`forward`.

        Args:
            inputs: As in :meth:`forward`; tables are not read, and an image that is left out is left out.
            present: As there; images that a case lacks are not encoded, their maps are zeros. None: all are encoded.

        Returns:
            Maps by image modality.

        Raises:
            ValueError: If an image's shape or dtype is wrong, or a map fusion acts between the encoders' stages, whose
                maps then depend on more than the images.
        """
        check_mappings(inputs, present, self.names)
        images = {name: x for name, x in inputs.items() if name in self.images}
        self._refuse_maps(list(images))
        if not images:
            return {}
        known = {name: row for name, row in (present or {}).items() if name in images}
        specs = {name: self.images[name] for name in images}
        images, known, _ = checked(
            images, known, images=specs, columns={}, maps=self.encoders.map_shapes, dtypes=self._dtypes(images)
        )
        rows = {name: Rows.of(row, static=False) for name, row in known.items()}
        return self.encoders.encode_present(images, rows)

    def check(self, inputs: Inputs, present: Present | None = None, *, standardized: Collection[str] = ()) -> None:
        """Check the values of the inputs.

        Args:
            inputs: As in :meth:`forward`.
            present: As there.
            standardized: Two-dimensional images that come standardized instead of in [0, 1].

        Raises:
            ValueError: If a pixel of a case that has the image is NaN or infinite, one of a two-dimensional image is
                outside [0, 1], a numerical cell is infinite, or a category is out of range; names the modality.
        """
        inputs, present, _ = self._checked(inputs, present)
        check_values(inputs, present, self.columns)
        check_range(inputs, present, self.images, standardized)

    @property
    def reads_maps(self) -> bool:
        """Whether maps can take the images' place: no map fusion acts between the encoders' stages."""
        return not self.encoders.inside

    @property
    def tokens_apart(self) -> bool:
        """Whether each modality's tokens depend on that modality alone: there is no map fusion."""
        return not len(self.encoders.fusions)

    def _outputs(self, embeddings: dict[str, Tensor], present: Present) -> dict[str, Tensor]:
        if self.decision is None:
            outputs: dict[str, Tensor] = self.head(self.vectors(embeddings, present))  # type: ignore[misc]  # one of the two is given
            return outputs
        heads = self.head if isinstance(self.head, nn.ModuleDict) else dict.fromkeys(self.decision.names, self.head)
        decided: dict[str, Tensor] = self.decision({n: head(embeddings[n]) for n, head in heads.items()}, present)
        return decided

    def _presence(self, present: Present, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Presence of the modalities, and of the sets that a token fusion added: those with a real token."""
        added = {n: t.mask.any(1) for n, t in tokens.items() if n not in self.names and t.mask is not None}
        return {**present, **added}

    def _encode(self, batch: Batch) -> dict[str, tuple[Tensor, ...]]:
        images = {name: x for name, x in batch.content.items() if name in self.images}
        encoded: dict[str, tuple[Tensor, ...]] = self.encoders(images, self._context(batch), batch.rows)
        return encoded

    def _context(self, batch: Batch) -> Tokens | None:
        context: Tokens | None = self.context(batch.content, batch.rows, batch.n_cases, like=next(self.parameters()))
        return context

    def _tokenize(self, maps: Mapping[str, tuple[Tensor, ...]], batch: Batch) -> list[dict[str, Tokens]]:
        content: dict[str, object] = {**batch.content, **maps}
        return shapes.by_stage({name: self._tokens_of(name, content.get(name), batch) for name in self.tokenizers})

    def _tokens_of(self, name: str, content: object, batch: Batch) -> tuple[Tokens, ...]:
        if content is None:
            like = next(self.parameters())
            return tuple(absent_tokens(batch.n_cases, s.n_tokens, s.dim, like) for s in self.token_shapes[name])
        sets: tuple[Tokens, ...] = self.tokenizers[name](content)
        if self.token_norm:
            sets = tuple(normalized(tokens) for tokens in sets)
        if name in batch.rows:
            sets = tuple(batch.rows[name].put_tokens(tokens) for tokens in sets)
        return sets

    def _batch(self, inputs: Inputs, present: Present | None) -> Batch:
        inputs, present, n_cases = self._checked(inputs, present)
        device = device_of(inputs, present)
        static = is_static(device)
        if not static and device.type == "cpu":
            check_values(inputs, present, self.columns)
        rows = {name: Rows.of(row, static=static) for name, row in present.items()}
        content = {name: rows[name].take_content(x) if name in rows else x for name, x in inputs.items()}
        absent = [name for name, of_name in rows.items() if of_name.where is not None and not len(of_name.where)]
        return Batch({name: x for name, x in content.items() if name not in absent}, rows, present, n_cases)

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
            maps=self.encoders.map_shapes,
            dtypes=self._dtypes(self.names),
        )

    def _dtypes(self, names: Iterable[str]) -> dict[str, torch.dtype]:
        """The dtype of the part that reads each modality; parts without floating-point parameters left out."""
        readers = {**self.context.tokenizers, **self.tokenizers}
        readers |= {name: self.encoders.backbones[route] for name, route in self.encoders.routes.items()}
        floating = {name: [p.dtype for p in readers[name].parameters() if p.is_floating_point()] for name in names}
        return {name: dtypes[0] for name, dtypes in floating.items() if dtypes}

    def _refuse_maps(self, names: Collection[str]) -> None:
        if names and self.encoders.inside:
            raise ValueError(
                f"maps cannot take the place of the images {sorted(names)}: a map fusion acts inside the encoders, "
                f"first before stage {min(self.encoders.inside)}, so they depend on more than the images. Give the "
                "images, without precomputing, or let map fusions act behind the last stage alone, at=(-1,)"
            )

    def _tables(self) -> dict[str, Columns]:
        readers = {**self.context.tokenizers, **self.tokenizers}
        kinds = {
            name: getattr(readers[name], "image", None) or getattr(readers[name], "columns", None)
            for name in self.names
        }
        tables = {name: kind for name, kind in kinds.items() if isinstance(kind, Columns)}
        images = {name for name, kind in kinds.items() if isinstance(kind, Image)}
        if wrong := sorted(set(self.names) - set(tables) - images):
            raise ValueError(f"each tokenizer needs the .image or the .columns that it is for; {wrong} has neither")
        if images != set(self.images) or images & set(self.context.tokenizers):
            raise ValueError(
                f"encoders are for the images {sorted(self.images)}, tokenizers for the images {sorted(images)} and "
                f"context for {sorted(self.context.tokenizers)}, which must be tables"
            )
        self.encoders.check_context(self.context.widths)
        return tables

    def _check_parts(self) -> dict[str, tuple[TokenShape, ...]]:
        of_tokens = shapes.token_shapes(self.tokenizers, self.encoders.map_shapes, self.columns)
        stages = shapes.by_stage(of_tokens)
        if len(self.per_stage) > len(stages):
            raise ValueError(f"{len(self.per_stage)} token fusions for {len(stages)} stages: one per stage at most")
        for s, fusion in enumerate(self.per_stage):
            stages[s] = shapes.after_fusion(fusion, stages[s])
        for fusion in self.layers:
            stages[-1] = shapes.after_fusion(fusion, stages[-1])
        embeddings = shapes.embeddings_of(self.pooling, stages)
        if embeddings is not None:
            self.embedding_widths = {name: x.shape[-1] for name, x in embeddings.items()}
        shapes.check_outputs(embeddings, self.vectors, self.head, self.decision)
        return of_tokens
