"""The service most teams write by hand: FastAPI, a pydantic model and one call of the model per request."""

from fastapi import FastAPI
from iris_model import load
from pydantic import BaseModel

app = FastAPI()
predict = load()


class Iris(BaseModel):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float

    def row(self) -> list[float]:
        return [self.sepal_length, self.sepal_width, self.petal_length, self.petal_width]


class Answer(BaseModel):
    label: int


@app.post("/sync")
def predict_sync(iris: Iris) -> Answer:
    return Answer(label=predict([iris.row()])[0])


@app.post("/async")
async def predict_async(iris: Iris) -> Answer:
    return Answer(label=predict([iris.row()])[0])
