// Runs OpenAI's SDK for JavaScript: prints one JSON line for each step.
// Arguments: the gateway's origin, a license key, and the package, which is one version of the SDK.
import assert from "node:assert/strict";

import { CITIES, ECHO, MODEL, PERSON, PERSON_TAG, PIXEL_URL, SCHEMA, TEXT, TWO_CALLS, rain, refused, runSteps } from "./stepping.mjs";

const [origin, apiKey, version] = process.argv.slice(2);
const { default: OpenAI } = await import(version);
const open = (key = apiKey) =>
  new OpenAI({ baseURL: `${origin}/gemini_official/v1`, apiKey: key, maxRetries: 0 });
const client = open();
const messages = (content) => [{ role: "user", content }];
const ask = (content, more = {}) => client.chat.completions.create({ model: MODEL, messages: messages(content), ...more });
const toolbox = (called) => [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      parse: JSON.parse,
      function: ({ city }) => {
        called.push(city);
        return rain(city);
      },
    },
  },
];
const format = { type: "json_schema", json_schema: { name: "person", strict: true, schema: SCHEMA } };

await runSteps({
  chat: async () => {
    const answer = await ask(ECHO);
    assert.equal(answer.choices[0].message.content, TEXT);
    assert(answer.usage.completion_tokens > 0);
  },
  stream: async () => {
    let text = "";
    for await (const chunk of await ask(ECHO, { stream: true })) text += chunk.choices[0].delta.content ?? "";
    assert.equal(text, TEXT);
    const runner = client.chat.completions.stream({ model: MODEL, messages: messages(ECHO) });
    assert.equal(await runner.finalContent(), TEXT);
  },
  tool_loop: async () => {
    const called = [];
    const runner = client.chat.completions.runTools({ model: MODEL, messages: messages(TWO_CALLS), tools: toolbox(called) });
    const text = await runner.finalContent();
    assert.deepEqual(called, CITIES);
    for (const city of CITIES) assert(text.includes(rain(city)), text);
  },
  streamed_tools: async () => {
    const called = [];
    const runner = client.chat.completions.runTools({
      model: MODEL, messages: messages(TWO_CALLS), tools: toolbox(called), stream: true,
    });
    const text = await runner.finalContent();
    assert.deepEqual(called, CITIES);
    for (const city of CITIES) assert(text.includes(rain(city)), text);
  },
  structured: async () => {
    const fields = { model: MODEL, messages: messages(PERSON_TAG), response_format: format };
    assert.deepEqual(JSON.parse((await client.chat.completions.parse(fields)).choices[0].message.content), PERSON);
    const runner = client.chat.completions.stream(fields);
    assert.deepEqual(JSON.parse(await runner.finalContent()), PERSON);
  },
  image_in: async () => {
    const parts = [{ type: "text", text: "What is it?" }, { type: "image_url", image_url: { url: PIXEL_URL } }];
    const text = (await ask(parts)).choices[0].message.content;
    assert(text.includes("image/png"), text);
  },
  responses: async () => {
    const tools = [{ type: "function", strict: true, ...toolbox([])[0].function }];
    const answer = await client.responses.create({ model: MODEL, input: TWO_CALLS, tools });
    const input = answer.output.map(({ call_id, arguments: text }) => ({
      type: "function_call_output", call_id, output: rain(JSON.parse(text).city),
    }));
    const done = await client.responses.create({ model: MODEL, input, tools, previous_response_id: answer.id });
    for (const city of CITIES) assert(done.output_text.includes(rain(city)), done.output_text);
    const stream = client.responses.stream({ model: MODEL, input: ECHO });
    assert.equal((await stream.finalResponse()).output_text, TEXT);
  },
  models: async () => {
    const names = [];
    for await (const one of client.models.list()) names.push(one.id);
    assert.equal((await client.models.retrieve(names[0])).id, names[0]);
  },
  errors: async () => {
    const answer = (key, model) => open(key).chat.completions.create({ model, messages: messages(ECHO) });
    await refused(OpenAI.AuthenticationError, 401, () => answer("sk-wrong-0123456789", MODEL));
    await refused(OpenAI.NotFoundError, 404, () => answer(apiKey, "gpt-9"));
    await refused(OpenAI.BadRequestError, 400, () => ask(ECHO, { max_tokens: -1 }));
    await refused(OpenAI.NotFoundError, 404, () => client.embeddings.create({ model: "x", input: "y" }));
  },
});
