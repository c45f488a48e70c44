"""Make data/bikeshare.parquet from Bikeshare.csv of the ISLP package; needed once, the result is committed.

pip download --no-deps ISLP && python make_data.py islp-*.whl
"""

import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

OUT = Path(__file__).parent / "data" / "bikeshare.parquet"
WEATHER = {"clear": 1, "cloudy/misty": 2, "light rain/snow": 3, "heavy rain/snow": 4}


def tidy(raw: pa.Table) -> pa.Table:
    """Keep what is known before the hour starts and the count, in the order of time, under plain names."""
    codes = pa.array([WEATHER[text] for text in raw["weathersit"].to_pylist()], pa.int64())
    table = pa.table(
        {
            "day": raw["day"],
            "hour": pc.cast(raw["hr"], pa.int64()),
            "weekday": raw["weekday"],
            "workingday": pc.cast(raw["workingday"], pa.bool_()),
            "holiday": pc.cast(raw["holiday"], pa.bool_()),
            "weather": codes,
            "temp": raw["temp"],
            "feels_like": raw["atemp"],
            "humidity": raw["hum"],
            "windspeed": raw["windspeed"],
            "bikers": raw["bikers"],
        }
    )
    return table.sort_by([("day", "ascending"), ("hour", "ascending")])


def main(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open("ISLP/data/Bikeshare.csv") as file:
        table = tidy(csv.read_csv(file))
    OUT.parent.mkdir(exist_ok=True)
    pq.write_table(table, OUT, compression="zstd", compression_level=19, store_schema=False)
    print(f"{table.num_rows} hours, {OUT.stat().st_size / 1000:.0f} kB: {OUT}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_data.py islp-*.whl")
    main(Path(sys.argv[1]))
