"""An agent of Google's ADK, as its quickstart has it. It does not know Perdure.

Try it:

    export GOOGLE_API_KEY=...
    perdure dev examples/city_guide.py:root_agent
"""

from google.adk.agents import Agent


def get_weather(city: str) -> dict[str, str]:
    """Retrieves the current weather report for a specified city.

    Args:
        city: The name of the city for which to retrieve the weather report.

    Returns:
        status and result or error msg.
    """
    if city.lower() == "new york":
        return {
            "status": "success",
            "report": "The weather in New York is sunny with a temperature of 25 degrees Celsius.",
        }
    return {
        "status": "error",
        "error_message": f"Weather information for '{city}' is not available.",
    }


root_agent = Agent(
    name="weather_agent",
    model="gemini-3-flash",
    description="Agent to answer questions about the weather in a city.",
    instruction="You are a helpful agent who can answer questions about the weather in a city.",
    tools=[get_weather],
)
