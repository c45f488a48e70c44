"""Bike demand of the next hour, answered by whichever model is the registry's champion.

python examples/bikes/train.py && hansang serve examples/bikes/service.py
"""

from pydantic import BaseModel, ConfigDict, Field

from hansang import Model, Service


class Hour(BaseModel):
    """What is known of an hour before it starts."""

    model_config = ConfigDict(extra="forbid")

    hour: int = Field(ge=0, le=23, description="Hour of the day.", examples=[17])
    weekday: int = Field(ge=0, le=6, description="Day of the week; 0 is Sunday.", examples=[4])
    workingday: bool = Field(description="Neither weekend nor holiday.", examples=[True])
    holiday: bool = Field(description="A public holiday.", examples=[False])
    weather: int = Field(
        ge=1, le=4, description="1 clear, 2 cloudy or mist, 3 light rain or snow, 4 heavy rain or snow.", examples=[1]
    )
    temp: float = Field(ge=0, le=1, description="Temperature, scaled to 0 to 1.", examples=[0.66])
    feels_like: float = Field(ge=0, le=1, description="Felt temperature, scaled to 0 to 1.", examples=[0.62])
    humidity: float = Field(ge=0, le=1, description="Humidity, scaled to 0 to 1.", examples=[0.5])
    windspeed: float = Field(ge=0, le=1, description="Wind speed, scaled to 0 to 1.", examples=[0.16])


class Demand(BaseModel):
    """What the model expects of this hour."""

    bikers: float = Field(ge=0, description="Bikes rented in this hour.", examples=[412.5])


service = Service(
    "bikes",
    Model("models:/bikes@champion"),
    input=Hour,
    output=Demand,
    description="How many bikes will be rented in an hour, from the calendar and the weather.",
    owner="examples",
)
