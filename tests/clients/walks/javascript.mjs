// JavaScript SDKs and frameworks, each asked the same of one model through a gateway.
//
//     node javascript.mjs URL CLIENT MODEL...
//
// Prints a line of JSON for each check, as walks/python.py does. Its packages are found from the
// folder that it is run in.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [url, client, ...models] = process.argv.slice(2);
const require = createRequire(join(process.cwd(), "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);

const SYSTEM = "Be brief.";
const ASK = "Is all well?";
const WEATHER = "What is the weather in Oslo? Use get_weather.";
const NOBODY = "openai/no-such-model";
const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const TOOL = { type: "function", function: { name: "get_weather", parameters: SCHEMA } };
const talk = (text) => [
  { role: "system", content: SYSTEM },
  { role: "user", content: text },
];

function must(value, what) {
  if (!value) throw new Error(`no ${what}`);
  return value;
}

async function refused(call) {
  try {
    await call();
  } catch (error) {
    const said = `${error.message} ${JSON.stringify(error.responseBody ?? "")}`;
    return must(said.includes("no-such-model"), `reason in ${said}`);
  }
  throw new Error("no error was told");
}

async function all(stream) {
  const found = [];
  for await (const event of stream) found.push(event);
  return found;
}

async function openai() {
  const { default: OpenAI } = await load("openai");
  const api = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const create = (model, messages, more) => api.chat.completions.create({ model, messages, ...more });
  return {
    chat: async (m) => {
      const answer = await create(m, talk(ASK));
      must(answer.choices[0].message.content, "text");
      must(answer.usage.completion_tokens > 0, "usage");
    },
    stream: async (m) => must((await all(await create(m, talk(ASK), { stream: true }))).length > 3, "stream"),
    tools: async (m) => {
      const messages = talk(WEATHER);
      const first = await create(m, messages, { tools: [TOOL], parallel_tool_calls: false });
      const call = must(first.choices[0].message.tool_calls?.[0], "call");
      messages.push(first.choices[0].message);
      messages.push({ role: "tool", tool_call_id: call.id, content: "sunny" });
      must((await create(m, messages, { tools: [TOOL] })).choices[0].message.content, "text");
    },
    structured: async (m) => {
      const response_format = { type: "json_schema", json_schema: { name: "a", schema: SCHEMA } };
      const answer = await create(m, talk(ASK), { response_format });
      must("city" in JSON.parse(answer.choices[0].message.content), "city");
    },
    image: async (m) => {
      const image_url = { url: `data:image/png;base64,${PNG}` };
      const content = [{ type: "text", text: "?" }, { type: "image_url", image_url }];
      must((await create(m, [{ role: "user", content }])).choices[0].message.content, "text");
    },
    error: () => refused(() => create(NOBODY, talk(ASK))),
    cancel: async (m) => {
      const stream = await create(m, talk(ASK), { stream: true });
      for await (const _ of stream) break;
      stream.controller.abort();
    },
  };
}

async function anthropic() {
  const { default: Anthropic } = await load("@anthropic-ai/sdk");
  const api = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const create = (model, messages, more) =>
    api.messages.create({ model, messages, max_tokens: 200, system: SYSTEM, ...more });
  const tools = [{ name: "get_weather", input_schema: SCHEMA }];
  const ask = (text) => [{ role: "user", content: text }];
  return {
    chat: async (m) => {
      const answer = await create(m, ask(ASK));
      must(answer.content[0].text, "text");
      must(answer.usage.output_tokens > 0, "usage");
    },
    stream: async (m) => {
      const stream = api.messages.stream({ model: m, max_tokens: 200, messages: ask(ASK) });
      must((await stream.finalMessage()).stop_reason, "stop reason");
    },
    tools: async (m) => {
      const messages = ask(WEATHER);
      const first = await create(m, messages, { tools });
      const call = must(first.content.find((block) => block.type === "tool_use"), "call");
      messages.push({ role: "assistant", content: first.content });
      const result = { type: "tool_result", tool_use_id: call.id, content: "sunny" };
      messages.push({ role: "user", content: [result] });
      must((await create(m, messages, { tools })).content.length, "content");
    },
    image: async (m) => {
      const source = { type: "base64", media_type: "image/png", data: PNG };
      const content = [{ type: "image", source }, { type: "text", text: "?" }];
      must((await create(m, [{ role: "user", content }])).content[0].text, "text");
    },
    error: () => refused(() => create(NOBODY, ask(ASK))),
  };
}

async function genai() {
  const { GoogleGenAI } = await load("@google/genai");
  const api = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: url } });
  const create = (model, contents, config) =>
    api.models.generateContent({ model, contents, config: { systemInstruction: SYSTEM, topK: 40, ...config } });
  const tools = [{ functionDeclarations: [{ name: "get_weather", parametersJsonSchema: SCHEMA }] }];
  return {
    chat: async (m) => {
      const answer = await create(m, ASK);
      must(answer.text, "text");
      must(answer.usageMetadata.candidatesTokenCount > 0, "usage");
    },
    stream: async (m) => must((await all(await api.models.generateContentStream({ model: m, contents: ASK }))).length, "stream"),
    tools: async (m) => {
      const turns = [{ role: "user", parts: [{ text: WEATHER }] }];
      const first = await create(m, turns, { tools });
      const call = must(first.functionCalls?.[0], "call");
      turns.push(first.candidates[0].content);
      const functionResponse = { id: call.id, name: call.name, response: { output: "sunny" } };
      turns.push({ role: "user", parts: [{ functionResponse }] });
      must((await create(m, turns, { tools })).text, "text");
    },
    structured: async (m) => {
      const config = { responseMimeType: "application/json", responseSchema: SCHEMA };
      must("city" in JSON.parse((await create(m, ASK, config)).text), "city");
    },
    image: async (m) => must((await create(m, [{ inlineData: { mimeType: "image/png", data: PNG } }, "?"])).text, "text"),
    error: () => refused(() => create(NOBODY, ASK)),
  };
}

async function ollama() {
  const { Ollama } = await load("ollama");
  const api = new Ollama({ host: url });
  return {
    chat: async (m) => must((await api.chat({ model: m, messages: talk(ASK) })).message.content, "text"),
    stream: async (m) => must((await all(await api.chat({ model: m, messages: talk(ASK), stream: true }))).at(-1).done, "end"),
    tools: async (m) => {
      const messages = talk(WEATHER);
      const first = await api.chat({ model: m, messages, tools: [TOOL] });
      const call = must(first.message.tool_calls?.[0], "call");
      messages.push(first.message, { role: "tool", tool_name: call.function.name, content: "sunny" });
      must((await api.chat({ model: m, messages, tools: [TOOL] })).message.content, "text");
    },
    structured: async (m) => {
      const answer = await api.chat({ model: m, messages: talk(ASK), format: SCHEMA });
      must("city" in JSON.parse(answer.message.content), "city");
    },
    error: () => refused(() => api.chat({ model: NOBODY, messages: talk(ASK) })),
  };
}

// Vercel's AI SDK, with the provider of each protocol.
async function vercel(kind) {
  const { generateText, streamText, generateObject, jsonSchema, tool, stepCountIs } = await load("ai");
  const made = {
    chat: async () => {
      const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
      const settings = { name: "omni", baseURL: `${url}/v1`, apiKey: "none", includeUsage: true };
      return createOpenAICompatible({ ...settings, supportsStructuredOutputs: true });
    },
    responses: async () => {
      const { createOpenAI } = await load("@ai-sdk/openai");
      return createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
    },
    anthropic: async () => {
      const { createAnthropic } = await load("@ai-sdk/anthropic");
      return createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" });
    },
    google: async () => {
      const { createGoogleGenerativeAI } = await load("@ai-sdk/google");
      return createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: "none" });
    },
  };
  const provider = await made[kind]();
  const of = (m) => ({ model: provider(m), maxRetries: 0, system: SYSTEM, topK: 40 });
  const inputSchema = jsonSchema(SCHEMA);
  const weather = tool({ description: "Weather", inputSchema, execute: async () => "sunny" });
  return {
    chat: async (m) => {
      const answer = await generateText({ ...of(m), prompt: ASK });
      must(answer.text, "text");
      must(answer.usage.outputTokens > 0, "usage");
    },
    stream: async (m) => must((await all(streamText({ ...of(m), prompt: ASK }).textStream)).join(""), "text"),
    tools: async (m) => {
      const stopWhen = stepCountIs(3);
      const answer = await generateText({ ...of(m), prompt: WEATHER, tools: { get_weather: weather }, stopWhen });
      must(answer.steps.length > 1 && answer.text, "second step");
    },
    structured: async (m) => {
      const answer = await generateObject({ ...of(m), schema: inputSchema, prompt: ASK });
      must("city" in answer.object, "city");
    },
    image: async (m) => {
      const content = [{ type: "text", text: "?" }, { type: "image", image: Buffer.from(PNG, "base64") }];
      must((await generateText({ ...of(m), messages: [{ role: "user", content }] })).text, "text");
    },
    error: () => refused(() => generateText({ ...of(NOBODY), prompt: ASK })),
  };
}

const CLIENTS = {
  "openai-node": openai,
  "anthropic-node": anthropic,
  "google-genai-node": genai,
  "ollama-js": ollama,
  ...Object.fromEntries(
    ["chat", "responses", "anthropic", "google"].map((kind) => [`vercel-${kind}`, () => vercel(kind)]),
  ),
};

let well = true;
for (const model of models) {
  for (const [check, run] of Object.entries(await CLIENTS[client]())) {
    let said = "";
    try {
      await run(model);
    } catch (error) {
      well = false;
      said = `${error.name}: ${String(error.message).slice(0, 400)}`;
    }
    console.log(JSON.stringify({ client, model, check, ok: !said, said }));
  }
}
process.exit(well ? 0 : 1);
