"""Python SDKs and frameworks, each asked the same of one model through a gateway.

    python python.py URL CLIENT MODEL...

Prints a line of JSON for each check: client, model, check, ok, said. Imports nothing of omni's, as
it runs in an environment of its own, with the newest of each package (tests/clients/nightly.py).
"""

import asyncio
import base64
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

URL = sys.argv[1] if len(sys.argv) > 1 else ""
SYSTEM, ASK = "Be brief.", "Is all well?"
WEATHER = "What is the weather in Oslo? Use get_weather."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PICTURE = f"data:image/png;base64,{PNG}"
#: A model that nobody has: what a client makes of the error.
NOBODY = "openai/no-such-model"
Check = Callable[[str], Any]
Checks = dict[str, Check]


def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


def refused(call: Callable[[], Any], words: str = "no-such-model") -> None:
    """The call fails, and its error says why."""
    try:
        call()
    except Exception as exc:  # noqa: BLE001  # each client has its own
        said = str(exc)
    else:
        said = "no error was told"
    assert words in said, said


# --- OpenAI's packages ----------------------------------------------------------------------------


def openai_chat() -> Checks:
    import openai
    from pydantic import BaseModel

    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    ask: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASK}]

    class Answer(BaseModel):
        city: str

    def create(model: str, messages: Any, **more: Any) -> Any:
        return client.chat.completions.create(model=model, messages=messages, **more)

    def chat(model: str) -> None:
        answer = create(model, ask)
        assert answer.choices[0].message.content
        assert answer.usage.prompt_tokens > 0 < answer.usage.completion_tokens

    def stream(model: str) -> None:
        events = list(create(model, ask, stream=True, stream_options={"include_usage": True}))
        assert len(events) > 3
        assert events[-1].usage.total_tokens > 0

    def tools(model: str) -> None:
        messages: Any = [{"role": "user", "content": WEATHER}]
        first = create(model, messages, tools=[tool], parallel_tool_calls=False)
        call = first.choices[0].message.tool_calls[0]
        result = get_weather(**json.loads(call.function.arguments))
        messages += [
            first.choices[0].message,
            {"role": "tool", "tool_call_id": call.id, "content": result},
        ]
        assert create(model, messages, tools=[tool]).choices[0].message.content

    def structured(model: str) -> None:
        answer = client.chat.completions.parse(model=model, messages=ask, response_format=Answer)
        assert answer.choices[0].message.parsed is not None

    def image(model: str) -> None:
        content: Any = [{"type": "text", "text": "?"}]
        content += [{"type": "image_url", "image_url": {"url": PICTURE}}]
        assert create(model, [{"role": "user", "content": content}]).choices[0].message.content

    def cancel(model: str) -> None:
        events = create(model, ask, stream=True)
        next(iter(events))
        events.close()

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "error": lambda _: refused(lambda: create(NOBODY, ask)),
        "cancel": cancel,
    }


def openai_responses() -> Checks:
    import openai
    from pydantic import BaseModel

    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
    tool: Any = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}

    class Answer(BaseModel):
        city: str

    def create(model: str, asked: Any, **more: Any) -> Any:
        return client.responses.create(model=model, input=asked, instructions=SYSTEM, **more)

    def chat(model: str) -> None:
        answer = create(model, ASK)
        assert answer.output_text
        assert answer.usage.input_tokens > 0 < answer.usage.output_tokens

    def stream(model: str) -> None:
        events = list(create(model, ASK, stream=True))
        assert events[-1].type in ("response.completed", "response.incomplete")

    def tools(model: str) -> None:
        asked: Any = [{"role": "user", "content": WEATHER}]
        first = create(model, asked, tools=[tool], parallel_tool_calls=False, truncation="auto")
        (call,) = [item for item in first.output if item.type == "function_call"]
        output = get_weather(**json.loads(call.arguments))
        asked += first.output
        asked += [{"type": "function_call_output", "call_id": call.call_id, "output": output}]
        assert create(model, asked, tools=[tool]).output_text

    def structured(model: str) -> None:
        answer = client.responses.parse(model=model, input=ASK, text_format=Answer)
        assert answer.output_parsed is not None

    def image(model: str) -> None:
        content = [{"type": "input_text", "text": "?"}]
        content += [{"type": "input_image", "image_url": PICTURE}]
        assert create(model, [{"role": "user", "content": content}]).output_text

    def cancel(model: str) -> None:
        events = create(model, ASK, stream=True)
        next(iter(events))
        events.close()

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "error": lambda _: refused(lambda: create(NOBODY, ASK)),
        "cancel": cancel,
    }


# --- Anthropic's ----------------------------------------------------------------------------------


def anthropic() -> Checks:
    import anthropic as package

    client = package.Anthropic(base_url=URL, api_key="none", max_retries=0)
    tool: Any = {"name": "get_weather", "input_schema": SCHEMA}
    ask: Any = [{"role": "user", "content": ASK}]

    def create(model: str, messages: Any, **more: Any) -> Any:
        return client.messages.create(
            model=model, max_tokens=200, messages=messages, system=SYSTEM, **more
        )

    def chat(model: str) -> None:
        answer = create(model, ask)
        assert answer.content[0].text
        assert answer.usage.input_tokens > 0 < answer.usage.output_tokens

    def stream(model: str) -> None:
        with client.messages.stream(model=model, max_tokens=200, messages=ask) as events:
            assert "".join(events.text_stream)
            assert events.get_final_message().stop_reason

    def tools(model: str) -> None:
        messages: Any = [{"role": "user", "content": WEATHER}]
        only: Any = {"type": "auto", "disable_parallel_tool_use": True}
        first = create(model, messages, tools=[tool], tool_choice=only)
        (call,) = [block for block in first.content if block.type == "tool_use"]
        result = {
            "type": "tool_result",
            "tool_use_id": call.id,
            "content": [
                {"type": "text", "text": get_weather(**call.input)},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                },
            ],
        }
        messages += [
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]},
        ]
        assert create(model, messages, tools=[tool]).content

    def structured(model: str) -> None:
        shape = {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}
        answer = create(model, ask, extra_body={"output_config": {"format": shape}})
        assert json.loads(answer.content[0].text)["city"] is not None

    def image(model: str) -> None:
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        content = [{"type": "image", "source": source}, {"type": "text", "text": "?"}]
        assert create(model, [{"role": "user", "content": content}]).content[0].text

    def cancel(model: str) -> None:
        with client.messages.stream(model=model, max_tokens=200, messages=ask) as events:
            next(iter(events))

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "error": lambda _: refused(lambda: create(NOBODY, ask)),
        "cancel": cancel,
    }


# --- Google's -------------------------------------------------------------------------------------


def google_genai() -> Checks:
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=URL))
    declared = types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)
    tool = types.Tool(function_declarations=[declared])

    def ask(model: str, contents: Any = ASK, **more: Any) -> Any:
        config = types.GenerateContentConfig(system_instruction=SYSTEM, top_k=40, **more)
        return client.models.generate_content(model=model, contents=contents, config=config)

    def chat(model: str) -> None:
        answer = ask(model)
        assert answer.text
        assert answer.usage_metadata.candidates_token_count > 0

    def stream(model: str) -> None:
        events = list(client.models.generate_content_stream(model=model, contents=ASK))
        assert "".join(event.text or "" for event in events)
        assert events[-1].candidates[0].finish_reason

    def tools(model: str) -> None:
        asked = types.Content(role="user", parts=[types.Part(text=WEATHER)])
        off = types.AutomaticFunctionCallingConfig(disable=True)
        first = ask(model, [asked], tools=[tool], automatic_function_calling=off)
        (call,) = first.function_calls
        result = types.Part.from_function_response(
            name=call.name, response={"output": get_weather(**call.args)}
        )
        turns = [asked, first.candidates[0].content, types.Content(role="user", parts=[result])]
        assert ask(model, turns, tools=[tool], automatic_function_calling=off).text

    def structured(model: str) -> None:
        answer = ask(model, response_mime_type="application/json", response_schema=SCHEMA)
        assert json.loads(answer.text)["city"] is not None

    def image(model: str) -> None:
        picture = types.Part.from_bytes(data=base64.b64decode(PNG), mime_type="image/png")
        assert ask(model, [picture, "?"]).text

    def cancel(model: str) -> None:
        events = client.models.generate_content_stream(model=model, contents=ASK)
        next(iter(events))
        events.close()

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "error": lambda _: refused(lambda: ask(NOBODY)),
        "cancel": cancel,
    }


# --- Ollama's and Mistral's -----------------------------------------------------------------------


def ollama() -> Checks:
    import ollama as package

    client = package.Client(host=URL)
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    ask: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASK}]

    def chat(model: str) -> None:
        answer = client.chat(model=model, messages=ask, options={"temperature": 0.1, "top_k": 40})
        assert answer.message.content
        assert (answer.eval_count or 0) > 0

    def stream(model: str) -> None:
        events = list(client.chat(model=model, messages=ask, stream=True))
        assert events[-1].done

    def tools(model: str) -> None:
        messages: Any = [{"role": "user", "content": WEATHER}]
        first = client.chat(model=model, messages=messages, tools=[tool])
        (call,) = first.message.tool_calls or ()
        result = get_weather(**call.function.arguments)
        messages += [
            first.message,
            {"role": "tool", "tool_name": call.function.name, "content": result},
        ]
        assert client.chat(model=model, messages=messages, tools=[tool]).message.content

    def structured(model: str) -> None:
        answer = client.chat(model=model, messages=ask, format=SCHEMA)
        assert json.loads(answer.message.content or "")["city"] is not None

    def image(model: str) -> None:
        asked: Any = [{"role": "user", "content": "?", "images": [PNG]}]
        assert client.chat(model=model, messages=asked).message.content

    def cancel(model: str) -> None:
        events: Any = client.chat(model=model, messages=ask, stream=True)
        next(iter(events))
        events.close()

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "error": lambda _: refused(lambda: client.chat(model=NOBODY, messages=ask)),
        "cancel": cancel,
    }


def mistral() -> Checks:
    try:
        from mistralai import Mistral
    except ImportError:
        from mistralai.client import Mistral

    client = Mistral(api_key="none", server_url=URL)
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    ask: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASK}]

    def chat(model: str) -> None:
        answer = client.chat.complete(model=model, messages=ask)
        assert answer.choices[0].message.content
        assert answer.usage.completion_tokens > 0

    def stream(model: str) -> None:
        assert len(list(client.chat.stream(model=model, messages=ask))) > 3

    def tools(model: str) -> None:
        messages: Any = [{"role": "user", "content": WEATHER}]
        first = client.chat.complete(model=model, messages=messages, tools=[tool])
        call = first.choices[0].message.tool_calls[0]
        result = get_weather(**json.loads(call.function.arguments))
        messages += [
            first.choices[0].message,
            {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": result},
        ]
        answer = client.chat.complete(model=model, messages=messages, tools=[tool])
        assert answer.choices[0].message.content

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "error": lambda _: refused(lambda: client.chat.complete(model=NOBODY, messages=ask)),
    }


# --- frameworks -----------------------------------------------------------------------------------


def langchain(kind: str) -> Checks:
    from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
    from langchain_core.tools import tool

    def made(name: str, **more: Any) -> Any:
        if kind == "openai":
            from langchain_openai import ChatOpenAI

            return ChatOpenAI(
                model=name, base_url=f"{URL}/v1", api_key="none", max_retries=0, **more
            )
        if kind == "anthropic":
            from langchain_anthropic import ChatAnthropic

            return ChatAnthropic(
                model=name, base_url=URL, api_key="none", max_retries=0, max_tokens=200, **more
            )
        if kind == "google":
            from langchain_google_genai import ChatGoogleGenerativeAI

            return ChatGoogleGenerativeAI(
                model=f"models/{name}", base_url=URL, api_key="none", max_retries=1, **more
            )
        from langchain_ollama import ChatOllama

        return ChatOllama(model=name, base_url=URL, **more)

    asked = [SystemMessage(SYSTEM), HumanMessage(ASK)]

    def chat(model: str) -> None:
        answer = made(model).invoke(asked)
        assert answer.text
        assert answer.usage_metadata["output_tokens"] > 0

    def stream(model: str) -> None:
        assert "".join(str(piece.text) for piece in made(model).stream(asked))

    def tools(model: str) -> None:
        bound = made(model).bind_tools([tool(get_weather)])
        turns: list[Any] = [HumanMessage(WEATHER)]
        first = bound.invoke(turns)
        call = first.tool_calls[0]
        turns += [first, ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"])]
        assert bound.invoke(turns).text

    def structured(method: str) -> Check:
        shape = {"title": "Answer", "description": "an answer", **SCHEMA}

        def check(model: str) -> None:
            ways = {} if kind == "anthropic" and method == "json_schema" else {"method": method}
            found = made(model).with_structured_output(shape, **ways).invoke(asked)
            assert found["city"] is not None

        return check

    def image(model: str) -> None:
        content: Any = [{"type": "text", "text": "?"}]
        content += [{"type": "image", "base64": PNG, "mime_type": "image/png"}]
        assert made(model).invoke([HumanMessage(content)]).text

    forced = {"structured by tools": structured("function_calling")}
    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured("json_schema"),
        **(forced if kind != "ollama" else {}),  # ChatOllama forces no tool
        "image": image,
        "error": lambda _: refused(lambda: made(NOBODY).invoke(asked)),
    }


def pydantic_ai(kind: str) -> Checks:
    from pydantic import BaseModel
    from pydantic_ai import Agent, BinaryContent

    class Answer(BaseModel):
        city: str

    def made(name: str) -> Any:
        if kind in ("chat", "responses"):
            from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
            from pydantic_ai.providers.openai import OpenAIProvider

            found = OpenAIProvider(base_url=f"{URL}/v1", api_key="none")
            model = OpenAIChatModel if kind == "chat" else OpenAIResponsesModel
            return model(name, provider=found)
        if kind == "anthropic":
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            client = AsyncAnthropic(base_url=URL, api_key="none", max_retries=0)
            return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
        from pydantic_ai.models.google import GoogleModel
        from pydantic_ai.providers.google import GoogleProvider

        return GoogleModel(f"models/{name}", provider=GoogleProvider(api_key="none", base_url=URL))

    def agent(name: str, **more: Any) -> Any:
        return Agent(made(name), instructions=SYSTEM, retries=0, **more)

    def run(name: str, asked: Any = ASK, **more: Any) -> Any:
        return asyncio.run(agent(name, **more).run(asked))

    def chat(model: str) -> None:
        answer = run(model)
        assert answer.output
        assert usage_of(answer).output_tokens > 0

    def usage_of(answer: Any) -> Any:
        return answer.usage() if callable(answer.usage) else answer.usage

    def stream(model: str) -> None:
        async def stream_it() -> None:
            async with agent(model).run_stream(ASK) as events:
                assert [piece async for piece in events.stream_text(delta=True)]

        asyncio.run(stream_it())

    def image(model: str) -> None:
        picture = BinaryContent(data=base64.b64decode(PNG), media_type="image/png")
        assert run(model, ["?", picture]).output

    return {
        "chat": chat,
        "stream": stream,
        "tools": lambda model: run(model, WEATHER, tools=[get_weather]),
        "structured": lambda model: run(model, ASK, output_type=Answer),
        "image": image,
        "error": lambda _: refused(lambda: run(NOBODY)),
    }


def litellm(kind: str) -> Checks:
    import litellm as package

    package.suppress_debug_info = True
    base = {"openai": f"{URL}/v1", "gemini": f"{URL}/v1beta"}.get(kind, URL)
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    ask: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASK}]

    def complete(model: str, messages: Any = ask, **more: Any) -> Any:
        return package.completion(
            f"{kind}/{model}",
            messages=messages,
            api_base=base,
            api_key="none",
            max_retries=0,
            **more,
        )

    def chat(model: str) -> None:
        answer = complete(model)
        assert answer.choices[0].message.content
        assert answer.usage.completion_tokens > 0

    def stream(model: str) -> None:
        events = complete(model, stream=True)
        assert "".join(event.choices[0].delta.content or "" for event in events)

    def tools(model: str) -> None:
        messages: Any = [{"role": "user", "content": WEATHER}]
        first = complete(model, messages, tools=[tool])
        call = first.choices[0].message.tool_calls[0]
        result = get_weather(**json.loads(call.function.arguments))
        messages += [
            first.choices[0].message.model_dump(),
            {"role": "tool", "tool_call_id": call.id, "content": result},
        ]
        assert complete(model, messages, tools=[tool]).choices[0].message.content

    def structured(model: str) -> None:
        shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
        answer = complete(model, response_format=shape)
        assert json.loads(answer.choices[0].message.content)["city"] is not None

    def image(model: str) -> None:
        content: Any = [{"type": "text", "text": "?"}]
        content += [{"type": "image_url", "image_url": {"url": PICTURE}}]
        assert complete(model, [{"role": "user", "content": content}]).choices[0].message.content

    return {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "error": lambda _: refused(lambda: complete(NOBODY)),
    }


def instructor(kind: str) -> Checks:
    import instructor as package
    from pydantic import BaseModel

    class Answer(BaseModel):
        city: str

    ask: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASK}]

    def openai_by(mode: str) -> Check:
        import openai

        def check(model: str) -> None:
            raw = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
            client = package.from_openai(raw, mode=getattr(package.Mode, mode))
            answer = client.chat.completions.create(
                model=model, messages=ask, response_model=Answer, max_retries=0
            )
            assert answer.city is not None

        return check

    def anthropic_by(mode: str) -> Check:
        import anthropic as anthropics

        def check(model: str) -> None:
            raw = anthropics.Anthropic(base_url=URL, api_key="none", max_retries=0)
            client = package.from_anthropic(raw, mode=getattr(package.Mode, mode))
            answer = client.messages.create(
                model=model, messages=ask, max_tokens=200, response_model=Answer, max_retries=0
            )
            assert answer.city is not None

        return check

    def google_by(mode: str) -> Check:
        from google import genai
        from google.genai import types

        def check(model: str) -> None:
            raw = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=URL))
            client = package.from_genai(raw, mode=getattr(package.Mode, mode))
            answer = client.chat.completions.create(
                model=f"models/{model}", messages=ask, response_model=Answer, max_retries=0
            )
            assert answer.city is not None

        return check

    if kind == "openai":
        modes = (
            "TOOLS",
            "JSON_SCHEMA",
        )  # the others ask in words, which a simulator takes no heed of
        return {mode: openai_by(mode) for mode in modes}
    if kind == "anthropic":
        return {mode: anthropic_by(mode) for mode in ("ANTHROPIC_TOOLS",)}
    return {mode: google_by(mode) for mode in ("GENAI_TOOLS", "GENAI_STRUCTURED_OUTPUTS")}


def openai_agents(kind: str) -> Checks:
    import agents
    import openai
    from pydantic import BaseModel

    agents.set_tracing_disabled(True)

    class Answer(BaseModel):
        city: str

    weather = agents.function_tool(get_weather)

    def made(name: str, **more: Any) -> Any:
        client = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
        kinds = agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel
        model = kinds[kind == "chat"](name, openai_client=client)
        return agents.Agent(name="a", instructions=SYSTEM, model=model, **more)

    def run(name: str, asked: str = ASK, **more: Any) -> Any:
        return asyncio.run(agents.Runner.run(made(name, **more), asked))

    def stream(model: str) -> None:
        async def stream_it() -> None:
            events = agents.Runner.run_streamed(made(model), ASK)
            assert [event async for event in events.stream_events()]
            assert events.final_output

        asyncio.run(stream_it())

    one = agents.ModelSettings(parallel_tool_calls=False, truncation="auto")
    return {
        "chat": lambda model: run(model),
        "stream": stream,
        "tools": lambda model: run(model, WEATHER, tools=[weather], model_settings=one),
        "structured": lambda model: run(model, ASK, output_type=Answer),
        "error": lambda _: refused(lambda: run(NOBODY)),
    }


CLIENTS: dict[str, Callable[[], Checks]] = {
    "openai": openai_chat,
    "openai-responses": openai_responses,
    "anthropic": anthropic,
    "google-genai": google_genai,
    "ollama": ollama,
    "mistralai": mistral,
    **{
        f"langchain-{k}": lambda k=k: langchain(k)
        for k in ("openai", "anthropic", "google", "ollama")
    },
    **{
        f"pydantic-ai-{k}": lambda k=k: pydantic_ai(k)
        for k in ("chat", "responses", "anthropic", "google")
    },
    **{
        f"litellm-{k}": lambda k=k: litellm(k)
        for k in ("openai", "anthropic", "gemini", "ollama_chat")
    },
    **{f"instructor-{k}": lambda k=k: instructor(k) for k in ("openai", "anthropic", "google")},
    **{f"openai-agents-{k}": lambda k=k: openai_agents(k) for k in ("chat", "responses")},
}


def walk(client: str, models: list[str]) -> bool:
    """Run every check with every model; what failed is told, and whether all went well."""
    well = True
    for model in models:
        for name, check in CLIENTS[client]().items():
            said = ""
            try:
                check(model)
            except BaseException as exc:  # noqa: BLE001  # whatever a client does is told
                well = False
                frame = traceback.extract_tb(exc.__traceback__)[-1]
                said = f"{type(exc).__name__}: {str(exc)[:400]} ({frame.name})"
            line = {"client": client, "model": model, "check": name, "ok": not said, "said": said}
            print(json.dumps(line), flush=True)  # noqa: T201  # the walk's answer
    return well


if __name__ == "__main__":
    sys.exit(not walk(sys.argv[2], sys.argv[3:]))
