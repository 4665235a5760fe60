"""What vendors' error codes and words mean: one table for all protocols.

Codes are upper-case. Words are searched in the message, without regard to case; a meaning's words
come in several languages, as vendors do. Sources, as read in November 2026: the vendors' pages on
errors (OpenAI "Error codes", Anthropic "Errors", Google "Troubleshooting", Azure OpenAI "Quotas
and limits", Amazon Bedrock "Troubleshooting API error codes", Mistral, xAI, DeepSeek "Error codes",
Moonshot, Z.ai "Errors" (docs.z.ai, api-code), Alibaba Model Studio "Error messages", MiniMax
"Error Codes", Baidu Qianfan, Groq "API Error Codes", Cerebras, Together, Fireworks, OpenRouter
"Errors", Cohere, NVIDIA, GitHub Models), the servers' own code (vLLM, SGLang, llama.cpp, LM
Studio, Ollama, text-generation-inference, LiteLLM, new-api), and the public reports that name
wordings: cline 3120, inspect_ai 5208, kimi-cli 2011, hermes-agent 1877, opencode 35671, pi 9805,
aider 1880, CodeBoarding 42, ha-llmvision 324, OmniRoute 4976, oh-my-pi 4832; goose 7504,
langchain-aws 419, forgecode 1143, openclaw 23440, 30484 and 33785, copilot-cli 2696 and 2828,
opencode 1551, 7463 and 17682, claude-code 2087 and 85572, 9router 3612. Also read: ByteDance Ark
"Error codes", SiliconFlow "Error handling", Cloudflare Workers AI "Errors", DeepInfra, Chutes,
Novita, Venice, StepFun, and the tests of wordings that pi, openclaw and hermes-agent keep.
"""

import re

from omni_cli.domain.errors import (
    AuthError,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    TimedOut,
)
from omni_cli.domain.patterns import Pattern

#: Codes, types and reasons that settle the matter whatever the status is.
BY_CODE: dict[str, type[ProviderError]] = {
    code: kind
    for kind, codes in {
        QuotaExceeded: (
            # OpenAI; the last four name the limit where the type is only "insufficient_quota"
            "INSUFFICIENT_QUOTA BILLING_HARD_LIMIT_REACHED BILLING_NOT_ACTIVE "
            "CREDIT_BALANCE_EXHAUSTED ORGANIZATION_SPEND_LIMIT_EXCEEDED "
            "PROJECT_SPEND_LIMIT_EXCEEDED ORGANIZATION_USAGE_LIMIT_EXCEEDED "
            "USAGE_LIMIT_REACHED USAGE_NOT_INCLUDED "  # ChatGPT plans
            "BILLING_ERROR ENFORCED_SPEND_LIMIT_REACHED "  # Anthropic
            "EXCEEDED_CURRENT_QUOTA_ERROR "  # Moonshot
            "QUOTA_EXHAUSTED BILLING_DISABLED "  # Google, ErrorInfo
            "INSUFFICIENT_BALANCE INSUFFICIENT_CREDITS INSUFFICIENT_CREDIT INSUFFICIENT_FUNDS "
            "REJECT_NO_CREDIT QUOTE_EXCEEDED PAYMENT_REQUIRED CREDIT_LIMIT CREDITS_EXHAUSTED "
            "ARREARAGE ALLOCATIONQUOTA.FREETIERONLY PREPAIDBILLOVERDUE POSTPAIDBILLOVERDUE "
            "BUDGET_EXCEEDED EXCEEDEDBUDGET "  # LiteLLM
            "INSUFFICIENT_USER_QUOTA PRE_CONSUME_TOKEN_QUOTA_FAILED "  # new-api
            "1113 1304 1308 1309 1310 "  # Z.ai: in arrears, the day's, 5 hours', plan, week's
            "ACCOUNTOVERDUEERROR SETLIMITEXCEEDED ACCOUNTQUOTAEXCEEDED "  # ByteDance Ark
            "NOT_ENOUGH_BALANCE BALANCE_DEPLETED "
            "MINIMAX:1008 MINIMAX:1028 MINIMAX:1030 MINIMAX:2056"
        ),
        ContextTooLong: (
            "CONTEXT_LENGTH_EXCEEDED CONTEXT_WINDOW_EXCEEDED MODEL_CONTEXT_WINDOW_EXCEEDED "
            "CONTEXTWINDOWEXCEEDEDERROR EXCEED_CONTEXT_SIZE_ERROR REQUEST_TOO_LARGE "
            "MODEL_MAX_PROMPT_TOKENS_EXCEEDED TOKENS_LIMIT_REACHED "
            "TOKENS_TOO_LONG CHARACTERS_TOO_LONG PROMPT_TOO_LONG 1261 3051 MINIMAX:1039"
        ),
        ContentFiltered: (
            "CONTENT_FILTER CONTENT_POLICY_VIOLATION CONTENTPOLICYVIOLATIONERROR "
            "RESPONSIBLEAIPOLICYVIOLATION MODERATION_BLOCKED DATA_INSPECTION_FAILED "
            "DATAINSPECTIONFAILED SAFETY_CHECK_FAILED INVALID_PROMPT 1301 "
            "MINIMAX:1026 MINIMAX:1027"
        ),
        AuthError: (
            "INVALID_API_KEY API_KEY_INVALID INVALIDAPIKEY AUTHENTICATION_ERROR "
            "AUTHENTICATIONERROR INVALID_AUTHENTICATION_ERROR INCORRECT_API_KEY_ERROR "
            "UNSUPPORTED_COUNTRY_REGION_TERRITORY ACCOUNT_DEACTIVATED "
            "API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED SERVICE_DISABLED "
            "TOKEN_NOT_FOUND_IN_DB "  # LiteLLM
            "UNRECOGNIZEDCLIENTEXCEPTION EXPIREDTOKENEXCEPTION INVALIDSIGNATUREEXCEPTION "
            "1000 1001 1002 1003 1004 1110 1111 1112 1120 1121 1220 MINIMAX:1004 MINIMAX:2049"
        ),
        ModelNotFound: (
            "MODEL_NOT_FOUND INVALID_MODEL UNKNOWN_MODEL UNAVAILABLE_MODEL MODEL_DECOMMISSIONED "
            "MODEL_NOT_AVAILABLE MODEL_NOT_SUPPORTED MODEL_DEPRECATED MODELNOTFOUND "
            "MODEL.ACCESSDENIED DEPLOYMENTNOTFOUND OPERATIONNOTSUPPORTED NO_ACCESS "
            "MODEL_PERMISSION_BLOCKED_ORG MODEL_PERMISSION_BLOCKED_PROJECT "  # Groq
            "MODEL_IS_DEACTIVATED "
            "KEY_MODEL_ACCESS_DENIED TEAM_MODEL_ACCESS_DENIED USER_MODEL_ACCESS_DENIED "  # LiteLLM
            "MODEL_NOT_SUPPORTED_ON_FREE_TIER MODELNOTOPEN INVALIDENDPOINTORMODEL.NOTFOUND "
            "RESOURCENOTFOUNDEXCEPTION RESOURCE_NOT_FOUND_ERROR 1211 1221 1222 1311"
        ),
        RateLimited: (
            "RATE_LIMIT_ERROR RATE_LIMIT_REACHED_ERROR RATE_LIMITED TOO_MANY_REQUESTS SLOW_DOWN "
            "THROTTLINGEXCEPTION THROTTLING THROTTLING.RATEQUOTA THROTTLING.ALLOCATIONQUOTA "
            "THROTTLING.BURSTRATE LIMITREQUESTS LIMIT_REQUESTS "
            "1302 1303 1313 MINIMAX:1002 MINIMAX:1041"
        ),
        Overloaded: (
            "OVERLOADED_ERROR ENGINE_OVERLOADED_ERROR SERVER_IS_OVERLOADED CAPACITY_EXCEEDED "
            "MODELNOTREADYEXCEPTION MODELERROREXCEPTION MODELSTREAMERROREXCEPTION "
            "MODEL_CAPACITY_EXHAUSTED SERVEROVERLOADED "  # Google, Ark
            "SERVICEUNAVAILABLEEXCEPTION INTERNALSERVEREXCEPTION CANCELLED "
            "1234 1305 1312 MINIMAX:1000 MINIMAX:1013 MINIMAX:1024 MINIMAX:1033"
        ),
        TimedOut: "MODELTIMEOUTEXCEPTION MINIMAX:1001",
    }.items()
    for code in codes.split()
}

#: The HTTP status that a code or type stands for, for errors inside an answer of status 200.
STATUS_OF: dict[str, int] = {
    code: status
    for status, codes in {
        400: "INVALID_REQUEST_ERROR INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE "
        "TOOL_USE_FAILED BADREQUESTERROR VALIDATIONEXCEPTION INVALIDPARAMETER MINIMAX:2013",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_ERROR PERMISSION_DENIED ACCESSDENIEDEXCEPTION",
        404: "NOT_FOUND_ERROR NOT_FOUND",
        429: "RATE_LIMIT_EXCEEDED RESOURCE_EXHAUSTED SERVICEQUOTAEXCEEDEDEXCEPTION",
        500: "API_ERROR SERVER_ERROR INTERNAL INTERNAL_SERVER_ERROR",
        503: "UNAVAILABLE SERVICE_UNAVAILABLE",
        504: "TIMEOUT_ERROR DEADLINE_EXCEEDED",
    }.items()
    for code in codes.split()
}

#: Statuses that mean one thing, and those that some vendors made up: 424 a model failed (Bedrock),
#: 498 and 499 no capacity or given up (Groq, Google), 529 overloaded (Anthropic).
BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthError,
    402: QuotaExceeded,
    403: AuthError,
    404: ModelNotFound,
    407: AuthError,
    408: TimedOut,
    410: ModelNotFound,
    413: ContextTooLong,
    424: Overloaded,
    425: Overloaded,
    429: RateLimited,
    434: AuthError,  # Z.ai: no permission for this interface
    451: AuthError,
    498: Overloaded,
    499: Overloaded,
    504: TimedOut,
    524: TimedOut,
}


def _words(*patterns: str) -> Pattern:
    return Pattern("|".join(patterns), re.IGNORECASE | re.DOTALL)


#: What to do about refusals of clouds, by their words (Vertex AI "Error code 403/404", Azure OpenAI
#: "Troubleshooting").
CLOUD_HINTS: tuple[tuple[Pattern, str], ...] = (
    (
        _words(r"permission 'aiplatform"),
        "give the account the role Vertex AI User (roles/aiplatform.user) in this project",
    ),
    (
        _words(r"has not been used in project .* or it is disabled"),
        "gcloud services enable aiplatform.googleapis.com --project PROJECT",
    ),
    (
        _words(r"not servable in region", r"publisher model .* was not found"),
        "is it offered in this location, and enabled in Model Garden? global has most",
    ),
    (
        _words(r"api deployment for this resource does not exist"),
        "name the deployment as Azure does: omni models add PROVIDER/DEPLOYMENT --like MODEL",
    ),
    (
        _words(r"invalid subscription key or wrong api endpoint"),
        "key and address have to be of one resource: docs/clouds.md",
    ),
    (
        _words(r"key based authentication is disabled"),
        "it wants a token of Microsoft Entra: docs/clouds.md",
    ),
    (_words(r"api version not supported"), "omni providers edit SLUG --base-url sets another"),
)
#: More than a minute's or a day's whole allowance: no wait makes it fit (OpenAI, Groq).
NEVER_FITS = _words(
    r"request too large for", r"must be reduced in order to run", r"please reduce your message size"
)
#: Speaks of how often or how much in a time, not of one request's size.
_PACE = _words(
    r"rate[ _-]?limit", r"too many requests", r"throttl", r"\bper[ _-](?:second|minute|hour|day)",
    r"please wait", r"\bslow down", r"\b[TR]P[MD]\b",
)  # fmt: skip
#: A file that is too large, whatever the window.
_ATTACHED = _words(
    r"\bimages?(?: \w+)? (?:exceeds?|too large|larger than|dimensions?)\b",
    r"\bpdf\b.{0,40}\bpages\b",
)
_CONTEXT = _words(
    r"context[ _-]?(?:length|window|size|limit)", r"maximum context", r"max(?:imum)? model len",
    r"max_model_len", r"exceed_?context",
    r"(?:prompt|input|request|conversation)s?(?: text)? (?:is |are |was )?too (?:long|large)",
    r"message you submitted was too long", r"tokens \+ max_new_tokens must be",
    r"\btokens?\b.{0,40}\b(?:exceeds? \d{4}|over the limit of \d{4})",
    r"too many (?:input |prompt )?tokens", r"reduce the length", r"maximum (?:prompt|input) length",
    r"range of input length", r"prompt tokens? too long", r"input token length too long",
    r"prompt exceeds max", r"token limit exceeded", r"model token limit",
    r"(?:request (?:body|entity)|payload) too large",
    r"string too long\b.{0,60}length \d{5}",  # less is a name or an id, not the prompt
    r"current length is \d+ while limit is", r"\bn_ctx\b", r"\bmax_seq_len\b",
    r"expected maxlength: \d+, actual",  # Amazon, of a whole body
    r"value at 'body'.{0,60}must have length",
    r"max (?:length of (?:the )?current question|input characters)",  # Baidu
    r"tokens to keep from the initial prompt", r"when context the overflows",
    r"`?inputs`? (?:tokens \+|must have less)", r"longer than the maximum",
    # Some count of what is sent, then that it is more, then than what.
    r"\b(?:prompt|input|request|messages?|tokens?|inputs)\b.{0,80}"
    r"\b(?:exceed(?:s|ed|ing)?|longer than|larger than|more than|greater than|too large)\b.{0,80}"
    r"\b(?:max\w*|limit|allowed|supports?|supported|model|length|window)\b",
    r"\btokens?\b.{0,60}\b(?:only supports?|supports? (?:only )?up to|configured limit)\b",
    r"超长", r"上下文.{0,12}超", r"(?:输入|提示词?|长度|tokens?).{0,16}超(?:过|出|限)",
    r"超(?:过|出).{0,16}(?:最大)?(?:长度|上下文|输入)",
)  # fmt: skip
_QUOTA = _words(
    r"credit balance", r"free tier limit", r"billing account", r"(?:need|require)s? a paid plan",
    r"\bextra usage\b", r"reached the set \w+ limit",
    r"balance\b.{0,20}\b(?:insufficient|not enough|too low|depleted|exhausted)",
    r"not enough (?:\w+ )?(?:balance|credits?|funds?|quota)", r"(?:out of|run out of) funds",
    r"crossed spend\b", r"exceeded\w*budget", r"budget ?exceeded", r"payment method",
    r"insufficient[ _-]?(?:account )?(?:balance|credit|fund|quota|user quota)",
    r"exceeded (?:your|the) (?:current|monthly|daily|weekly)? ?(?:quota|included credits)",
    r"exceeded your monthly included", r"requires more credits",
    r"(?:out of|used all|used up|no|any|enough|sufficient|purchase|buy|add) (?:\w+ )?credits?\b",
    r"credits?\b.{0,30}\b(?:exhausted|depleted|used up|run out|ran out|exceeded)",
    r"billing (?:hard )?limit", r"billing details", r"spend(?:ing)?[ _-]limit", r"usage limits?\b",
    r"key limit exceeded", r"budget\b.{0,40}\bexceeded", r"exceeded\b.{0,20}\bbudget",
    r"quota\b.{0,60}\b(?:reset|exhausted|used up|depleted)",
    r"\b(?:your|user|account|plan|token) quota\b", r"quota has been exceeded",
    r"(?:exhausted|depleted|used up)\b.{0,40}\b(?:(?<!check )quota|capacity on this model|balance)",
    r"free (?:allocated )?quota exceeded",
    r"(?:free|trial)\b.{0,40}\b(?:quota|tier|allowance|credits?)\b.{0,30}\b(?:exhaust|used|end|exp)",
    r"trial key.{0,80}/ ?month", r"account\b.{0,40}\b(?:overdue|arrears|good standing|suspended)",
    r"overdue payment", r"payment required", r"failure to pay", r"negative balance",
    r"(?:reached|hit|exceeded) your\b.{0,40}\b"
    r"(?:session|hourly|daily|weekly|monthly|usage) limit",
    r"\b(?:top|topped) up\b", r"余额不足",
    r"(?:额度|次数|配额|用量|余额).{0,6}(?:不足|用尽|耗尽|用完)", r"欠费", r"充值",
)  # fmt: skip
#: A day's, week's or month's allowance.
LONG_QUOTA = _words(
    r"\bper[ _-]?(?:day|week|month)\b", r"\b(?:daily|weekly|monthly)\b", r"\b[RT]PD\b", r"PerDay",
    r"/ ?(?:day|month)\b", r"[今当每][日天周月]",
)  # fmt: skip
_KEY = _words(
    r"(?:api[ _-]?key|(?:access|auth|authentication) token|credentials?)\b.{0,40}"
    r"(?:not valid|invalid|incorrect|missing|expired|not found|required|malformed|revoked)",
    r"(?:incorrect|invalid|missing|no|expired|wrong|malformed|unknown) (?:x-)?(?:api[ _-]?key|"
    r"(?:access|authentication|auth|bearer|api) token|credentials)",
    r"(?:validate|verify) (?:your )?credentials",
    r"(?:organization|account|user) (?:has been|is|was) (?:disabled|deactivated|banned|blocked)",
    r"unauthori[sz]ed", r"authentication (?:failed|fails|error|required)", r"not authenticated",
    r"user location is not supported", r"country.{0,20}not supported",
    r"(?<!model is )not available in your",
    r"has not been used in project", r"令牌.{0,8}(?:无效|过期|错误)", r"身份验证失败", r"认证失败",
)  # fmt: skip
_CONTENT = _words(
    r"content management policy", r"content[ _-]policy", r"content exists risk", r"safety system",
    r"flagged (?:as|by|for)", r"requires moderation", r"content[ _-]filter", r"SAFETY_CHECK",
    r"violat\w+ (?:\S+ ){0,3}(?:usage|content|safety|acceptable|responsible)",
    r"responsible AI", r"sensitive (?:information|words)", r"restricted content",
    r"(?:rejected|blocked)\b.{0,20}\binappropriate", r"flagged\b.{0,30}\brisk",
    r"considered high risk", r"filtered out because",
    r"inappropriate content", r"unsafe or sensitive", r"sensitive content", r"prohibited content",
    r"(?:prompt|input|output|response|content|request) (?:was |is |has been )?"
    r"(?:blocked|filtered|flagged|rejected) (?:by|due|because|for|as)(?! to rate| to capacity)",
    r"potentially violating", r"blocked by (?:\w+ )?(?:guardrail|safety|policy|moderation)",
    r"(?:敏感|违规|不安全).{0,8}(?:内容|信息|词)", r"内容.{0,8}(?:敏感|违规|不安全)",
)  # fmt: skip
_MODEL = _words(
    r"not a valid model", r"invalid model\b", r"model not exist", r"unknown model",
    r"unsupported model", r"model not found", r"no endpoints? (?:found|available)",
    r"\bmodels?\b.{0,120}\b(?:does not exist|doesn't exist|not found|decommissioned|deprecated|"
    r"retired|discontinued|sunset|shut ?down|end[ -]of[ -]life|no longer (?:available|supported)|"
    r"has been (?:removed|disabled|deactivated)|not servable|disabled|not supported for generate|"
    r"not supported by|blocked at the|"
    r"is not (?:available|supported|allowed|enabled|accessible|deployed|loaded)(?! (?:with|in)\b))",
    r"(?:no|n[o'’]t have|lacks?|without|denied)\b.{0,20}\baccess\b.{0,40}\b(?:model|deployment)",
    r"model\b.{0,60}\baccess (?:is )?denied", r"not authori[sz]ed to use (?:this|the) model",
    r"not (?:subscribed|entitled|eligible)\b.{0,60}\bmodel",
    r"(?:plan|subscription|tier)\b.{0,60}\b(?:not|exclude\w*|without)\b.{0,40}\bmodel",
    r"model identifier is invalid", r"no such model", r"no models? (?:is |are )?loaded",
    r"(?:not allowed to|can only) access models?\b", r"not includ\w* access to",
    r"must be verified to (?:use|stream)", r"not yet available for this subscription",
    r"not activated the model", r"use case details have not been submitted",
    r"no (?:allowed )?providers? (?:are |is )?available",
    r"on-demand throughput isn", r"deployment\b.{0,40}not exist",
    r"no available channel", r"unavailable_model", r"model is not a",
    r"模型.{0,12}(?:不存在|已下线|不支持|未开通|无权)", r"无权.{0,12}模型",
)  # fmt: skip
#: A model is there, but not for what was asked of it (OpenRouter).
_LACKING = _words(r"no endpoints? found that (?:support|can)")
#: Too much for the server, said with the status for too much from a caller.
_FULL = _words(
    r"overload", r"(?:at|maximum|no) capacity\b", r"no capacity available", r"负载已饱和",
    r"all workers are busy",
)  # fmt: skip
_RATE = _words(
    r"rate[ _-]?limit", r"\b[TR]PM limit", r"too many requests", r"throttl", r"high[ -]frequency",
    r"too frequent",
    r"\bslow down", r"requests? per (?:second|minute)", r"concurren\w+ (?:limit|request|too)",
    r"too many concurrent", r"reduce (?:the |your )?(?:request )?(?:rate|frequency)",
    r"please wait before", r"频率过高", r"并发", r"过于频繁", r"限流", r"流量限制",
)  # fmt: skip
_BUSY = _words(
    r"overload", r"\b(?:at|over|no|insufficient|exceeded) capacity", r"capacity (?:exceeded|is)",
    r"temporarily unavailable", r"high (?:demand|load|traffic)", r"server is busy",
    r"service (?:is )?(?:busy|unavailable)", r"try again later", r"no healthy",
    r"model\b.{0,40}\b(?:loading|not ready|warming)", r"operation was cancell?ed",
    r"访问量过大", r"繁忙", r"稍后",
)  # fmt: skip
#: What is wrong with the request as such, wherever it is sent: its JSON, or how its turns follow
#: each other. What one model does not take, another may.
EVERYWHERE = _words(
    r"(?:not|parse|invalid|malformed) (?:the )?(?:valid )?JSON\b(?! payload)",
    r"JSON (?:body|parse|decode)",
    r"messages?'?:? .{0,30}(?:at least one|is required|must not be empty|non-?empty)",
    r"(?:missing|required).{0,30}'messages'", r"roles must alternate",
    r"tool_call_ids? .{0,60}(?:did not have|not found)", r"must be followed by tool messages",
    r"tool_use.{0,40}without.{0,20}tool_result", r"unexpected .{0,12}tool_(?:use_id|result)",
    r"no tool (?:output|call) found",
)  # fmt: skip

_NO_CHANNEL = _words(r"no available channel", r"model not found", r"unknown model")

#: In the order in which they are looked for where the status does not settle the matter.
BY_WORDS: tuple[tuple[Pattern, type[ProviderError]], ...] = (
    (_CONTENT, ContentFiltered),
    (_KEY, AuthError),
    (_MODEL, ModelNotFound),
    (_RATE, RateLimited),
    (_BUSY, Overloaded),
)


def too_long(words: str) -> bool:
    """The words say that one request is larger than what its model can read."""
    if NEVER_FITS.search(words):
        return True
    return bool(_CONTEXT.search(words) and not _PACE.search(words) and not _ATTACHED.search(words))


def spent(words: str) -> bool:
    """The words say that money or an allowance is used up."""
    return bool(_QUOTA.search(words))


def about_model(words: str) -> bool:
    """The words say that this model is not there, or not for this key."""
    return bool(_MODEL.search(words))


def filtered(words: str) -> bool:
    """The words say that the content was refused."""
    return bool(_CONTENT.search(words))


def busy(words: str) -> bool:
    """The words say that the server has no room just now."""
    return bool(_BUSY.search(words))


def full(words: str) -> bool:
    """The words of a refusal for too much say that it is the server that has no room."""
    return bool(_FULL.search(words))


def lacking(words: str) -> bool:
    """The words say that what was asked for is what the model cannot do."""
    return bool(_LACKING.search(words))


def paced(words: str) -> bool:
    """The words say that requests come too fast."""
    return bool(_RATE.search(words))


def no_channel(words: str) -> bool:
    """A relay's server error says that it has no such model (new-api, one-api)."""
    return bool(_NO_CHANNEL.search(words))


def code_meaning(code: str) -> type[ProviderError] | None:
    """What an upper-case code means; of one that the table lacks, by the words it is made of."""
    known = BY_CODE.get(code)
    if known is None and "_" in code and re.search(r"CONTEXT_(?:LENGTH|WINDOW|SIZE)", code):
        return ContextTooLong
    if known is None and code.endswith("SENSITIVECONTENTDETECTED"):  # ByteDance Ark
        return ContentFiltered
    if known is None and re.search(
        r"MODEL[._]?(?:IS[._]?)?(?:NOT|UN)[._]?(?:FOUND|AVAIL|SUPP)", code
    ):
        return ModelNotFound
    return known
