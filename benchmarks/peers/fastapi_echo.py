"""FastAPI as its tutorial shows it, without any model: validate four floats and return them."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Iris(BaseModel):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


@app.post("/predict")
async def echo(row: Iris) -> Iris:
    return row
