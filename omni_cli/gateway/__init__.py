"""``omni serve``: the protocols of OpenAI, Anthropic, Ollama and Google before one fleet."""
