"""Flask, for its development server and for gunicorn."""

from flask import Flask, jsonify, request
from iris_model import load

app = Flask(__name__)
predict = load()
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@app.post("/predict")
def answer():
    row = request.get_json()
    return jsonify(label=predict([[float(row[name]) for name in NAMES]])[0])
