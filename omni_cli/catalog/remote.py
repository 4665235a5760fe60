"""Where newer prices come from."""

#: What genai-prices' own ``UpdatePrices`` reads (its DEFAULT_UPDATE_URL, version 0.2.3).
URL = (
    "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/"
    "prices/new_data/v2/data.json"
)
#: The whole file, some 1 MB, seconds without a byte.
TIMEOUT_S = 30.0
