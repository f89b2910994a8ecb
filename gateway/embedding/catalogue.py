"""Every embedding model that callers may name, made when it is first asked for."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from gateway.embedding.base import EmbeddingModel, Options
from gateway.embedding.lexical import LexicalEmbedder
from gateway.errors import InvalidRequest, UnknownModel
from gateway.types import ModelRef

BUILT_IN = "promptyard"
"""The provider that needs neither server nor key."""

LEXICAL = ModelRef(BUILT_IN, "lexical")
_FEWEST, _MOST = 16, 8192
_MOST_MODELS = 64
_LONGEST_OPTIONS = 2_000

MakeModel = Callable[[ModelRef, Options], EmbeddingModel]
Close = Callable[[], Awaitable[None]]


class Catalogue:
    """Models by name and options, the last used ones of them. ``makers``: how a provider's models are made.

    ``default`` is the one for callers that name none. ``closing`` closes what the makers' models share. For one event
    loop.
    """

    def __init__(
        self, makers: Mapping[str, MakeModel], *, default: ModelRef = LEXICAL, closing: Sequence[Close] = ()
    ) -> None:
        self.default = default
        self._makers = {**makers, BUILT_IN: _built_in}
        self._closing = tuple(closing)
        self._models: OrderedDict[tuple[ModelRef, bytes], EmbeddingModel] = OrderedDict()

    @property
    def listed(self) -> tuple[ModelRef, ...]:
        """The models that are known without asking a provider."""
        return tuple(sorted({LEXICAL, self.default}))

    @property
    def providers(self) -> frozenset[str]:
        return frozenset(self._makers)

    def find(self, ref: ModelRef, options: Options) -> EmbeddingModel:
        """Raises UnknownModel, and InvalidRequest for options that are too long or that the model cannot take."""
        canonical = msgspec.json.encode(options, order="deterministic")
        if len(canonical) > _LONGEST_OPTIONS:
            raise InvalidRequest(f"the fields beside 'input' have more than {_LONGEST_OPTIONS} bytes")
        key = (ref, canonical)
        model = self._models.get(key)
        if model is None:
            make = self._makers.get(ref.provider)
            if make is None:
                known = ", ".join(sorted(self._makers))
                raise UnknownModel(
                    f"there is no embedding model {str(ref)!r}",
                    hint=f"Write '<provider>/<model>', such as '{LEXICAL}'. Providers: {known}.",
                )
            model = self._models[key] = make(ref, options)
        self._models.move_to_end(key)
        while len(self._models) > _MOST_MODELS:
            self._models.popitem(last=False)
        return model

    async def aclose(self) -> None:
        for model in self._models.values():
            await model.aclose()
        for close in self._closing:
            await close()


def _built_in(ref: ModelRef, options: Options) -> EmbeddingModel:
    if ref != LEXICAL:
        raise UnknownModel(f"there is no embedding model {str(ref)!r}", hint=f"The built-in one is '{LEXICAL}'.")
    unknown = sorted(set(options) - {"dimensions"})
    if unknown:
        raise InvalidRequest(f"'{LEXICAL}' does not know {unknown[0][:100]!r}", hint="It takes 'dimensions'.")
    dimensions = options.get("dimensions", 1024)
    if not _FEWEST <= dimensions <= _MOST:
        raise InvalidRequest(f"'dimensions' of '{LEXICAL}' are {_FEWEST} to {_MOST}")
    return LexicalEmbedder(dimensions)
