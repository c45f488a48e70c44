"""Make data/reviews.parquet from the rated review snippets in the vaderSentiment package; needed once, and committed.

pip download --no-deps --no-binary :all: vaderSentiment && python make_data.py vaderSentiment-*.tar.gz
"""

import io
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

OUT = Path(__file__).parent / "data" / "reviews.parquet"
INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
SOURCES = {"amazon": "amazonReviewSnippets_GroundTruth.txt", "movies": "movieReviewSnippets_GroundTruth.txt"}
CLEAR = 0.8  # raters' mean from -4 to 4; what lies between says little either way
MOST = 500  # of each source and opinion


def read(archive: tarfile.TarFile, source: str, name: str) -> pa.Table:
    """Read the clearly positive and clearly negative snippets of one source."""
    member = next(entry for entry in archive.getmembers() if entry.name.endswith(name))
    file = archive.extractfile(member)
    assert file is not None  # it is a file
    rows = [
        line.split("\t", 2) for line in file.read().decode("utf-8", "replace").splitlines() if line.count("\t") >= 2
    ]
    rated = [(text.strip(), float(rating)) for _, rating, text in rows]
    clear = [(text, rating) for text, rating in rated if abs(rating) >= CLEAR and len(text) > 20]
    good, bad = ([pair for pair in clear if (pair[1] > 0) == opinion][:MOST] for opinion in (True, False))
    clear = good + bad
    texts, ratings = zip(*clear, strict=True)
    return pa.table({"source": [source] * len(clear), "text": texts, "rating": pc.round(pa.array(ratings), 3)})


def main(package: Path) -> None:
    with tarfile.open(package) as outer:
        inner = next(entry for entry in outer.getmembers() if entry.name.endswith(INNER))
        file = outer.extractfile(inner)
        assert file is not None  # it is a file
        with tarfile.open(fileobj=io.BytesIO(file.read())) as archive:
            table = pa.concat_tables(read(archive, *source) for source in SOURCES.items())
    OUT.parent.mkdir(exist_ok=True)
    pq.write_table(table, OUT, compression="zstd", compression_level=19, store_schema=False)
    positive = sum(rating > 0 for rating in table["rating"].to_pylist())
    print(f"{table.num_rows} snippets, {positive} positive, {OUT.stat().st_size / 1000:.0f} kB: {OUT}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_data.py vaderSentiment-*.tar.gz")
    main(Path(sys.argv[1]))
