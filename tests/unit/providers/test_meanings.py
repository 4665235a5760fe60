"""What vendors answer when they do not: each in its own words, read by what it means.

Wordings are after the vendors' references and public reports (see ``wire/meanings.py``), shortened.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain import errors
from omni_cli.domain.errors import ProviderError
from omni_cli.wire import faults

LONG, QUOTA, RATE = "context_too_long", "quota_exceeded", "rate_limited"
BUSY, MODEL, AUTH = "overloaded", "model_not_found", "auth"
FILTER, BAD, LATE = "content_filtered", "bad_request", "timeout"


def oai(message: str, kind: str | None = "invalid_request_error", code: object = None) -> object:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def ant(kind: str, message: str) -> object:
    return {"type": "error", "error": {"type": kind, "message": message}}


def goo(code: int, status: str, message: str, *details: object) -> object:
    error: dict[str, object] = {"code": code, "message": message, "status": status}
    return {"error": {**error, "details": list(details)} if details else error}


def zai(code: str, message: str) -> object:
    return {"error": {"code": code, "message": message}}


def retry_info(delay: str) -> object:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


TOO_LONG: list[tuple[int, object]] = [
    (400, ant("invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum")),
    (
        400,
        ant(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        ),
    ),
    (413, ant("request_too_large", "Request exceeds the maximum size")),
    (
        400,
        oai("Your input exceeds the context window of this model.", code="context_length_exceeded"),
    ),
    (400, oai("This model's maximum context length is 8192 tokens. You requested 10346 tokens.")),
    (400, oai("Input tokens exceed the configured limit of 272000 tokens.")),
    (
        400,
        oai(
            "Invalid 'messages[0].content': string too long. Expected maximum length 10485760.",
            code="string_above_max_length",
        ),
    ),
    (
        429,
        oai(
            "Request too large for gpt-4o in organization org-x on tokens per min (TPM): "
            "Limit 30000, Requested 41000. The input or output tokens must be reduced.",
            "tokens",
            "rate_limit_exceeded",
        ),
    ),
    (
        413,
        oai(
            "Request too large for model `m` on tokens per minute (TPM): Limit 6000, "
            "Requested 9000, please reduce your message size and try again.",
            "tokens",
            "rate_limit_exceeded",
        ),
    ),
    (
        400,
        goo(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1196265) exceeds the maximum number of tokens.",
        ),
    ),
    (
        400,
        goo(
            400,
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is 1200000 but model only "
            "supports up to 1048576.",
        ),
    ),
    (400, {"message": "Input is too long for requested model."}),
    (400, {"message": "Too many input tokens. Max input tokens: 8192, request input: 9001"}),
    (400, {"code": "invalid-argument", "error": "maximum prompt length is 131072"}),
    (
        400,
        {"error": "Prompt length (300000 tokens) exceeds the model's limit of 256000 tokens."},
    ),
    (400, oai("Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)")),
    (400, oai("Input token length too long")),
    (400, zai("1261", "Prompt 超长")),
    (400, zai("1210", "tokens in request more than max tokens allowed")),
    (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 129024]"}),
    (
        400,
        oai(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
            "invalid_request_error",
            "invalid_parameter_error",
        ),
    ),
    (
        400,
        {"object": "error", "message": "Prompt contains 40000 tokens, too large for model with "
         "32768 maximum context length", "type": "invalid_request_prompt", "code": "3051"},
    ),
    (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    (
        422,
        oai("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097."),
    ),
    (400, oai("The prompt is too long: 140000, model maximum context length: 131071")),
    (
        400,
        {"message": "Please reduce the length of the messages or completion. Current length is "
         "10000 while limit is 8192", "type": "invalid_request_error",
         "code": "context_length_exceeded"},
    ),
    (
        413,
        oai("Request body too large for gpt-4o model. Max size: 8000 tokens.",
            None, "tokens_limit_reached"),
    ),
    (
        400,
        oai("prompt token count of 135000 exceeds the limit of 128000",
            None, "model_max_prompt_tokens_exceeded"),
    ),
    (400, oai("the request exceeds the available context size", "exceed_context_size_error", 400)),
    (500, oai("Context size has been exceeded.", "server_error", 500)),
    (400, {"error": "Trying to keep the first 9000 tokens when context the overflows."}),
    (400, {"error": "the number of tokens to keep from the initial prompt is greater than the "
           "context length"}),
    (400, {"error": "the input length exceeds the context length"}),
    (500, {"error": "prompt too long; exceeded max context length by 12 tokens"}),
    (
        400,
        {"object": "error", "message": "The decoder prompt (length 163840) is longer than the "
         "maximum model length of 131072.", "type": "BadRequestError", "code": 400},
    ),
    (400, oai("Input length (9000) exceeds model's maximum context length (8192).")),
    (400, oai("However, the model's context length is only 4096 tokens.", "BadRequestError", 400)),
    (400, oai("The input (40000 tokens) is longer than the model's context length (32768).")),
    (400, oai("Input length (50000 tokens) exceeds the maximum allowed length (32768 tokens).")),
    (500, {"error": "Prompt length (9000) exceeds maximum input length (8192)."}),
    (400, oai("litellm.ContextWindowExceededError: too long", None, "400")),
    (400, {"error": {"message": "invalid params, context window exceeds limit (2013)"}}),
    (200, {"base_resp": {"status_code": 1039, "status_msg": "token limit"}}),
    (400, oai("Prompt tokens too long", "invalid_request_error", "tokens_too_long")),
    (400, oai("输入内容的 tokens 数量超过模型最大长度")),
]  # fmt: skip

SPENT: list[tuple[int, object]] = [
    (429, oai("You exceeded your current quota, please check your plan and billing details.",
              "insufficient_quota", "insufficient_quota")),
    (429, oai("No credit left.", "insufficient_quota", "credit_balance_exhausted")),
    (429, oai("Limit reached.", None, "project_spend_limit_exceeded")),
    (429, oai("Your account is not active, please check your billing details.",
              "billing_not_active", "billing_not_active")),
    (400, ant("invalid_request_error", "Your credit balance is too low to access the API.")),
    (400, ant("invalid_request_error", "You have reached your specified API usage limits. You "
              "will regain access on 2026-12-01 at 00:00 UTC.")),
    (402, ant("billing_error", "There is an issue with your payment.")),
    (429, ant("rate_limit_error", "You've reached your monthly spend limit.")),
    (429, goo(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.",
              {"@type": "x.QuotaFailure", "violations": [
                  {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
              retry_info("12s"))),
    (429, goo(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.")),
    (403, {"code": "permission-denied", "error": "Your team 1 has either used all available "
           "credits or reached its monthly spending limit."}),
    (403, {"code": "The caller does not have permission", "error": "Your newly created team "
           "doesn't have any credits yet. You can purchase credits."}),
    (402, oai("Insufficient Balance", "unknown_error", "invalid_request_error")),
    (429, oai("Your account is suspended, please check your plan and billing details",
              "exceeded_current_quota_error")),
    (429, zai("1113", "Insufficient balance or no resource package. Please recharge.")),
    (429, zai("1308", "Usage limit reached for 5 hour. Your limit will reset at "
              "2027-01-01 18:00:00")),
    (429, zai("1310", "已达到每周使用上限")),
    (429, zai("1113", "您的账户已欠费,请充值后重试")),
    (400, {"code": "Arrearage", "message": "Access denied, make sure your account is in good "
           "standing."}),
    (403, oai("The free tier of the model has been exhausted.", "AllocationQuota.FreeTierOnly",
              "AllocationQuota.FreeTierOnly")),
    (402, oai("This request requires more credits, or fewer max_tokens.", None, 402)),
    (403, oai("Key limit exceeded (total limit).", None, 403)),
    (429, {"error": {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits.",
                     "code": 429, "metadata": {"headers": {
                         "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999000"}}}}),
    (400, oai("Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", "budget_exceeded",
              "400")),
    (400, oai("ExceededBudget: User=x over budget. Spend=10, Budget=5", "budget_exceeded", "400")),
    (403, oai("用户额度不足, 剩余额度: 0", "new_api_error", "insufficient_user_quota")),
    (401, oai("You exceeded your current quota", "insufficient_quota", 401)),
    (402, oai("Credit limit exceeded, please navigate to billing", "credit_limit")),
    (412, {"error": {"message": "Account x is suspended, possibly due to reaching the monthly "
                     "spending limit or failure to pay past invoices."}}),
    (429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}),
    (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}),
    (429, {"error": "you've reached your weekly usage limit"}),
    (429, {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached",
                     "plan_type": "plus", "resets_in_seconds": 84000}}),
    (429, {"message": "Too many tokens per day, please wait before trying again."}),
    (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
    (500, oai("insufficient user quota", "one_api_error")),
]  # fmt: skip

PACED: list[tuple[int, object]] = [
    (429, oai("Rate limit reached for gpt-4o on requests per min (RPM): Limit 3. Please try "
              "again in 20s.", "requests", "rate_limit_exceeded")),
    (429, oai("Your request rate rose too fast.", "rate_limit_error", "slow_down")),
    (429, ant("rate_limit_error", "Number of request tokens has exceeded your per-minute rate "
              "limit")),
    (429, goo(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")),
    (429, goo(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.")),
    (429, goo(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota. Please retry in 34s.",
              retry_info("34s"))),
    (429, goo(429, "RESOURCE_EXHAUSTED", "Quota exceeded for aiplatform.googleapis.com/"
              "online_prediction_requests_per_base_model. Submit a quota increase request.")),
    (429, {"error": {"code": "429", "message": "Requests to the ChatCompletions_Create Operation "
                     "have exceeded token rate limit of your current OpenAI S0 pricing tier. "
                     "Please retry after 6 seconds."}}),
    (429, {"message": "Too many tokens, please wait before trying again."}),
    (400, {"__type": "com.amazon.coral.service#ThrottlingException", "message": "Rate exceeded"}),
    (429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited",
           "code": "1300"}),
    (429, oai("Your account reached max request: 3, please try again after 1 seconds",
              "rate_limit_reached_error")),
    (429, zai("1302", "High concurrency usage of this API.")),
    (429, {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded."}),
    (429, {"code": "Throttling.AllocationQuota", "message": "Allocated quota exceeded."}),
    (429, {"message": "Requests per minute limit exceeded - too many requests sent.",
           "type": "too_many_requests_error", "code": "request_quota_exceeded"}),
    (429, {"message": "Please wait and try again later. You are limited to 10 API calls / minute"}),
    (429, {"status": 429, "title": "Too Many Requests"}),
    (400, oai("Detected high-frequency non-compliant requests from you.")),
    (403, {"message": "You have exceeded a secondary rate limit."}),
    (200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
    (429, ""),
]  # fmt: skip

FULL: list[tuple[int, object]] = [
    (529, ant("overloaded_error", "Overloaded")),
    (503, oai("The engine is currently overloaded", "server_error")),
    (503, goo(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
    (500, goo(500, "INTERNAL", "An internal error has occurred.")),
    (499, goo(499, "CANCELLED", "The operation was cancelled.")),
    (498, oai("Flex tier capacity exceeded", "error", "capacity_exceeded")),
    (424, {"message": "The model returned an error."}),
    (429, oai("The engine is currently overloaded, please try again later",
              "engine_overloaded_error")),
    (429, zai("1305", "The service may be temporarily overloaded.")),
    (503, {"error": "Model m is currently loading", "estimated_time": 20.0}),
    (503, oai("Loading model", "unavailable_error", 503)),
    (502, "<html>Bad Gateway</html>"),
    (429, {"__type": "ModelNotReadyException", "message": "The model is not ready"}),
    (200, {"base_resp": {"status_code": 1013, "status_msg": "internal service error"}}),
]  # fmt: skip

GONE: list[tuple[int, object]] = [
    (404, oai("The model `gpt-9` does not exist or you do not have access to it.",
              code="model_not_found")),
    (403, oai("Project `p` does not have access to model `gpt-4o`", code="model_not_found")),
    (404, ant("not_found_error", "model: claude-9")),
    (404, goo(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta")),
    (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this "
                     "resource does not exist."}}),
    (400, {"message": "The provided model identifier is invalid."}),
    (400, {"message": "Invocation of model ID x with on-demand throughput isn’t supported."}),
    (403, {"message": "You don't have access to the model with the specified model ID."}),
    (404, {"message": "This Model is marked by provider as Legacy", "__type":
           "ResourceNotFoundException"}),
    (400, {"object": "error", "message": "Invalid model: mistral-9", "type": "invalid_model",
           "code": "1500"}),
    (400, oai("Model Not Exist")),
    (400, zai("1211", "模型不存在,请检查模型代码")),
    (429, zai("1311", "The current subscription plan does not yet include access to GLM-9")),
    (400, oai("The model `l` has been decommissioned and is no longer supported.",
              code="model_decommissioned")),
    (410, {"detail": "The model has reached its end of life and is no longer available."}),
    (404, oai("No endpoints found for x/y.", None, 404)),
    (400, oai("x/y is not a valid model ID", None, 400)),
    (403, {"error": {"code": "no_access", "message": "No access to model: openai/o9"}}),
    (400, {"error": {"code": "unknown_model", "message": "Unknown model: x"}}),
    (404, {"error": "model 'x' not found"}),
    (503, oai("No available channel for model x under group default", "new_api_error")),
    (403, {"code": "Model.AccessDenied", "message": "Model access denied."}),
    (404, {"status": 404, "title": "Not Found", "detail": "Function 'x': Not found for account"}),
]  # fmt: skip

KEYS: list[tuple[int, object]] = [
    (401, oai("Incorrect API key provided", code="invalid_api_key")),
    (401, ant("authentication_error", "invalid x-api-key")),
    (400, goo(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
              {"reason": "API_KEY_INVALID"})),
    (400, goo(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")),
    (403, goo(403, "PERMISSION_DENIED", "Generative Language API has not been used in project 1",
              {"reason": "SERVICE_DISABLED"})),
    (403, ant("permission_error", "Your API key does not have permission to use the resource.")),
    (400, {"code": "invalid-argument", "error": "Incorrect API key provided: xa***1."}),
    (401, zai("1002", "Authentication Token 非法")),
    (403, {"message": "The security token included in the request is invalid.",
           "__type": "UnrecognizedClientException"}),
    (403, oai("Country, region, or territory not supported",
              code="unsupported_country_region_territory")),
    (200, {"base_resp": {"status_code": 1004, "status_msg": "not authorized"}}),
    (401, "Unauthorized"),
]  # fmt: skip

UNSAFE: list[tuple[int, object]] = [
    (400, oai("The response was filtered due to the prompt triggering content management policy.",
              None, "content_filter")),
    (400, oai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
              code="invalid_prompt")),
    (400, ant("invalid_request_error", "Output blocked by content filtering policy")),
    (400, oai("Content Exists Risk")),
    (400, zai("1301", "系统检测到输入或生成内容可能包含不安全或敏感内容")),
    (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate "
           "content."}),
    (403, {"code": "permission-denied", "error": "Content violates usage guidelines. Failed "
           "check: SAFETY_CHECK_TYPE_BIO"}),
    (403, oai("x requires moderation on y. Your input was flagged for violence.", None, 403)),
    (200, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
]  # fmt: skip

WRONG: list[tuple[int, object]] = [
    (400, oai("Unsupported parameter: 'temperature' is not supported with this model.",
              code="unsupported_parameter")),
    (400, oai("Unsupported value: 'temperature' does not support 0.2 with this model.",
              code="unsupported_value")),
    (400, oai("max_tokens is too large: 100000. This model supports at most 16384 completion "
              "tokens", code="invalid_value")),
    (400, ant("invalid_request_error", "messages.0.content.0: Invalid `signature` in `thinking` "
              "block")),
    (400, goo(400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unknown name \"x\"")),
    (422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted",
                       "type": "extra_forbidden"}]}),
    (400, oai("registry.ollama.ai/library/x does not support tools", "api_error")),
    (400, oai("Range of max_tokens should be [1, 8192]", code="invalid_parameter_error")),
]  # fmt: skip

ALL = [
    *((LONG, *case) for case in TOO_LONG),
    *((QUOTA, *case) for case in SPENT),
    *((RATE, *case) for case in PACED),
    *((BUSY, *case) for case in FULL),
    *((MODEL, *case) for case in GONE),
    *((AUTH, *case) for case in KEYS),
    *((FILTER, *case) for case in UNSAFE),
    *((BAD, *case) for case in WRONG),
    (LATE, 504, goo(504, "DEADLINE_EXCEEDED", "Deadline expired")),
    (LATE, 408, ""),
]


def explained(status: int, body: object, **headers: str) -> ProviderError:
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    if status == 200:
        return faults.in_band(json.loads(text))
    return faults.explain(status, headers, text)


@pytest.mark.parametrize(("meaning", "status", "body"), ALL)
def test_a_vendors_words_are_read_by_what_they_mean(
    meaning: str, status: int, body: object
) -> None:
    assert explained(status, body).code == meaning


@pytest.mark.parametrize(("status", "body"), WRONG)
def test_what_one_model_does_not_take_another_may(status: int, body: object) -> None:
    error = explained(status, body)
    assert isinstance(error, errors.BadRequest)
    assert not error.everywhere


@pytest.mark.parametrize(
    "message",
    [
        "We could not parse the JSON body of your request.",
        "messages: at least one message is required",
        "An assistant message with 'tool_calls' must be followed by tool messages",
        "messages: roles must alternate between \"user\" and \"assistant\"",
    ],
)  # fmt: skip
def test_a_request_that_is_wrong_in_itself_is_so_everywhere(message: str) -> None:
    error = explained(400, oai(message))
    assert isinstance(error, errors.BadRequest)
    assert error.everywhere


@pytest.mark.parametrize(
    ("seconds", "status", "body"),
    [
        (511207, 429, goo(429, "RESOURCE_EXHAUSTED", "Your quota will reset after 142h7s.")),
        (84000, 429, {"error": {"type": "usage_limit_reached", "resets_in_seconds": 84000}}),
        (77443, 429, oai("Rate limit of 50 per 86400s exceeded. Please wait 77443 seconds.")),
        (
            5 * 86400 + 22 * 3600 + 660,
            429,
            oai("You've hit your usage limit. Try again in 5 days 22 hours 11 minutes."),
        ),
        (86400, 429, oai("Please retry after 86400 seconds.")),
        (1.2, 429, oai("Please try again in 1.2s.")),
        (0.02, 429, oai("Please try again in 20ms.")),
        (822.5, 429, oai("on tokens per day (TPD). Please try again in 13m42.5s.")),
        (34.5, 429, goo(429, "RESOURCE_EXHAUSTED", "Please retry in 34.5s.")),
        (30, 429, {"error": {"message": "slow", "retry_after": 30}}),
        (None, 429, oai("Please try again later.")),
        (None, 429, oai("You may send 50 requests a day.")),
    ],
)
def test_until_when(seconds: float | None, status: int, body: object) -> None:
    told = explained(status, body).retry_after_s
    assert told == (None if seconds is None else pytest.approx(seconds))


def test_a_moment_in_words_counts_from_the_answers_date() -> None:
    body = ant(
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on "
        "2026-12-01 at 00:00 UTC.",
    )
    error = explained(400, body, date="Mon, 30 Nov 2026 18:00:00 GMT")
    assert isinstance(error, errors.QuotaExceeded)
    assert error.retry_after_s == 6 * 3600
    assert "6 h" in error.hint


def _kept(name: str) -> list[Any]:
    read: list[Any] = json.loads((Path(__file__).parent / name).read_text("utf-8"))
    return read


@pytest.mark.parametrize(("meaning", "status", "body", "source"), _kept("wordings.json"))
def test_wordings_of_public_reports(meaning: str, status: int, body: object, source: str) -> None:
    assert explained(status, body).code == meaning, source


@pytest.mark.parametrize(("seconds", "headers", "body"), _kept("waits.json"))
def test_every_way_to_say_when(
    seconds: float | None, headers: dict[str, str], body: object
) -> None:
    error = explained(429, body, date="Mon, 30 Nov 2026 18:00:00 GMT", **headers)
    assert error.retry_after_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("name", ["resets_at", "reset_at", "resetsAt", "resetAt"])
def test_a_moment_in_a_field(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omni_cli.wire.waits.time.time", lambda: 1_796_061_600.0)
    for moment in (1_796_065_200, 1_796_065_200_000, "2026-11-30T19:00:00Z"):
        assert explained(429, {"error": {"message": "slow", name: moment}}).retry_after_s == 3600


def test_limits_that_are_not_exhausted_say_little() -> None:
    """Of a minute's and a day's, it is not the day's that a request without room waits for."""
    resets = {
        "x-ratelimit-reset-tokens-minute": "11.4",
        "x-ratelimit-reset-requests-day": "33011.3",
    }
    assert isinstance(explained(429, "", **resets), errors.RateLimited)
    spent = explained(429, "", **resets, **{"x-ratelimit-remaining-requests-day": "0"})
    assert isinstance(spent, errors.QuotaExceeded)
    assert spent.retry_after_s == 33011.3
